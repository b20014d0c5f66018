"""A layered scene through a thin lens, by tracing rays: the truth that the render stage learns from.

Every layer is whole behind the layers in front of it, so a blurred foreground reveals what really lies behind. Light is
linear and unclipped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """One sheet of a scene. Light is linear, may exceed 1, and is not multiplied by alpha."""

    radiance: Tensor  # (3, H, W)
    alpha: Tensor  # (1, H, W) soft matte in [0, 1]
    disparity: Tensor  # (1, H, W) smooth surface of the whole sheet, defined where alpha is 0 too


def sunflower(samples: int, turn: float = 0.0) -> Tensor:
    """Evenly spread points in the unit disc, (S, 2) of x, y (Vogel, "A better way to construct the sunflower head")."""
    index = torch.arange(samples, dtype=torch.float64)
    distance = ((index + 0.5) / samples).sqrt()
    angle = index * math.pi * (3 - math.sqrt(5)) + turn
    return torch.stack([distance * angle.cos(), distance * angle.sin()], -1).float()


class _Sheet:
    """A layer made ready for tracing: premultiplied, cut to where it shows, its blur known as a plane or as a map."""

    def __init__(self, layer: Layer, focus: float, radius: float, crop: int):
        height, width = layer.alpha.shape[-2:]
        self.blur = radius * (layer.disparity - focus)  # (1, H, W) px, signed
        self.opaque = bool((layer.alpha == 1).all())
        self.texture = layer.radiance[None]  # (1, 3, H, W)
        if not self.opaque:  # premultiplied light, and how much passes through
            self.texture = torch.cat([layer.radiance * layer.alpha, 1 - layer.alpha])[None]  # (1, 4, H, W)
        self.x = torch.arange(width, device=self.blur.device, dtype=torch.float32)
        self.y = torch.arange(height, device=self.blur.device, dtype=torch.float32)[:, None]
        self.scale = (2 / max(width - 1, 1), 2 / max(height - 1, 1))  # pixels to grid_sample's [-1, 1]
        self.corner = float(self.blur[0, 0, 0])
        self.slope_x = (float(self.blur[0, 0, -1]) - self.corner) / max(width - 1, 1)  # px of blur per px
        self.slope_y = (float(self.blur[0, -1, 0]) - self.corner) / max(height - 1, 1)
        plane = self.corner + self.slope_x * self.x + self.slope_y * self.y  # (H, W)
        self.flat = bool((plane - self.blur[0]).abs().max() < 1e-3)
        self.slopes = None if self.flat else torch.gradient(self.blur[0])  # along y, along x
        self.box = self._visible_box(layer.alpha[0] > 0, crop)

    def _visible_box(self, seen: Tensor, crop: int) -> tuple[slice, slice] | None:
        """Rows and columns of the kept picture that this layer's light can reach; None if there are none."""
        if not seen.any():
            return None
        height, width = seen.shape
        reach = math.ceil(float(self.blur[0][seen].abs().max())) + 1
        rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
        top, bottom = max(int(rows[0]) - reach, crop), min(int(rows[-1]) + 1 + reach, height - crop)
        left, right = max(int(columns[0]) - reach, crop), min(int(columns[-1]) + 1 + reach, width - crop)
        return (slice(top, bottom), slice(left, right)) if top < bottom and left < right else None

    def lookup(self, offsets: Tensor) -> Tensor:
        """What each pixel of the box sees of this layer past each lens point (N, 2): (N, 3 or 4, h, w).

        Solves q + s blur(q) = p for q. On a plane blur(q) = blur(p) / (1 + s . slope); a curved surface starts there.
        """
        rows, columns = self.box
        x, y = self.x[columns], self.y[rows]  # (w,), (h, 1)
        s_x, s_y = offsets[:, 0, None, None], offsets[:, 1, None, None]  # (N, 1, 1)
        if self.flat:  # blur(q) is linear in p: a row plus a column, and so are both coordinates of q
            stretch = 1 / (1 + s_x * self.slope_x + s_y * self.slope_y)
            row, column = self.slope_x * x * stretch, (self.corner + self.slope_y * y) * stretch  # (N, 1, w), (N, h, 1)
            return _sample(self.texture, self._grid(x - s_x * row, -s_x * column, -s_y * row, y - s_y * column))
        slope_y, slope_x = (slope[rows, columns] for slope in self.slopes)
        stretch = 1 / (1 + s_x * slope_x + s_y * slope_y)  # (N, h, w)
        blur = self.blur[:, rows, columns] * stretch
        found = _sample(self.blur[None], self._grid(x, -s_x * blur, y, -s_y * blur))[:, 0]
        blur = blur + (found - blur) * stretch  # one step of Newton's method, with the slope at p
        return _sample(self.texture, self._grid(x, -s_x * blur, y, -s_y * blur))

    def _grid(self, x1: Tensor, x2: Tensor, y1: Tensor, y2: Tensor) -> Tensor:
        """Pixel coordinates x1 + x2, y1 + y2 in grid_sample's units, (N, h, w, 2)."""
        shape = torch.broadcast_shapes(x1.shape, x2.shape)
        grid = torch.empty(*shape, 2, device=x1.device)  # written in place: stacking costs as much as looking up
        for axis, (first, second, scale) in enumerate(((x1, x2, self.scale[0]), (y1, y2, self.scale[1]))):
            torch.add(first * scale - 1, second, alpha=scale, out=grid[..., axis])
        return grid


