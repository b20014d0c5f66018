"""Soft slabs of signed defocus: a partition of the picture, near to far, each of which is blurred as one."""

import math
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from ..optics import ApertureShape

KNOTS = (0.0, 1.0, 2.0, 3.0, 4.5, 6.0, 8.0, 10.5, 13.5, 17.0, 21.0, 26.0, 32.0)  # pixels of defocus, on either side
KNOT_GROWTH = 1.23  # ratio of neighbours beyond the last
STRIP = 128  # rows mixed at a time
ALIGN = 4  # rows: where a slab may begin, so that it is reduced to a quarter as the whole picture is


def slab_knots(*defocus: Tensor) -> list[float]:
    """Knots as far as any of the maps reaches on either side, from the nearest slab to the farthest."""
    low = min(float(d.detach().min()) for d in defocus)
    high = max(float(d.detach().max()) for d in defocus)
    radii = list(KNOTS)
    while radii[-1] < max(-low, high):
        radii.append(radii[-1] * KNOT_GROWTH)
    gaps = list(zip(radii, radii[1:], strict=False))
    in_front = [outer for inner, outer in gaps if inner < high]
    behind = [-outer for inner, outer in gaps if inner < -low]
    return [*reversed(in_front), 0.0, *behind]


def slab_weight(defocus: Tensor, knots: list[float], j: int) -> Tensor:
    """Share of each pixel in slab j: a hat over its knot that ends at the neighbours; over all j it sums to 1."""
    slopes = []  # a constant minus a multiple of the defocus: one pass over the map each
    for other in knots[max(j - 1, 0) : j] + knots[j + 1 : j + 2]:
        slopes.append(torch.rsub(defocus, other / (other - knots[j]), alpha=1 / (other - knots[j])))
    return reduce(torch.minimum, slopes).clamp(0, 1) if slopes else torch.ones_like(defocus)


@dataclass(frozen=True)
class Slab:
    """What the slab of one defocus throws on the sensor: light and coverage (B, 4, rows, W), zero elsewhere."""

    knot: float
    top: int  # the first of those rows
    thrown: Tensor

    def rows(self, top: int, bottom: int) -> Tensor | None:
        """These rows of it, (B, 4, bottom - top, W); None where it reaches none of them."""
        above, below = max(self.top - top, 0), max(bottom - self.top - self.thrown.shape[-2], 0)
        if above + below >= bottom - top:
            return None
        own = self.thrown[..., top + above - self.top : bottom - below - self.top, :]
        return F.pad(own, (0, 0, above, below)) if above or below else own


@dataclass(frozen=True)
class Strip:
    """Some rows of the picture, and the slabs that reach them: what mixing needs stays in the processor's cache."""

    rows: slice
    knots: list[float]  # front to back
    thrown: list[Tensor]  # (B, 4, rows, W) each, as of `Slab`


def strips(slabs: list[Slab], height: int) -> list[Strip]:
    """The picture's rows, STRIP at a time."""
    parts = []
    for top in range(0, height, STRIP):
        bottom = min(top + STRIP, height)
        here = [(slab.knot, own) for slab in slabs if (own := slab.rows(top, bottom)) is not None]
        parts.append(Strip(slice(top, bottom), [knot for knot, _ in here], [own for _, own in here]))
    return parts


def used_rows(weight: Tensor, defocus: float, shape: ApertureShape) -> tuple[int, int]:
    """The rows (first, end) that a slab of this weight (B, 1, H, W) and defocus reaches; (0, 0) if there is nothing."""
    height = weight.shape[-2]
    used = weight.amax((0, 1, 3)).cpu().nonzero()  # (n, 1); a GPU is waited for once, not three times
    if not len(used):
        return 0, 0
    if shape.cat_eye:  # it looks different at each place
        return 0, height
    reach = math.ceil(abs(defocus)) + 3 * ALIGN
    first, last = int(used[0]) - reach, int(used[-1]) + 1 + reach
    return max(first // ALIGN * ALIGN, 0), min(-(-last // ALIGN) * ALIGN, height)
