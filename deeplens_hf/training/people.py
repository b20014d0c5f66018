"""Labels of people put right by what is known of people: each holds together in depth, and stands on the ground.

Networks let arms and heads sink into what is behind them, lift whoever stands in the picture off the ground, and draw
a dark ring about them: such a person is cut out, blurred in parts, with a halo. Masks drawn by hand say who is where.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.pooling import window_max, window_mean, window_min

RELIEF = 0.35  # how much of a person's own relief is kept: it is small beside their distance
MOST = 0.05  # of the map's range, to which that is limited
LEAST = 0.01  # of the picture: smaller pieces of a mask are nobody
STANDING = 0.3  # of the picture's height that a person has to have, for feet that are seen to be theirs
RING = 0.045  # of the long side: how far about people the disparity dips
DIP = 0.1  # by how much at most
ALONG = (4, 8, 16, 32, 64, 128)  # pixels, within which what is missing is looked for, one after the other
CARRIED = 0.07  # of the range, from a person's level: what is so near, about them, they carry


def grounded(disparity: Tensor, mask: Tensor) -> Tensor:
    """disparity, mask (1, 1, h, w) in [0, 1] -> disparity (1, 1, h, w), in which the persons stand where they are."""
    ring = max(4, round(RING * max(mask.shape[-2:])))
    masked = (mask > 0.5).float()
    persons = []  # where each is, with what they carry, and their level in the label
    for piece in pieces(masked):
        level = disparity[piece].median()
        near = window_max(piece.float(), ring) > 0
        carries = near & ((disparity - level).abs() < CARRIED) & above_feet(piece)
        persons.append((piece, piece | carries, level))
    if not persons:
        return disparity
    solid = torch.stack([whole for _, whole, _ in persons]).any(0).float()
    soft = torch.maximum(mask, window_mean(window_max(solid - masked, 1), 1))
    about = window_max(solid, ring)
    ground = carried(disparity, 1 - about)
    filled = disparity + (ground - disparity).clamp(0, DIP) * about
    beside = window_max(solid, 3)  # right beside people the label is mixed with them
    behind = carried(filled, 1 - beside)
    person = disparity.clone()
    for piece, whole, level in persons:
        beneath = feet(piece) & (beside == 0)
        relief = (RELIEF * (disparity[whole] - level)).clamp(-MOST, MOST)
        person[whole] = relief + (behind[beneath].median() if beneath.any() else level)
    return torch.lerp(behind, carried(person, window_min(solid, 1)), soft)


def above_feet(piece: Tensor) -> Tensor:
    """The rows of a person, boolean (1, 1, h, w), without the lowest tenth: (h, 1), where no ground is so near."""
    rows = piece.any(-1)[0, 0].nonzero()
    return torch.arange(piece.shape[-2]).view(-1, 1) < rows.max() - 0.1 * (rows.max() - rows.min())


def feet(piece: Tensor) -> Tensor:
    """Where the ground is that a person, boolean (1, 1, h, w), stands on: beside the feet, person and all.

    Nowhere for somebody too small, or whose feet the frame cuts off.
    """
    height, width = piece.shape[-2:]
    rows, columns = piece[0, 0].nonzero(as_tuple=True)
    tall, lowest = int(rows.max() - rows.min()), int(rows.max())
    found = torch.zeros_like(piece)
    if lowest >= 0.97 * height or tall < STANDING * height:
        return found
    columns = columns[rows > lowest - 0.06 * tall]
    reach, half = max(8, round(0.1 * tall)), max(1, round(0.03 * tall))
    left, right = max(0, int(columns.min()) - reach), int(columns.max()) + reach + 1
    found[..., max(0, lowest - half) : lowest + half + 1, left:right] = True
    return found


def pieces(solid: Tensor) -> list[Tensor]:
    """The connected pieces of a mask (1, 1, h, w) of 0 and 1 that are large enough to be somebody, boolean each."""
    small = F.max_pool2d(solid, 4, ceil_mode=True)  # what is no farther apart is connected
    number = torch.arange(1.0, small.numel() + 1).view_as(small) * small
    while not torch.equal(number, grown := window_max(number, 1) * small):
        number = grown
    number = F.interpolate(number, scale_factor=4)[..., : solid.shape[-2], : solid.shape[-1]] * solid
    names, counts = number[solid > 0].unique(return_counts=True)
    return [number == name for name, count in zip(names, counts, strict=True) if count >= LEAST * solid.numel()]


def mean_along(x: Tensor, reach: int) -> Tensor:
    """Over `reach` pixels to either side, and a quarter of that up and down: (1, 1, h, w) -> the same."""
    x = F.avg_pool2d(x, (1, 2 * reach + 1), 1, (0, reach))
    return F.avg_pool2d(x, (2 * (reach // 4) + 1, 1), 1, (reach // 4, 0))


def carried(
    values: Tensor,
    known: Tensor,
    mean: Callable[[Tensor, int], Tensor] = mean_along,
    reaches: tuple[int, ...] = ALONG,
    least: float = 0.02,
) -> Tensor:
    """(1, 1, h, w) each: where not known, 0 or 1, the mean of what is along the rows, as near as there is any.

    mean: over other windows than `mean_along` has, of these reaches; least: the share of a window that has to be known.
    """
    out, missing = torch.where(known > 0, values, 0.0), known == 0
    for reach in reaches:
        if not missing.any():
            break
        weight, total = (mean(each, reach) for each in (known, values * known))
        here = missing & (weight > least)
        out[here], missing = (total / weight.clamp(min=1e-6))[here], missing & ~here
    return torch.where(missing, values, out)
