"""Guided upsampling: the low-resolution blur and the sharp photo -> the blur at the photo's size (Eq. 3 of the report).

H = M_A * A + M_L * up(L), up to twice the size at a time, in linear light. M_A + M_L = 1, so light is neither made nor lost.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def combine(photo: Tensor, low: Tensor, photo_share: Tensor) -> Tensor:
    """Eq. 3: photo A (B, 3, H, W), low L (B, 3, h, w), M_A (B, 1, H, W) -> H (B, 3, H, W); M_L = 1 - M_A."""
    return torch.lerp(F.interpolate(low, photo.shape[-2:], mode="bilinear"), photo, photo_share)


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

    def photo_share(self, photo: Tensor, defocus: Tensor, low: Tensor, features: Tensor) -> Tensor:
        """M_A (B, 1, H, W) in [0, 1] from the arguments of `forward`."""
        height, width = photo.shape[-2:]
        enlarged = low.shape[-2:] != photo.shape[-2:]
        guide = torch.cat(  # square roots: even steps for the eye, for less than the sRGB curve costs
            [
                photo.clamp(min=1e-6).sqrt(),
                F.interpolate(low.clamp(min=1e-6).sqrt(), (height, width), mode="bilinear"),
                torch.asinh(defocus),
            ],
            1,
        )  # (B, 7, H, W)
        blocks = F.pixel_unshuffle(
            F.pad(guide, (0, width % 2, 0, height % 2), mode="replicate"), 2
        )  # (B, 28, H/2, W/2)
        size = blocks.shape[-2:]
        level = torch.full_like(blocks[:, :1], float(enlarged))
        x = torch.cat([blocks, F.interpolate(features, size, mode="bilinear"), level], 1)
        x = F.relu(self.mix(F.relu(self.read(x))))  # (B, width, H/2, W/2)
        score = F.pixel_shuffle(self.write(x), 2)[..., :height, :width]  # (B, 1, H, W)
        # Before training: the photo where it is sharp, the blur elsewhere; at the photo's own size, the blur alone.
        score = score + (3 - 3 * defocus.abs() if enlarged else -3.0)
        blurred_at_all = (
            defocus.abs().amax((1, 2, 3), keepdim=True).clamp(max=1)
        )  # (B, 1, 1, 1): aperture 0 is the photo
        return 1 - blurred_at_all * torch.sigmoid(-score)

    def forward(self, photo: Tensor, defocus: Tensor, low: Tensor, features: Tensor) -> Tensor:
        """photo (B, 3, H, W) linear, defocus (B, 1, H, W) in its pixels, low (B, 3, h, w), features (B, F, *, *) -> (B, 3, H, W).

        h, w: half of H, W rounded up, or H, W themselves.
        """
        return combine(photo, low, self.photo_share(photo, defocus, low, features))
