"""Maps predicted at a small size, brought to the photo's own with the photo's edges.

The fast guided filter (He, Sun and Tang, "Guided Image Filtering", TPAMI 2013; He and Sun, "Fast Guided Filter", 2015):
within each window a map is the photo's colours times a, plus b. Both are found at a small size, averaged over the
windows that hold a pixel, enlarged, and applied to the full photo. A window counts the more the better the colours
explain the map in it: so a step that the map has and the colours lack is not spread over its neighbourhood.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .pooling import window_sum

SIZE = 480  # long side, pixels, that a and b are found at
RADIUS = 8  # of the windows, pixels of that size
EPSILON = 2e-3  # colour variance below which a window counts as flat: what is printed on a surface is no edge of it
MISFIT = 5e-4  # variance left unexplained, of a map of range 1, that halves what a window counts
TINY = 1e-12  # a flat map has no misfit anywhere
STRIP = 128  # rows of the full photo worked on at a time


def refine(maps: Tensor, image: Tensor) -> Tensor:
    """maps (B, C, h, w), image (B, 3, H, W) in [0, 1] -> the maps at (H, W), within the range that each had."""
    height, width = image.shape[-2:]
    scale = min(1.0, SIZE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    guide = F.interpolate(image, size, mode="bilinear", antialias=True)  # (B, 3, *size)
    small = F.interpolate(maps, size, mode="bilinear")  # (B, C, *size)
    slopes, offsets = _fit(guide, small)  # (B, C, 3, *size), (B, C, *size)
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    planes = torch.cat([slopes.flatten(1, 2), offsets], 1)  # (B, 4 C, *size)
    channels, strips = maps.shape[1], []
    for top in range(0, height, STRIP):
        wide = _enlarge(planes, (height, width), top, min(top + STRIP, height))  # (B, 4 C, rows, W)
        slope, value = wide.split([3 * channels, channels], 1)
        slope = slope.unflatten(1, (channels, 3))
        for colour in range(3):
            value = torch.addcmul(value, slope[:, :, colour], image[:, colour : colour + 1, top : top + STRIP])
        strips.append(torch.clamp(value, low, high))  # (B, C, rows, W)
    return torch.cat(strips, 2)


def _enlarge(planes: Tensor, size: tuple[int, int], top: int, bottom: int) -> Tensor:
    """Rows `top` to `bottom` of planes (B, C, h, w) bilinearly enlarged to `size` (H, W): (B, C, bottom - top, W)."""
    small = planes.shape[-2]
    at = (torch.arange(top, bottom, device=planes.device, dtype=planes.dtype) + 0.5) * (small / size[0]) - 0.5
    at = at.clamp(0, small - 1)
    above = at.floor().long().clamp(max=max(small - 2, 0))
    rows = torch.lerp(planes[..., above, :], planes[..., (above + 1).clamp(max=small - 1), :], (at - above)[:, None])
    return F.interpolate(rows, (bottom - top, size[1]), mode="bilinear")


def _fit(guide: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """guide (B, 3, h, w), maps (B, C, h, w) -> a (B, C, 3, h, w), b (B, C, h, w), averaged by how well each fits."""
    mean, mean_map = _box(guide), _box(maps)  # (B, 3, h, w), (B, C, h, w)
    squares = _box((guide[:, :, None] * guide[:, None]).flatten(1, 2)).unflatten(1, (3, 3))  # (B, 3, 3, h, w)
    spread = squares - mean[:, :, None] * mean[:, None]
    spread = spread + EPSILON * torch.eye(3, dtype=guide.dtype, device=guide.device).view(1, 3, 3, 1, 1)
    products = _box((maps[:, :, None] * guide[:, None]).flatten(1, 2)).unflatten(1, (maps.shape[1], 3))
    together = products - mean_map[:, :, None] * mean[:, None]  # (B, C, 3, h, w)
    slopes = torch.einsum("bijhw,bcjhw->bcihw", _inverse(spread), together)
    offsets = mean_map - (slopes * mean[:, None]).sum(2)
    # what the colours leave unexplained; slopes of a ridge regression explain at least (slopes * together)
    misfit = (_box(maps * maps) - mean_map * mean_map - (slopes * together).sum(2)).clamp(min=0)  # (B, C, h, w)
    weight = 1 / (misfit + MISFIT * (maps.amax((2, 3), keepdim=True) - maps.amin((2, 3), keepdim=True)).square() + TINY)
    total = _box(weight)
    slopes = _box((slopes * weight[:, :, None]).flatten(1, 2)).unflatten(1, slopes.shape[1:3]) / total[:, :, None]
    return slopes, _box(offsets * weight) / total


def _inverse(m: Tensor) -> Tensor:
    """Symmetric (B, 3, 3, h, w), positive definite -> inverse, by cofactors: each is a cross product of two rows."""
    a, b, c = m.unbind(1)  # (B, 3, h, w) each
    cofactors = torch.stack([b.cross(c, dim=1), c.cross(a, dim=1), a.cross(b, dim=1)], 1)
    return cofactors / (a * cofactors[:, 0]).sum(1)[:, None, None]


def _box(x: Tensor) -> Tensor:
    """Mean over the window around each pixel, (B, C, h, w); cut off at the border."""
    return window_sum(x, RADIUS) / window_sum(torch.ones_like(x[:1, :1]), RADIUS)
