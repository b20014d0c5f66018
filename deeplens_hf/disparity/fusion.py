"""Several looks at one photo made one: the fine edges of large ones, the broad shape of small ones.

A smaller picture shows a network more of the scene at once, a larger one finer edges (Miangoleh et al., "Boosting
monocular depth estimation models to high-resolution via content-adaptive multi-resolution merging", CVPR 2021). What
the small look corrects is brought in by a guided filter (He, Sun and Tang, TPAMI 2013) whose guide is the large look
itself: a plain average would carry the correction of a subject into the background beside it, as a ring.
"""

import torch
from torch import Tensor

from ..layers.pooling import window_max, window_mean, window_min

BROAD = 0.15  # of the long side: windows within which the broad shape of a scene follows the fine one
KEPT = 0.5  # of each fine step at least, where both disagree on which side is near
EVEN = 0.01  # variance, of a map whose own is 1, below which a window has no step to follow
SUBJECT = 0.025  # of the long side: windows within which the fine subject follows the broad one
UNSURE = 1e-4  # probability, the least and the most that logits are taken of
RING = 0.02  # of the long side: half the width of the darker rings that networks draw about near things
STEP = 0.1  # of a map's range: what stands out by less from its surroundings has no such ring
HOLLOW = 0.06  # of the long side: half the width of the hollows that networks leave inside a subject
SHALLOW = 0.25  # of the subject's step from the background: hollows no deeper are filled, twice as deep ones stay
BESIDE = 0.05  # share of background in a window twice as wide at which the step to it is believed by half
CLEAR = 0.3  # of a map's range: a subject that stands out by less from the background has no hollows


def span(disparity: Tensor) -> Tensor:
    """From the farthest to the nearest in each map, (B, 1, 1, 1)."""
    return disparity.amax((1, 2, 3), keepdim=True) - disparity.amin((1, 2, 3), keepdim=True)


def standardise(disparity: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over each map, (B, 1, h, w); a flat map becomes 0."""
    centred = disparity - disparity.mean((1, 2, 3), keepdim=True)
    return centred / centred.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6)


def reshaped(fine: Tensor, coarse: Tensor, share: float = 1.0) -> Tensor:
    """Both standardised, (B, 1, h, w): the fine map moves `share` of the way to the coarse one in its broad shape.

    Within each window the way there is a line over the fine map's values, so a step of it stays one step.
    """
    fine, coarse = precise(fine), precise(coarse)  # variances by differences
    reach = reach_of(fine, BROAD / 2)
    way = coarse - fine
    mean, mean_way, square, product = window_mean(torch.cat([fine, way, fine * fine, fine * way], 1), reach).split(1, 1)
    slope = (product - mean * mean_way) / (square - mean * mean + EVEN)  # (B, 1, h, w)
    slope = slope.clamp(min=KEPT - 1)
    slope, offset = window_mean(torch.cat([slope, mean_way - slope * mean], 1), reach).split(1, 1)
    return fine + share * (slope * fine + offset)


def agreed(fine: Tensor, coarse: Tensor, share: float) -> Tensor:
    """The subject by two looks, probabilities (B, 1, h, w): the broad shape is `share` the small look's.

    In logits, and thin parts, which only the large look can see, stay: they are lost in a mean of both.
    """
    fine, coarse = (torch.logit(precise(x), UNSURE) for x in (fine, coarse))
    reach = reach_of(fine, SUBJECT)
    return torch.sigmoid(fine + share * window_mean(window_mean(coarse - fine, reach), reach))


def without_rings(disparity: Tensor) -> Tensor:
    """Fill the dark rings that a network draws right about what is near: (B, 1, h, w) of any scale -> the same.

    A morphological closing (a greatest, then a least of windows) fills each narrow valley up to the lower of its sides,
    which is the background's. A valley as deep as the step beside it is no ring but a gap, and stays: by degrees from a
    quarter of the step on, wholly from half of it.
    """
    reach = reach_of(disparity, RING)
    nearest = window_max(disparity, reach)
    valley = window_min(nearest, reach) - disparity  # how deep it is there
    step = nearest - disparity
    whole = span(disparity)  # (B, 1, 1, 1)
    ring = (2 - 4 * valley / step.clamp(min=1e-6)).clamp(0, 1)
    return disparity + valley * ring * (step / (STEP * whole).clamp(min=1e-6) - 1).clamp(0, 1)


def without_hollows(disparity: Tensor, foreground: Tensor) -> Tensor:
    """Fill what a network leaves farther in the middle of the subject than at its rim.

    disparity of any scale, foreground in [0, 1], (B, 1, h, w) each -> the disparity. Blurred, a hollow is an inset with
    hard edges, and in focus a soft island. A closing as of `without_rings`, of the subject alone, over wider windows:
    what slopes down to the outline stays, and beyond the outline all does. What is deep, measured by the step from the
    subject to the background nearby, is a gap or somebody farther back, and stays; so does what has no background near,
    or stands out by little: feet on the ground, things on a table.
    """
    reach = reach_of(disparity, HOLLOW)
    low = disparity.amin((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    subject = torch.where(foreground > 0.5, disparity, low)
    closed = window_min(window_max(subject, reach), reach)
    whole = disparity.amax((1, 2, 3), keepdim=True) - low
    valley = (closed - disparity).clamp(min=0)
    behind = 1 - foreground
    share, sum_behind = window_mean(torch.cat([behind, behind * disparity], 1), 2 * reach).split(1, 1)
    step = (closed * share - sum_behind) / (share + BESIDE)  # from the mean behind it; to 0 where that is rare
    hollow = (2 - valley / (SHALLOW * step).clamp(min=1e-6)).clamp(0, 1)
    clear = (step / (CLEAR * whole).clamp(min=1e-6) - 1).clamp(0, 1)
    return disparity + valley * hollow * clear * ((2 * foreground - 1) / 0.8).clamp(0, 1)


def precise(x: Tensor) -> Tensor:
    """As it is, or, of half precision, in single."""
    return x if x.dtype.itemsize >= 4 else x.float()


def reach_of(x: Tensor, share: float) -> int:
    """This share of the long side of (B, C, h, w), in pixels, at least one."""
    return max(1, round(share * max(x.shape[-2:])))
