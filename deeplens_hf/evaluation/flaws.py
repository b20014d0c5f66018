"""True disparity made wrong in the ways that predicted maps are: what a renderer has to stand."""

import torch.nn.functional as F
from torch import Tensor


def soft(disparity: Tensor) -> Tensor:
    """A map predicted at a quarter of the size."""
    small = F.interpolate(disparity, scale_factor=0.25, mode="bilinear", antialias=True)
    return F.interpolate(small, disparity.shape[-2:], mode="bilinear")


def grown(disparity: Tensor) -> Tensor:
    """What is near reaches 2 pixels too far."""
    return F.max_pool2d(disparity, 5, stride=1, padding=2)


def shrunk(disparity: Tensor) -> Tensor:
    """What is near ends 2 pixels too early."""
    return -F.max_pool2d(-disparity, 5, stride=1, padding=2)


def shifted(disparity: Tensor) -> Tensor:
    """The map lies 2 pixels too far to the right."""
    return F.pad(disparity, (2, 0, 0, 0), mode="replicate")[..., :-2]


def stepped(disparity: Tensor) -> Tensor:
    """24 grey values."""
    return (disparity * 23).round() / 23


FLAWS = {flaw.__name__: flaw for flaw in (soft, grown, shrunk, shifted, stepped)}  # (B, 1, H, W) -> (B, 1, H, W) each
