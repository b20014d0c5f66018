"""A photo at its own size, and halved until the lens blur can work on it; its maps at the last of these sizes.

And what all pictures of a photo have in common, whatever the lens: found once, it spares each further one its time.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from ..layers.pooling import halve, halve_map
from ..optics import srgb_to_linear
from ..upsampling import halve_light
from .registration import Misfit
from .unstepping import Plateaus

WIDE = 2.0  # times as long as high: from here on a photo is a panorama
LAMP_SIZE = 1280  # pixels of the long side, at most, at which lamps are looked for


class Prepared(NamedTuple):
    """Of a photo, at the size that the lens blur works at."""

    disparity: Tensor  # (B, 1, h, w): its edges mended
    misfits: list[Misfit]  # how far off they were altogether, in pixels of that size
    plateaus: list[Plateaus]  # of the map as it was
    light: Tensor | None = None  # (B, 3, h, w): linear, with the radiance that clipped highlights had
    levels: list[Tensor] | None = None  # as of `halved`: large, and soon made again


def counted_side(size: tuple[int, int]) -> float:
    """The long side of a photo (H, W); of a panorama that of a WIDE : 1 photo of its area, at least half its own.

    By its own long side a panorama's height would be looked at, and blurred, with few pixels.
    """
    shape = max(size) / min(size)
    return max(size) / math.sqrt(min(max(shape / WIDE, 1.0), 4.0))


def halvings_until(long_side: float, blur_size: int) -> int:
    """How often a photo of this long side is halved before the blur."""
    return max(0, math.ceil(math.log2(long_side / blur_size)))


def halved(image: Tensor, halvings: int) -> list[Tensor]:
    """image (B, 3, H, W), sRGB-encoded -> at its own size, a half, a quarter and so on: the last, (B, 3, h, w), and
    what is smaller than the photo in linear light."""
    levels = [image if halvings else srgb_to_linear(image)]
    for level in range(halvings):
        levels.append(halve(levels[-1]) if level else halve_light(image))
    return levels


def last_map(map: Tensor, halvings: int) -> Tensor:
    """(B, 1, H, W) -> (B, 1, h, w), of the last level's size: a pixel of each block, no mean of two surfaces."""
    for _ in range(halvings):
        map = halve_map(map)
    return map


def last_foreground(foreground: Tensor | None, levels: list[Tensor]) -> Tensor | None:
    """(B, 1, H, W) -> (B, 1, h, w), of the last level's size, averaged."""
    return None if foreground is None else F.interpolate(foreground, levels[-1].shape[-2:], mode="area")


def recovered_light(levels: list[Tensor], recover: Callable[[Tensor], Tensor]) -> Tensor:
    """The last level's light (B, 3, h, w) as `recover` finds it at LAMP_SIZE; itself where nothing was lost.

    Much of what a lamp has lost that was halved since is in its rim, which is darker than white; of one much larger
    the networks see but a part. recover: linear light -> the same, or the tensor itself.
    """
    last = len(levels) - 1
    at = min(halvings_until(max(levels[0].shape[-2:]), LAMP_SIZE), last)
    light = srgb_to_linear(levels[0]) if at == 0 < last else levels[at]
    found = recover(light)
    if found is light:
        return levels[-1]
    for _ in range(at, last):
        found = halve(found)
    return found
