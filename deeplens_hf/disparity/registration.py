"""Maps whose edges all lie the same few pixels off: to one side, or what is near too wide or too narrow.

A phone sees depth with another lens than it takes the photo with, and programs spread or cut what is near. Where depth
has an edge the photo changes colour more than beside it: one edge says little of that, all of them together say to the
pixel where they should lie. (Mutual registration of depth and colour, in its simplest form.)
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.pooling import window_max, window_min
from .uncompiled import uncompiled

REACH = 5  # pixels: the most that is mended
EDGE = 0.05  # of a map's range, from one pixel to the next
FEWEST = 100  # pairs of pixels across an edge: fewer prove nothing
CLEARER = 1.3  # times: colour must change by so much more at the new place than at the map's own edges
BETTER = 1.4  # times: the same after the move over before it
CLIMB = 1.02  # times: what each further pixel must bring
KEPT = 0.5  # of the edges have to be left: what is cut down to a few of them shows these at their best
LINES = 256  # rows, or columns, that are looked at


class Misfit(NamedTuple):
    """How far a map lies off, in pixels: to the right, down, and how much too far what is near reaches all around."""

    right: int = 0
    down: int = 0
    wide: int = 0


def registered(light: Tensor, maps: Tensor) -> tuple[Tensor, list[Misfit]]:
    """Maps (B, 1, H, W) where their photos, linear light (B, 3, H, W), have the edges; and how far each lay off."""
    misfits = [misfit(*each) for each in zip(light.split(1), maps.split(1), strict=True)]
    return fitted(maps, misfits), misfits


@uncompiled
@torch.no_grad()
def misfit(light: Tensor, map: Tensor) -> Misfit:
    """Of a map (1, 1, H, W), near = large, of any range, beside its photo, linear light (1, 3, H, W)."""
    photo = _changes(light[0]), _changes(light[0].mT)
    (right, across), (down, along) = _off(photo[0], map[0, 0]), _off(photo[1], map[0, 0].mT)
    told = [each for each in (across, along) if each is not None]
    wide = round(sum(told) / len(told)) if told else 0
    if not (right or down or wide):
        return Misfit()
    contrast, edges = _contrast(photo, map)

    def clearness(off: Misfit) -> float:
        clear, left = _contrast(photo, fitted(map, [off]))
        return clear if left >= KEPT * edges else 0.0

    found = Misfit(right, down, wide)
    most = clearness(found)
    while most:  # uphill from there: across a slant a map looks wider than it is, and further off
        near = [found._replace(**{name: value + by}) for name, value in found._asdict().items() for by in (-1, 1)]
        clear = {off: clearness(off) for off in near if max(abs(each) for each in off) <= REACH}
        best = max(clear, key=clear.__getitem__)
        if clear[best] <= CLIMB * most:
            break
        found, most = best, clear[best]
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


def _off(photo: Tensor, map: Tensor) -> tuple[int, float | None]:
    """Along the rows of (H, W): how far to the right, and how much too wide, None if it cannot be told."""
    ways = [_farther_in(*each) for each in _across(photo, map, REACH + 1)]
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


def _contrast(photo: tuple[Tensor, Tensor], map: Tensor) -> tuple[float, int]:
    """Mean change of colour across the edges of a map (1, 1, H, W), and how many these are."""
    ways = [*_across(photo[0], map[0, 0]), *_across(photo[1], map[0, 0].mT)]
    count = sum(count for _, count in ways)
    return sum(float(change) for change, _ in ways) / max(count, 1), count


def _across(photo: Tensor, map: Tensor, reach: int = 0) -> list[tuple[Tensor, int]]:
    """What `_changes` says where a map (H, W) has an edge from one column to the next, and beside it.

    Returns for edges whose right, and whose left side is near: the sum of changes from `reach` pixels on the far side
    of them to `reach` on the near side, (2 reach + 1,), and how many edges there are.
    """
    step = _lines(map).diff(dim=-1)[:, reach : map.shape[1] - 1 - reach]
    least = EDGE * (map.max() - map.min())
    places = torch.arange(2 * reach + 1, device=map.device)
    found = []
    for edges, order in ((step > least, places), (step < -least, places.flip(0))):
        line, column = edges.nonzero(as_tuple=True)
        found.append((photo[line[:, None], column[:, None] + order].sum(0), len(line)))
    return found


def _changes(light: Tensor) -> Tensor:
    """How much the colours of (3, H, W), linear, change from one column to the next: (lines, W - 1)."""
    return _lines(light).clamp(min=0).sqrt().diff(dim=-1).abs().sum(0)


def _lines(x: Tensor) -> Tensor:
    """As many of the rows of (..., H, W), in one piece, as are looked at."""
    return x[..., :: max(1, x.shape[-2] // LINES), :].contiguous()
