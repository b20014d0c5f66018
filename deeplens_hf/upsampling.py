"""Guided upsampling: the low-resolution blur and the sharp photo -> the blur at the photo's size (Eq. 3 of the report).

H = M_A * A + M_L * up(L), twice the size at a time, in linear light. M_A + M_L = 1: light is neither made nor lost.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers.blocks import asinh, read_blocks, write_blocks
from .layers.pooling import halve, halve_map, lengthen, times_larger, window_max
from .optics import linear_to_srgb, srgb_to_linear

STRIP = 1 << 18  # pixels worked on at a time, in whole rows: what they need stays in the processor's cache
HALO = 4  # rows that a strip reads beyond its own: what the convolutions see
TOUCHED = 1e-4  # of linear light, a third of a step in 8 bits of black: a pixel so far from the photo's is blurred


def up(x: Tensor, factor: int) -> Tensor:
    """Bilinear, `factor` times the size; pixel i covers pixels factor * i and on, so that tiles fit."""
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear")


def halve_light(image: Tensor) -> Tensor:
    """image (B, 3, H, W), sRGB-encoded -> its linear light halved, without a copy of the whole in linear light."""
    return torch.cat([halve(srgb_to_linear(rows)) for rows in image.split(_strip_rows(image), -2)], -2)


def _strip_rows(image: Tensor) -> int:
    """Rows of a strip, an even number."""
    return max(16, STRIP // image.shape[-1] // 2 * 2)


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

    def photo_share(self, photo: Tensor, defocus: Tensor, enlarged: Tensor, hints: Tensor, doubled: bool) -> Tensor:
        """M_A (B, 1, H, W) in [0, 1]: photo, up(L) (B, 3, H, W), defocus (B, 1, H, W), hints (B, width, H/2, W/2)."""
        height, width = photo.shape[-2:]
        # square roots: even steps for the eye, for less than the sRGB curve costs
        guide = torch.cat([photo.clamp(min=1e-6).sqrt(), enlarged.clamp(min=1e-6).sqrt(), asinh(defocus)], 1)
        x = (read_blocks(self.read, lengthen(guide)) + hints).relu_()
        x = self.mix(x).relu_()  # (B, width, H/2, W/2)
        score = write_blocks(self.write, x)[..., :height, :width]  # (B, 1, H, W)
        # Before training: the photo where it is sharp, the blur elsewhere; at the photo's own size, the blur alone.
        return torch.sigmoid(score + (3 - 3 * defocus.abs() if doubled else -3.0))

    def forward(
        self,
        photo: Tensor,
        defocus: Tensor,
        low: Tensor,
        features: Tensor,
        encoded: bool = False,
        halved: Tensor | None = None,
    ) -> Tensor:
        """One level: photo (B, 3, H, W) linear, defocus (B, 1, H, W) in its pixels, low (B, 3, h, w) -> (B, 3, H, W).

        h, w: H, W, or half of them rounded up. features (B, F, fh, fw): fh, fw smaller than H, W by a power of two.
        encoded: photo and result are sRGB-encoded, not linear: a large photo is decoded strip by strip.
        halved: the photo's linear light halved, (B, 3, h, w), where it is known already. What is in focus where low is
            the same is the photo as it is; no gradient comes of that choice, which would be a steep one.
        """
        height, width = photo.shape[-2:]
        doubled = low.shape[-2:] != photo.shape[-2:]
        shrink = times_larger(photo, features)
        # what `read` makes of the features and of the level's kind: a 1 x 1 convolution may as well come before `up`
        own_weights, level_weight = self.read.weight[:, 4 * 7 :].split([features.shape[1], 1], 1)
        hints = F.conv2d(features, own_weights) + float(doubled) * level_weight.view(1, -1, 1, 1)  # (B, width, fh, fw)
        farthest = torch.maximum(defocus.amax((1, 2, 3), keepdim=True), -defocus.amin((1, 2, 3), keepdim=True))
        blurred = farthest.clamp(max=1)  # (B, 1, 1, 1): aperture 0 is the photo
        if doubled:
            if halved is None:
                halved = halve_light(photo) if encoded else halve(photo)
            touched = (low - halved).abs().amax(1, keepdim=True) / TOUCHED
            touched = torch.maximum(touched, halve_map(defocus).abs())  # lines that halving has averaged, out of focus
            blurred = blurred * window_max(touched.detach().clamp(max=1), 1)  # (B, 1, h, w)
        out = torch.empty_like(photo)
        rows = _strip_rows(photo)
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            first, last = max(top - HALO, 0), min(bottom + HALO, height)  # rows read
            light = srgb_to_linear(photo[..., first:last, :]) if encoded else photo[..., first:last, :]
            enlarged = self._enlarge(low, 1 + doubled, first, last, width)
            hints_here = self._enlarge(hints, shrink // 2, first // 2, (last + 1) // 2, (width + 1) // 2)
            share = self.photo_share(light, defocus[..., first:last, :], enlarged, hints_here, doubled)
            own = (..., slice(top - first, bottom - first), slice(None))
            blurred_here = self._enlarge(blurred, 2, top, bottom, width) if doubled else blurred
            mixed = combine(light[own], enlarged[own], 1 - blurred_here * (1 - share[own]))
            out[..., top:bottom, :] = linear_to_srgb(mixed) if encoded else mixed
        return out

    @staticmethod
    def _enlarge(x: Tensor, factor: int, first: int, last: int, width: int) -> Tensor:
        """Rows `first` to `last` of x enlarged, as if the whole had been."""
        start, stop = max(first // factor - 1, 0), min(-(-last // factor) + 1, x.shape[-2])
        begin = first - start * factor
        return up(x[..., start:stop, :], factor)[..., begin : begin + last - first, :width]
