"""The subject's silhouette: its mask says which pixels are the subject's where a disparity alone is soft.

A network draws the outline of a mask sharper than a step of depth, and knows a black nose before dark water for the
animal's, which by its colour is water. So where mask and disparity tell of the same two surfaces, the mask decides.
"""

from torch import Tensor

from ..layers.pooling import window_max, window_mean, window_min
from .fusion import span

REACH = 6  # pixels from which both disparities may come
AVERAGED = 8  # pixels to either side, over which the subject's disparity and that about it are averaged
RIM = 3  # pixels about the subject that may move away from it


def steadied(disparity: Tensor, foreground: Tensor) -> Tensor:
    """disparity of any scale, foreground in [0, 1], (B, 1, h, w) each -> the disparity, its subject's edges steadied.

    Only where the subject is the nearer one, and stands out by most of what the disparity changes nearby: beside
    another thing as near, on its own ground, or behind something, nothing changes.
    """
    nearest, farthest = window_max(disparity, REACH), window_min(disparity, REACH)
    local = nearest - farthest
    whole = span(disparity)  # (B, 1, 1, 1)
    subject, around = (mean_of(disparity, side) for side in (foreground, 1 - foreground))
    explained = (4 * (subject - around) / local.clamp(min=1e-6) - 2).clamp(0, 1)  # 0: half of what changes, or less
    step = (10 * local / whole.clamp(min=1e-6) - 0.5).clamp(0, 1)  # 0: a twentieth of the map's range, or less
    side = ((2 * foreground - 1) / 0.8).clamp(-1, 1)  # 1 = the subject, -1 = not
    nearer = (subject.minimum(nearest) - disparity).clamp(min=0) * side.clamp(min=0)
    beside = window_max(side, RIM).clamp(min=0)
    farther = (disparity - around.maximum(farthest)).clamp(min=0) * (-side).clamp(min=0) * beside
    return disparity + explained * step * (nearer - farther)


def mean_of(disparity: Tensor, share: Tensor) -> Tensor:
    """The mean disparity nearby, (B, 1, h, w), of what surely belongs to the side whose share is given, 0 to 1."""
    sure = (5 * share - 4).clamp(min=1e-4)
    return window_mean(disparity * sure, AVERAGED) / window_mean(sure, AVERAGED)
