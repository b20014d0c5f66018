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
    """A layer made ready for tracing: premultiplied, and its blur surface as a plane or as a map."""

    def __init__(self, layer: Layer, focus: float, radius: float, crop: int):
        device = layer.radiance.device
        height, width = layer.alpha.shape[-2:]
        self.blur = radius * (layer.disparity - focus)  # (1, H, W) px, signed
        self.opaque = bool((layer.alpha == 1).all())
        self.texture = torch.cat([layer.radiance * layer.alpha, layer.alpha])[None]  # (1, 4, H, W) premultiplied
        if self.opaque:
            self.texture = layer.radiance[None]  # (1, 3, H, W)
        corner = self.blur[0, 0, 0]
        self.slope_x = float(self.blur[0, 0, -1] - corner) / max(width - 1, 1)  # px of blur per px
        self.slope_y = float(self.blur[0, -1, 0] - corner) / max(height - 1, 1)
        self.corner = float(corner)
        x = torch.arange(width, device=device, dtype=torch.float32)
        y = torch.arange(height, device=device, dtype=torch.float32)
        plane = self.corner + self.slope_x * x + self.slope_y * y[:, None]  # (H, W)
        self.flat = bool((plane - self.blur[0]).abs().max() < 1e-3)
        if not self.flat:
            slope_y, slope_x = torch.gradient(self.blur[0])
            self.slopes = torch.stack([slope_x, slope_y])  # (2, H, W)
        self.box = self._visible_box(layer.alpha[0] > 0, crop)
        if self.box is not None:
            top, bottom, left, right = self.box
            self.x, self.y = x[left:right], y[top:bottom]
        self.scale = (2 / max(width - 1, 1), 2 / max(height - 1, 1))  # pixels to grid_sample's [-1, 1]

    def _visible_box(self, seen: Tensor, crop: int) -> tuple[int, int, int, int] | None:
        """Rows and columns of the kept picture that this layer's light can reach: top, bottom, left, right."""
        height, width = seen.shape
        if not seen.any():
            return None
        reach = math.ceil(float(self.blur[0][seen].abs().max())) + 1
        rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
        top, bottom = max(int(rows[0]) - reach, crop), min(int(rows[-1]) + 1 + reach, height - crop)
        left, right = max(int(columns[0]) - reach, crop), min(int(columns[-1]) + 1 + reach, width - crop)
        return (top, bottom, left, right) if top < bottom and left < right else None

    def lookup(self, offsets: Tensor) -> Tensor:
        """Premultiplied light and coverage that each pixel of the box sees past each lens point: (N, 4 or 3, h, w).

        Solves q + s blur(q) = p for q. A plane has blur(q) = blur(p) / (1 + s . slope); a curved surface starts there.
        """
        x, y = self.x[None, None, :], self.y[None, :, None]  # (1, 1, w), (1, h, 1)
        s_x, s_y = offsets[:, 0, None, None], offsets[:, 1, None, None]  # (N, 1, 1)
        if self.flat:
            stretch = 1 / (1 + s_x * self.slope_x + s_y * self.slope_y)
            # blur(q) is linear in p, so each coordinate of q is a row plus a column
            row, column = self.slope_x * x * stretch, (self.corner + self.slope_y * y) * stretch
            grid = self._grid((x - s_x * row), -s_x * column, -s_y * row, y - s_y * column)
        else:
            top, bottom, left, right = self.box
            slope_x, slope_y = self.slopes[:, None, top:bottom, left:right]
            blur = self.blur[:, top:bottom, left:right] / (1 + s_x * slope_x + s_y * slope_y)  # (N, h, w)
            for _ in range(2):  # each pass shrinks the error by |s . slope|, which is small on a gentle curve
                grid = self._grid(x, -s_x * blur, y, -s_y * blur)
                blur = _sample(self.blur[None], grid)[:, 0]
            grid = self._grid(x, -s_x * blur, y, -s_y * blur)
        return _sample(self.texture, grid)

    def _grid(self, x1: Tensor, x2: Tensor, y1: Tensor, y2: Tensor) -> Tensor:
        """Pixel coordinates x1 + x2, y1 + y2 in grid_sample's units, (N, h, w, 2)."""
        scale_x, scale_y = self.scale
        x = (x1 * scale_x - 1) + x2 * scale_x
        y = (y1 * scale_y - 1) + y2 * scale_y
        return torch.stack(torch.broadcast_tensors(x, y), -1)


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
            top, bottom, left, right = (edge - crop for edge in sheet.box)
            light = sheet.lookup(some)
            behind = seen[:, :, top:bottom, left:right]
            if sheet.opaque:
                behind.copy_(light)
            else:
                behind.mul_(1 - light[:, 3:]).add_(light[:, :3])
        total += seen.sum(0)
    return total / len(offsets)
