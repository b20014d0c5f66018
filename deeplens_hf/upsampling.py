"""Guided upsampling: the low-resolution blur and the sharp photo -> the blur at the photo's size (Eq. 3 of the report).

H = M_A * A + M_L * up(L), twice the size at a time, in linear light. M_A + M_L = 1: light is neither made nor lost.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import read_blocks

STRIP = 256  # rows worked on at a time: what a strip needs stays in the processor's cache
HALO = 4  # rows that a strip reads beyond its own: what the convolutions see


def up(x: Tensor, factor: int) -> Tensor:
    """Bilinear, `factor` times the size; pixel i covers pixels factor * i and on, so that tiles fit."""
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear")


def halve(x: Tensor) -> Tensor:
    """Averages of 2 x 2: (B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2)), an odd border repeated."""
    return F.avg_pool2d(F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2), mode="replicate"), 2)


def halve_map(x: Tensor) -> Tensor:
    """One pixel of each 2 x 2, not their average, which would lie between two surfaces; sizes as of `halve`."""
    return F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2), mode="replicate")[..., 1::2, 1::2]


def combine(photo: Tensor, enlarged: Tensor, photo_share: Tensor) -> Tensor:
    """Eq. 3: A (B, 3, H, W), up(L) (B, 3, H, W), M_A (B, 1, H, W) -> H (B, 3, H, W); M_L = 1 - M_A."""
    return torch.lerp(enlarged, photo, photo_share)


class GuidedUpsampling(nn.Module):
    """One step up, the same weights at every level; at a photo's own size it may take detail over from the photo.

    The masks are predicted on 2 x 2 blocks, so that the finest level stays cheap.

    Args:
        feature_channels: of the lens blur's features.
        width: channels within.
    """

    def __init__(self, feature_channels: int, width: int = 16):
        super().__init__()
        self.read = nn.Conv2d(4 * 7 + feature_channels + 1, width, 1)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.write = nn.Conv2d(width, 4, 3, padding=1)
        nn.init.normal_(self.write.weight, std=1e-3)
        nn.init.zeros_(self.write.bias)

    def photo_share(self, photo: Tensor, defocus: Tensor, enlarged: Tensor, features: Tensor, doubled: bool) -> Tensor:
        """M_A (B, 1, H, W) in [0, 1]: photo, up(L) (B, 3, H, W), defocus (B, 1, H, W), features (B, F, H/2, W/2)."""
        height, width = photo.shape[-2:]
        # square roots: even steps for the eye, for less than the sRGB curve costs
        guide = torch.cat([photo.clamp(min=1e-6).sqrt(), enlarged.clamp(min=1e-6).sqrt(), torch.asinh(defocus)], 1)
        guide = F.pad(guide, (0, width % 2, 0, height % 2), mode="replicate")
        hints = torch.cat([features, torch.full_like(features[:, :1], float(doubled))], 1)  # (B, F + 1, H/2, W/2)
        x = read_blocks(self.read, guide) + F.conv2d(hints, self.read.weight[:, 4 * 7 :])
        x = F.relu(self.mix(F.relu(x)))  # (B, width, H/2, W/2)
        score = F.pixel_shuffle(self.write(x), 2)[..., :height, :width]  # (B, 1, H, W)
        # Before training: the photo where it is sharp, the blur elsewhere; at the photo's own size, the blur alone.
        return torch.sigmoid(score + (3 - 3 * defocus.abs() if doubled else -3.0))

    def forward(self, photo: Tensor, defocus: Tensor, low: Tensor, features: Tensor) -> Tensor:
        """One level: photo (B, 3, H, W) linear, defocus (B, 1, H, W) in its pixels, low (B, 3, h, w) -> (B, 3, H, W).

        h, w: H, W, or half of them rounded up. features (B, F, fh, fw): fh, fw smaller than H, W by a power of two.
        """
        height, width = photo.shape[-2:]
        grow = 1 if low.shape[-2:] == photo.shape[-2:] else 2  # of L, to this level
        shrink = 2 ** round(math.log2(width / features.shape[-1]))  # of the features, from this level
        blurred_at_all = (
            defocus.abs().amax((1, 2, 3), keepdim=True).clamp(max=1)
        )  # (B, 1, 1, 1): aperture 0 is the photo
        strips = []
        for top in range(0, height, STRIP):
            bottom = min(top + STRIP, height)
            first, last = max(top - 2 * HALO, 0), min(bottom + 2 * HALO, height)  # rows read
            rows = slice(first, last)
            enlarged = self._enlarge(low, grow, first, last, width)
            share = self.photo_share(
                photo[..., rows, :],
                defocus[..., rows, :],
                enlarged,
                self._enlarge(features, shrink // 2, first // 2, (last + 1) // 2, (width + 1) // 2),
                doubled=grow == 2,
            )
            share = 1 - blurred_at_all * (1 - share)
            own = slice(top - first, bottom - first)
            strips.append(combine(photo[..., top:bottom, :], enlarged[..., own, :], share[..., own, :]))
        return torch.cat(strips, -2)

    @staticmethod
    def _enlarge(x: Tensor, factor: int, first: int, last: int, width: int) -> Tensor:
        """Rows `first` to `last` of x enlarged, as if the whole had been."""
        start, stop = max(first // factor - 1, 0), min(-(-last // factor) + 1, x.shape[-2])
        begin = first - start * factor
        return up(x[..., start:stop, :], factor)[..., begin : begin + last - first, :width]
