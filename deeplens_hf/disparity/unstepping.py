"""Maps of few grey values, as painted, posterised and badly stored ones are: slopes that have become stairs.

This is dequantisation. Such a map tells each pixel to half a step. Of all maps that it could be of, the smoothest is
the likeliest: neighbours are averaged, from coarse to fine, and no pixel leaves its step. What differs by more than one
step is an edge, over which nothing is averaged. A flat thing lies anywhere within its step: if that holds the focus, it
is in focus.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.pooling import halve_map
from .uncompiled import uncompiled

FEWEST, MOST = 8, 64  # grey values of a map that has steps: with fewer, each may be a thing of its own
PLATEAUS = 0.75  # of the pixels are like their neighbours on stairs
SAMPLED = 128  # places along a side at which grey values are collected
UNEVEN = 0.05  # of a step: how far a value may lie from a whole number of them
SAME = 1.5  # steps: neighbours that differ by less are of one surface
LEVELS, ROUNDS = 6, 8  # halvings, and averages at each size
LEAST_SIDE = 8  # pixels, of the coarsest
FLAT = 0.1  # of a step: less than this away from its grey value a pixel is of no slope


class Plateaus(NamedTuple):
    """Of a map of few grey values: the distance between these, and those of flat things, which are to stay flat."""

    step: float = 0.0
    values: tuple[float, ...] = ()


@uncompiled
def unstepped(map: Tensor) -> Tensor:
    """(B, 1, H, W) of any range -> the same with slopes for stairs; the tensor itself where there are none."""
    steps = [step_of(each[0]) for each in map.detach()]
    return smoothest(map, map.new_tensor(steps).view(-1, 1, 1, 1)) if any(steps) else map


def step_of(map: Tensor) -> float:
    """How far the grey values of (H, W) lie apart, if they are an even scale of FEWEST to MOST of them; else 0."""
    if min(map.shape) < 2 or any(float((map.diff(dim=dim) == 0).float().mean()) < PLATEAUS for dim in (0, 1)):
        return 0.0
    rows, columns = (-(-side // SAMPLED) for side in map.shape)
    values = map[::rows, ::columns].unique()
    if not FEWEST <= len(values) <= MOST:
        return 0.0
    step = values.diff().min()
    places = (values - values[0]) / step
    even = (places - places.round()).abs().max() < UNEVEN and places[-1] < MOST
    return float(step) if even else 0.0


def plateaus(map: Tensor, smooth: Tensor) -> list[Plateaus]:
    """Those of each (1, 1, H, W) of a batch, and of what `unstepped` makes of it; the same tensor has none."""
    if smooth is map:
        return [Plateaus()] * len(map)
    found = []
    for grey, slopes in zip(map[:, 0].detach(), smooth[:, 0].detach(), strict=True):
        step = step_of(grey)
        values, which, count = grey.unique(return_inverse=True, return_counts=True)
        flat = ((slopes - grey).abs() < FLAT * step).flatten()
        mostly = 2 * which.flatten().bincount(flat, len(values)) > count
        found.append(Plateaus(step, tuple(values[mostly].tolist())))
    return found


def with_plateaus(focus: Tensor, plateaus: list[Plateaus]) -> Tensor:
    """focus (B,) or (B, 2), as of `optics.signed_defocus` -> the same, or (B, 2): with plateaus within half a step."""
    if not any(each.values for each in plateaus):
        return focus
    ends = torch.stack([focus, focus] if focus.ndim == 1 else focus.aminmax(dim=1), 1)
    wider = []  # by a little more than half a step: numbers are rounded
    for (low, high), (step, values) in zip(ends.tolist(), plateaus, strict=True):
        within = [value for value in values if low - 0.51 * step < value < high + 0.51 * step]
        wider.append([min(low, *within, high), max(low, *within, high)])
    wider = focus.new_tensor(wider)
    return torch.where(wider == ends, ends, wider)


def smoothest(map: Tensor, step: Tensor, levels: int = LEVELS) -> Tensor:
    """The smoothest (B, 1, H, W) within half a step, (B, 1, 1, 1), of the map."""
    smooth = map
    if levels and min(map.shape[-2:]) >= 2 * LEAST_SIDE:
        smooth = enlarged(smoothest(halve_map(map), step, levels - 1), map, step)
    across, down = ((map.diff(dim=dim).abs() < SAME * step) / 4 for dim in (-1, -2))
    for _ in range(ROUNDS):
        right, below = across * smooth.diff(dim=-1), down * smooth.diff(dim=-2)  # from each pixel to its neighbour
        smooth = smooth + F.pad(right, (0, 1)) - F.pad(right, (1, 0))
        smooth = smooth + F.pad(below, (0, 0, 0, 1)) - F.pad(below, (0, 0, 1, 0))
        smooth = within(smooth, map, step)
    return smooth


def enlarged(coarse: Tensor, map: Tensor, step: Tensor) -> Tensor:
    """What `halve_map` of a size has been made, (B, 1, h, w), at that size, (B, 1, H, W).

    The mean of the nearest places, at odd rows and columns, that are of the pixel's own surface.
    """
    rows, columns = (torch.arange(side, device=map.device) for side in map.shape[-2:])
    padded = F.pad(coarse, (1, 0, 1, 0), mode="replicate")
    total, count = torch.zeros_like(map), torch.zeros_like(map)
    for row in (rows + 1) // 2, rows // 2 + 1:
        for column in (columns + 1) // 2, columns // 2 + 1:
            near = padded[..., row, :][..., column]
            same = ((near - map).abs() < SAME * step).to(map)
            total, count = total + same * near, count + same
    return within(torch.where(count > 0, total / count.clamp(min=1), map), map, step)


def within(smooth: Tensor, map: Tensor, step: Tensor) -> Tensor:
    """Brought to within half a step of the map, (B, 1, H, W)."""
    return torch.minimum(torch.maximum(smooth, map - step / 2), map + step / 2)
