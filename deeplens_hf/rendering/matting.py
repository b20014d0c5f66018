"""Pixels at the very edge of a surface, of which part shows what lies behind: how large a part, from their colour.

A disparity says of each pixel which surface it is of; a photo mixes both in the row of pixels on either side of an
edge. How far a colour lies along the line between those of both sides is what a matte holds (Ruzon and Tomasi, "Alpha
estimation in natural images", CVPR 2000).
"""

import torch
from torch import Tensor

from ..layers.pooling import enlarge, window_max, window_mean, window_min

SIDE = 5  # every other pixel: the windows in which the colours of both sides are averaged
UNLIKE = 10.0  # how many times the colours' spread their distance has to exceed, squared, to be believed half-way
FAINT = 0.01  # the same for colours without any spread, of square roots of light
MOST = 0.5  # of a pixel that the disparity gives to one surface may at most be the other's
INNER = 0.5  # how much is believed of pixels that the disparity counts to the near surface


def edge_matte(light: Tensor, far_light: Tensor, coverage: Tensor, apart: Tensor) -> tuple[Tensor, Tensor]:
    """coverage (B, 1, H, W), and far light (B, 3, H, W) without what the near surface mixes into it, at edges.

    Args:
        light, far_light: linear, (B, 3, H, W), the photo's and the far surface's.
        coverage: by the near surface, as the disparity says it, (B, 1, H, W): 1 or 0 away from soft edges.
        apart: 1 where the two surfaces lie apart, 0 where they are one, (B, 1, H, W).
    """
    shown, near = light.clamp(min=1e-6).sqrt(), coverage.round()
    within = window_min(near, 1)  # clear of the edge
    # both sides' colours are the same for some pixels: one of four tells them
    some, inner, outer, side = (each[..., ::2, ::2] for each in (shown, within, 1 - window_max(near, 2), near))
    near_colour, near_spread = _moments(some, inner + 0.05 * side)  # of thin things all is edge
    far_colour, far_spread = _moments(some, outer + 0.02 * (1 - side))
    line = near_colour - far_colour  # (B, 3, H/2, W/2)
    length = line.square().sum(1, keepdim=True)
    factors = line / (length + 1e-4)
    offset = -(factors * far_colour).sum(1, keepdim=True)
    believed = length / (length + UNLIKE * (near_spread + far_spread) + FAINT)
    maps = enlarge(torch.cat([factors, offset, believed, near_colour], 1), near.shape[-2:])
    factors, offset, believed, near_colour = maps.split([3, 1, 1, 3], 1)
    share = ((shown * factors).sum(1, keepdim=True) + offset).clamp(0, 1)  # (B, 1, H, W)
    believed = apart * believed
    outside = believed * (window_max(near, 1) - near)
    inside = INNER * believed * (near - within)
    mixed = share.clamp(max=MOST) * outside
    cleaned = ((light - mixed * near_colour.square()) / (1 - mixed)).clamp(min=0)
    far_light = torch.lerp(far_light, cleaned, outside)
    coverage = torch.lerp(coverage, share.clamp(max=MOST), outside)
    return torch.lerp(coverage, share.clamp(min=MOST), inside), far_light


def _moments(colour: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """colour (B, 3, h, w), weight (B, 1, h, w) -> the mean colour about each place, and the variance, (B, 1, h, w)."""
    maps = torch.cat([colour * weight, colour.square().sum(1, keepdim=True) * weight, weight], 1)  # (B, 5, h, w)
    sums = window_mean(maps, SIDE // 2)
    means = sums[:, :4] / sums[:, 4:].clamp(min=1e-5)
    return means[:, :3], (means[:, 3:] - means[:, :3].square().sum(1, keepdim=True)).clamp(min=0)
