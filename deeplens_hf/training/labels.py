"""Soft labels made sharp: a small network's disparity, brought to the edges of the photo and of the subject's mask."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..disparity.edges import refine

REACH = 7  # pixels of the label on either side of an outline that are filled anew


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
