"""What lies behind each pixel's own surface: continued under what hides it, from the next that is farther away.

Where three surfaces meet, a near one hides the middle one beside it, and the far one elsewhere. So the picture is
filled several times over, from what lies beyond one depth after another, and each pixel takes what is beyond its own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.pooling import (
    distance_below,
    enlarge,
    halve,
    halve_max,
    halve_min,
    lengthen,
    window_max,
    window_mean,
    window_min,
)

SHELVES = 6  # equal parts of a picture's range of defocus; the bounds between them are the depths to fill from beyond
LEVELS = 7  # halvings of the pyramid: what is hidden is looked for up to 2 ** LEVELS pixels away
FARTHEST = 1.5  # pixels of distance a pixel of blur, of both surfaces, beyond which nothing is revealed
SOFT = 0.5  # pixels of defocus: how gradually a surface comes to lie beyond a depth
UNEVEN = 0.5  # pixels of defocus in the flattest 3 x 3 about a pixel: from here on it seems to be of a soft edge
MIXED = 0.1  # how much such a pixel, of mixed colour as often as not, counts in what is continued
STEEP = 1e3  # pixels of defocus a pixel: the slope assumed outside the frame, so large that a minimum never takes it
SLOPE_MARGIN = 5.0  # how many times its slope's drop on the way a surface may fall before it counts as hiding
NEARER = 0.25  # of the step down to what is continued: what is nearer than that is not taken for part of it
ROUGHNESS = 3.0  # the pyramid tells distances coarsely: at most so many times the measured one


def extend_far(light: Tensor, defocus: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Extend what lies behind under what hides it: light (B, 3, H, W), defocus (B, 1, H, W) -> the same, far surface.

    A pixel stays where nothing lies behind within the blur's reach, or nothing farther than its own slope explains.
    The third map, (B, 1, H, W), is 1 in the first case, where a near surface goes on that is known to be one.
    """
    own = torch.cat([light, defocus], 1)  # (B, 4, H, W)
    count = interior_weight(defocus)  # (B, 1, H, W)
    far, found, way, away = behind_each(own, count)
    step = defocus - far[:, 3:]
    # a step of 2 px hides, one of half a pixel does not
    beyond_slope = ((step - SLOPE_MARGIN * slope(defocus, count) * way - 0.5) / 1.5).clamp(0, 1)
    hides = hardened(beyond_slope * (16 * found).clamp(max=1), step)
    reach = defocus.abs() + far[:, 3:].abs()  # pixels of blur, of both surfaces
    # a sharp border, since what is half of each lies between their depths
    within = (FARTHEST * reach > away).to(step.dtype)
    shown, inside = hides * within, hides * (1 - within)
    far = torch.lerp(own, far, shown)
    return far[:, :3], far[:, 3:], inside


