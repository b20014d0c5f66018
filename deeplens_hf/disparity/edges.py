"""Maps predicted at a small size, brought to the photo's own with the photo's edges.

The fast guided filter (He, Sun and Tang, "Guided Image Filtering", TPAMI 2013; He and Sun, "Fast Guided Filter", 2015):
within each window a map is the photo's colours times a, plus b. Both are found at a small size, averaged over the
windows that hold a pixel, enlarged, and applied to the full photo. A window counts the more the better the colours
explain the map in it: so a step that the map has and the colours lack is not spread over its neighbourhood. The
foreground, refined, guides the disparity beside the colours: a subject's edge is mostly one of depth, and the
network draws it sharper.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.pooling import window_max, window_min, window_sum

SIZE = 480  # long side, pixels, that a and b are found at
RADIUS = 8  # of the windows, pixels of that size
EPSILON = 2e-3  # variance below which a guide counts as flat in a window: what is printed on a surface is no edge of it
UNEXPLAINED = 5e-4  # variance left unexplained, of a map of range 1, that halves what a window counts
TINY = 1e-12  # a flat map is explained everywhere
NEARBY = 2  # pixels of the map: what is refined stays within the values this near, so that nothing overshoots
STRIP = 128  # rows of the full photo worked on at a time


def refine(maps: Tensor, image: Tensor) -> Tensor:
    """maps (B, C, h, w), image (B, 3, H, W) in [0, 1] -> the maps at (H, W).

    The last map is refined first, and guides the one before it beside the colours: give disparity, then foreground.
    """
    height, width = image.shape[-2:]
    scale = min(1.0, SIZE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    guides = F.interpolate(image, size, mode="bilinear", antialias=True)  # (B, 3, *size), and maps as they are refined
    full = [image]  # the same at (H, W)
    for map in reversed(maps.split(1, 1)):
        planes = _fit(guides, F.interpolate(map, size, mode="bilinear"))  # (B, guides + 1, *size)
        bounds = torch.cat([window_min(map, NEARBY), window_max(map, NEARBY)], 1)  # (B, 2, h, w)
        full.append(_apply(planes, bounds, full))
        if len(full) <= maps.shape[1]:  # there is another one to guide
            guides = torch.cat([guides, _apply(planes, bounds, [guides])], 1)
    return torch.cat(full[:0:-1], 1)


def _apply(planes: Tensor, bounds: Tensor, guides: list[Tensor]) -> Tensor:
    """planes (B, K + 1, h, w) and bounds (B, 2, h', w') enlarged; guides (B, k, H, W), K in all -> (B, 1, H, W)."""
    size, strips = guides[0].shape[-2:], []
    for top in range(0, size[0], STRIP):
        bottom = min(top + STRIP, size[0])
        *slopes, value = _enlarge(planes, size, top, bottom).split(1, 1)  # (B, 1, rows, W) each
        low, high = _enlarge(bounds, size, top, bottom).split(1, 1)
        channels = (channel for guide in guides for channel in guide[..., top:bottom, :].split(1, 1))
        for slope, channel in zip(slopes, channels, strict=True):
            value = torch.addcmul(value, slope, channel)
        strips.append(torch.clamp(value, low, high))
    return torch.cat(strips, 2)


def _enlarge(planes: Tensor, size: tuple[int, int], top: int, bottom: int) -> Tensor:
    """Rows `top` to `bottom` of planes (B, C, h, w) bilinearly enlarged to `size` (H, W): (B, C, bottom - top, W)."""
    small = planes.shape[-2]
    at = (torch.arange(top, bottom, device=planes.device, dtype=planes.dtype) + 0.5) * (small / size[0]) - 0.5
    at = at.clamp(0, small - 1)
    above = at.floor().long().clamp(max=max(small - 2, 0))
    rows = torch.lerp(planes[..., above, :], planes[..., (above + 1).clamp(max=small - 1), :], (at - above)[:, None])
    return F.interpolate(rows, (bottom - top, size[1]), mode="bilinear")


def _fit(guides: Tensor, map: Tensor) -> Tensor:
    """guides (B, K, h, w), map (B, 1, h, w) -> a and b, (B, K + 1, h, w), averaged by how well each window's fit."""
    count = guides.shape[1]
    values = torch.cat([guides, map], 1)  # (B, K + 1, h, w)
    means = _box(values)
    products = _box(torch.cat([values[:, i : i + 1] * values[:, i:] for i in range(count + 1)], 1))  # each pair once
    square = map.new_empty(len(map), count + 1, count + 1, *map.shape[-2:])  # covariances
    for i, row in enumerate(products.split(list(range(count + 1, 0, -1)), 1)):
        square[:, i, i:] = square[:, i:, i] = row - means[:, i : i + 1] * means[:, i:]
    together, variance = square[:, :count, count], square[:, count, count:]  # of guides and map, of the map
    flat = EPSILON * torch.eye(count, dtype=map.dtype, device=map.device).view(1, count, count, 1, 1)
    slopes = _solve(square[:, :count, :count] + flat, together)  # (B, K, h, w)
    offset = means[:, count:] - (slopes * means[:, :count]).sum(1, keepdim=True)
    # what the guides leave unexplained; slopes of a ridge regression explain at least (slopes * together)
    unexplained = (variance - (slopes * together).sum(1, keepdim=True)).clamp(min=0)  # (B, 1, h, w)
    whole = map.amax((2, 3), keepdim=True) - map.amin((2, 3), keepdim=True)  # (B, 1, 1, 1)
    weight = 1 / (unexplained + UNEXPLAINED * whole.square() + TINY)
    return _box(torch.cat([slopes, offset], 1) * weight) / _box(weight)


def _solve(m: Tensor, y: Tensor) -> Tensor:
    """x of m x = y: m (B, K, K, h, w), symmetric and positive definite, y (B, K, h, w). Gauss and Jordan's steps."""
    rows = torch.cat([m, y[:, :, None]], 2).unbind(1)  # K of (B, K + 1, h, w)
    for step in range(len(rows)):
        pivot = rows[step][:, 1:] / rows[step][:, :1]
        rows = [pivot if i == step else row[:, 1:] - row[:, :1] * pivot for i, row in enumerate(rows)]
    return torch.cat(rows, 1)


def _box(x: Tensor) -> Tensor:
    """Mean over the window around each pixel, (B, C, h, w); cut off at the border."""
    sums = [window_sum(part, RADIUS) for part in x.split(4, 1)]  # few channels at a time stay in the cache
    return torch.cat(sums, 1) / window_sum(torch.ones_like(x[:1, :1]), RADIUS)