def _sample(picture: Tensor, grid: Tensor) -> Tensor:
    """Bilinear look-up, edge replicated: picture (1, C, H, W), grid (N, h, w, 2) -> (N, C, h, w)."""
    picture = picture.expand(grid.shape[0], -1, -1, -1)
    return F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=True)


@torch.no_grad()
def trace(
    layers: Sequence[Layer],
    focus: float,
    radius: float,
    samples: int = 256,
    offsets: Tensor | None = None,
    crop: int = 0,
) -> Tensor:
    """The layers through a thin lens: (3, H - 2 crop, W - 2 crop) linear light, unclipped.

    For every lens point s, pixel p sees in each layer the point q with q + s * defocus(q) = p; the layers are
    composited front over back per lens point, then averaged (distributed ray tracing: Cook, Porter and Carpenter 1984).

    layers: back to front, the nearest last. radius: blur-disc radius in px per unit disparity from `focus`.
    offsets: lens points (S, 2) in the unit disc; default a sunflower of `samples` points. Beyond the picture the edge
    is replicated: give the layers a margin and `crop` it. Raises ValueError for no layers or no lens points.
    """
    if not layers:
        raise ValueError("layers: give at least one")
    if offsets is None:
        if samples < 1:
            raise ValueError(f"samples: give at least 1, not {samples}")
        offsets = sunflower(samples)
    if offsets.ndim != 2 or offsets.shape[1] != 2 or not len(offsets):
        raise ValueError(f"offsets: must be (S, 2) with S at least 1, not {tuple(offsets.shape)}")
    device = layers[0].radiance.device
    offsets = offsets.to(device)
    height, width = (side - 2 * crop for side in layers[0].alpha.shape[-2:])
    sheets = [_Sheet(layer, focus, radius, crop) for layer in layers]
    sheets = [sheet for sheet in sheets if sheet.box is not None]
    total = torch.zeros(3, height, width, device=device)
    batch = 1 if device.type == "cpu" else 32  # one sample's working set fits a CPU's cache
    for some in offsets.split(batch):
        seen = torch.zeros(len(some), 3, height, width, device=device)
        for sheet in sheets:
            light = sheet.lookup(some)
            rows, columns = (slice(side.start - crop, side.stop - crop) for side in sheet.box)
            behind = seen[:, :, rows, columns]
            if sheet.opaque:
                behind.copy_(light)
            else:
                behind.mul_(light[:, 3:]).add_(light[:, :3])
        total += seen.sum(0)
    return total / len(offsets)