def behind_each(own: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What lies farther than each pixel, and is continued there: light and defocus (B, 4, H, W), how much each counts.

    Returns the same of what lies behind, (B, 4, H, W); how much of that was found; how many pixels away what is
    continued is; and how many away the next that lies farther begins; (B, 1, H, W) each.
    """
    maps, depth = lengthen(torch.cat([own * count, count], 1)), lengthen(own[:, 3:])  # (B, 5 and 1, H, W)
    low, high = depth.amin((1, 2, 3), keepdim=True), depth.amax((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    shelf = (high - low).clamp(min=1e-3) / SHELVES
    nearest = window_max(halve_max(depth), 1)  # (B, 1, h, w), of each block of 2 x 2 and those it is blended with
    place = (nearest - SOFT - low) / shelf - 1  # beyond which depth each block looks
    behind = 0.0
    for index in range(1, SHELVES):
        beyond = ((low + index * shelf - depth) / SOFT).clamp(0, 1)  # (B, 1, H, W)
        share = 1 - (place - index).abs() if index < SHELVES - 1 else place - index + 1
        behind = behind + share.clamp(0, 1) * push_pull(halve(maps * beyond))  # (B, 6, h, w)
    # what is continued may be the mean of a near and a far surface, a depth at which nothing is
    as_far = torch.lerp(behind[:, 3:4] / behind[:, 5:].clamp(min=1e-4), nearest, NEARER)  # (B, 1, h, w)
    away = 1 + 2 * distance_below(halve_min(depth), torch.minimum(nearest - SOFT - shelf, as_far), SOFT)
    behind = enlarge(torch.cat([behind, away], 1), own.shape[-2:])
    far, found, away = behind.split([5, 1, 1], 1)
    far, way = (far / found.clamp(min=1e-4)).split([4, 1], 1)
    return far, found, torch.minimum(way, ROUGHNESS * away), away


def hardened(share: Tensor, apart: Tensor) -> Tensor:
    """The share, 0 or 1 where two surfaces lie apart by 4 pixels of defocus: between them, half of each, is nothing.

    (B, 1, H, W) each -> the same: as it is where they lie less than 2 pixels apart.
    """
    return torch.lerp((share > 0.5).to(share.dtype), share, ((4 - apart) / 2).clamp(0, 1))


def push_pull(seen: Tensor) -> Tensor:
    """Push-pull (Gortler et al., "The Lumigraph", SIGGRAPH 1996): what is unseen takes after what is seen about it.

    seen (B, 5, h, w), half-size means of maps times weight, and of the weight -> (B, 6, h, w): the same of all, and
    before the weight how many pixels away it comes from, times the weight.
    """
    pyramid = [_whole(seen, 1)]
    for level in range(2, LEVELS + 1):
        if min(pyramid[-1].shape[-2:]) < 2:
            break
        half = halve(pyramid[-1])
        pyramid.append(_whole(torch.cat([half[:, :-2], half[:, -1:]], 1), level))
    below = pyramid.pop()
    for own in reversed(pyramid):
        below = torch.addcmul(own, enlarge(below, own.shape[-2:]), 1 - own[:, -1:])
    return below


def _whole(means: Tensor, level: int) -> Tensor:
    """One seen pixel of four stands for its block: (B, 5, h, w) -> (B, 6, h, w), weights of a quarter and more 1."""
    weight = means[:, -1:]
    means = means * ((4 * weight).clamp(max=1) / weight.clamp(min=1e-6))
    return torch.cat([means[:, :-1], 2**level * means[:, -1:], means[:, -1:]], 1)


def interior_weight(defocus: Tensor) -> Tensor:
    """How much a pixel counts for its surface, (B, 1, H, W) -> (B, 1, H, W): MIXED where it seems of a soft edge."""
    return (1.5 - unevenness(defocus, 1) / UNEVEN).clamp(MIXED, 1.0)


def slope(defocus: Tensor, count: Tensor) -> Tensor:
    """Pixels of defocus a pixel, along the surface: the least about, so that steps and what mends them do not count.

    (B, 1, H, W), and how much each pixel counts -> (B, 1, H, W), averaged over 7 x 7: soft edges are no slopes.
    """
    across, down = defocus.diff(dim=-1).abs(), defocus.diff(dim=-2).abs()
    across = torch.minimum(F.pad(across, (1, 0), value=STEEP), F.pad(across, (0, 1), value=STEEP))
    down = torch.minimum(F.pad(down, (0, 0, 1, 0), value=STEEP), F.pad(down, (0, 0, 0, 1), value=STEEP))
    return window_mean(window_min(across + down, 1) * count, 3) / window_mean(count, 3)


def unevenness(defocus: Tensor, reach: int) -> Tensor:
    """Greatest minus least within `reach` pixels of a place, at the flattest such place about each pixel.

    (B, 1, H, W) -> (B, 1, H, W): little on surfaces up to their very edge, much within soft edges and on single hairs.
    """
    return window_min(window_max(defocus, reach) - window_min(defocus, reach), reach)
