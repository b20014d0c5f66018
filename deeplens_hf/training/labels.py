"""Labels put right by masks: disparity brought to the edges of photo and subject, and the subject in one piece."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..disparity.edges import refine
from ..layers.pooling import window_max, window_mean, window_min
from .people import carried

REACH = 7  # pixels of the label on either side of an outline that are filled anew
THIN = 4  # pixels from the rim: what of a mask has no core so deep is thin
BESIDE = (6, 12, 24, 48)  # pixels, within which a core is looked for


def sharpen(disparity: Tensor, image: Tensor, mask: Tensor | None = None) -> Tensor:
    """disparity (1, 1, h, w), image (1, 3, H, W), mask (1, 1, h, w) or None, all [0, 1] -> disparity (1, 1, h, w).

    Without a mask: the guided filter. With one, about its outline, also: the disparity found a little inside the
    subject and that found a little outside are each carried up to the outline, where the one gives way to the other.
    Where the subject touches the ground both are alike, and no step appears.
    """
    size = disparity.shape[-2:]
    guided = refine(disparity, F.interpolate(image, size, mode="bilinear", antialias=True))
    if mask is None:
        return guided
    inside = 1 - F.max_pool2d(1 - mask, REACH, stride=1, padding=REACH // 2)  # the mask without its rim
    outside = 1 - F.max_pool2d(mask, REACH, stride=1, padding=REACH // 2)
    near, near_known = _carry(disparity, inside)
    far, far_known = _carry(disparity, outside)
    stepped = mask * near + (1 - mask) * far
    rim = (1 - torch.maximum(inside, outside)) * near_known * far_known
    return guided + _box(rim, 3) * (stepped - guided)


def _carry(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The known values' mean about each place (1, 1, h, w), and where there is any: 1 or 0."""
    weight = _box(known, 2 * REACH + 1)
    return _box(values * known, 2 * REACH + 1) / weight.clamp(min=1e-4), (weight > 0.02).to(values.dtype)


def _box(x: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(x, side, stride=1, padding=side // 2, count_include_pad=False)


def held_together(disparity: Tensor, mask: Tensor) -> Tensor:
    """disparity of any scale, mask in [0, 1], (1, 1, h, w) each -> disparity, the subject's thin parts near.

    What of the mask is thin (antlers, strings, a bird's feet) lies where the thick part next to it does, if the map has
    it farther: networks that look at few pixels let it go with the background.
    """
    near = carried(disparity, thick_part(mask), window_mean, BESIDE, least=1e-3)
    return disparity + (near - disparity).clamp(min=0) * thin_parts(mask)


def thick_part(mask: Tensor) -> Tensor:
    """What of a mask, (B, 1, h, w) in [0, 1], is deep inside: the same, 0 or 1."""
    return (window_min(mask, THIN) > 0.5).to(mask.dtype)


def thin_parts(mask: Tensor) -> Tensor:
    """Antlers, strings, a bird's feet: what of a mask, (B, 1, h, w) in [0, 1], is not next to anything thick."""
    return (4 * mask - 1.5).clamp(0, 1) * (1 - window_max(thick_part(mask), THIN))
