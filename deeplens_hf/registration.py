"""Maps whose edges all lie the same few pixels off: to one side, or what is near too wide or too narrow.

A phone sees depth with another lens than it takes the photo with, and programs spread or cut what is near. Where depth
has an edge the photo changes colour more than beside it: one edge says little of that, all of them together say to the
pixel where they should lie. (Mutual registration of depth and colour, in its simplest form.)
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .pooling import window_max, window_min

REACH = 5  # pixels: the most that is mended
EDGE = 0.05  # of a map's range, from one pixel to the next
FEWEST = 100  # pairs of pixels across an edge: fewer prove nothing
CLEARER = 1.3  # times: what changes there must be by so much more than where the map has its edges
BETTER = 1.4  # times: and by so much more than before, once the map is moved
CLIMB = 1.02  # times: and by so much with each further pixel
KEPT = 0.5  # of the edges have to be left: what is cut down to a few of them shows these at their best
LINES = 256  # rows, or columns, that are looked at


class Misfit(NamedTuple):
    """How far a map lies off, in pixels: to the right, down, and how much too far what is near reaches all around."""

    right: int = 0
    down: int = 0
    wide: int = 0


@torch.no_grad()
def misfit(light: Tensor, map: Tensor) -> Misfit:
    """Of a map (1, 1, H, W), near = large, of any range, beside its photo, linear light (1, 3, H, W)."""
    if torch.compiler.is_compiling():  # a graph cannot look at its data
        return Misfit()
    (right, across), (down, along) = _off(light[0], map[0, 0]), _off(light[0].mT, map[0, 0].mT)
    told = [each for each in (across, along) if each is not None]
    wide = round(sum(told) / len(told)) if told else 0
    if not (right or down or wide):
        return Misfit()
    contrast, edges = _contrast(light, map)
    found, most = Misfit(right, down, wide), 0.0
    tried = [found]
    while tried:  # uphill from there: across a slant a map looks wider than it is, and further off
        clear = {}
        for off in tried:
            clear[off], left = _contrast(light, fitted(map, [off]))
            if left < KEPT * edges:
                clear[off] = 0.0
        best = max(clear, key=clear.__getitem__)
        if clear[best] <= CLIMB * most:
            break
        found, most = best, clear[best]
        near = (found._replace(**{name: value + by}) for name, value in found._asdict().items() for by in (-1, 1))
        tried = [off for off in near if max(abs(each) for each in off) <= REACH]
    return found if most > BETTER * contrast else Misfit()


def fitted(map: Tensor, misfits: list[Misfit], times: int = 1) -> Tensor:
    """(B, 1, H, W) brought to where its photo has the edges; a misfit each, in blocks of `times` pixels."""
    if not any(any(off) for off in misfits):
        return map
    return torch.cat([_fitted(one, off, times) for one, off in zip(map.split(1), misfits, strict=True)])


def _fitted(map: Tensor, off: Misfit, times: int) -> Tensor:
    if off.wide:
        window = window_min if off.wide > 0 else window_max
        map = window(map, abs(off.wide) * times)
    height, width = map.shape[-2:]
    right, down = off.right * times, off.down * times
    reach = max(abs(right), abs(down))
    padded = F.pad(map, (reach,) * 4, mode="replicate") if reach else map
    return padded[..., reach + down : reach + down + height, reach + right : reach + right + width]


def _off(light: Tensor, map: Tensor) -> tuple[int, float | None]:
    """Along the rows of (H, W): how far to the right, and how much too wide, None if it cannot be told."""
    ways = [_farther_in(*each) for each in _changes(light, map, REACH + 1)]
    if None in ways:
        return 0, None
    near_right, near_left = ways
    return round((near_left - near_right) / 2), (near_right + near_left) / 2


def _farther_in(change: Tensor, count: int) -> int | None:
    """How far on the near side of the map's edges the photo changes most, if that is clear; 0 if it is at them."""
    if count < FEWEST:
        return None
    middle = len(change) // 2
    most = int(change.argmax())
    clear = change[most] > CLEARER * change[middle] and 0 < most < 2 * middle
    return most - middle if clear else 0


def _contrast(light: Tensor, map: Tensor) -> tuple[float, int]:
    """Mean change of colour across the edges of a map (1, 1, H, W), and how many these are."""
    ways = [*_changes(light[0], map[0, 0]), *_changes(light[0].mT, map[0, 0].mT)]
    count = sum(count for _, count in ways)
    return sum(float(change) for change, _ in ways) / max(count, 1), count


def _changes(light: Tensor, map: Tensor, reach: int = 0) -> list[tuple[Tensor, int]]:
    """How colours (3, H, W) change where a map (H, W) has an edge from one column to the next, and beside it.

    Returns for edges whose right, and whose left side is near: the mean change from `reach` pixels on the far side of
    them to `reach` on the near side, (2 reach + 1,), and how many edges there are.
    """
    lines = slice(None, None, max(1, map.shape[0] // LINES))
    shown = light[:, lines].contiguous().clamp(min=0).sqrt()  # lines first: they are a part, and may be columns
    change = shown.diff(dim=-1).abs().sum(0)  # (lines, W - 1)
    step = map[lines].contiguous().diff(dim=-1)[:, reach : map.shape[1] - 1 - reach]
    least = EDGE * (map.max() - map.min())
    places = torch.arange(2 * reach + 1, device=map.device)
    found = []
    for edges, order in ((step > least, places), (step < -least, places.flip(0))):
        line, column = edges.nonzero(as_tuple=True)
        found.append((change[line[:, None], column[:, None] + order].sum(0), len(line)))
    return found
