"""Disparity whose edges lie beside the photo's, or are soft: brought to where the photo has them, before the blur.

A map that a network predicts, a phone measures or a hand paints is seldom right to the pixel, and a blurred edge shows
each pixel. Within a few pixels there is always a nearest and a farthest value; which share of the way a pixel lies
between them is what the map says wrongly, and what the colours of both sides can tell (edge refinement of disparity).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.blocks import conv, read_blocks, start_small, write_blocks
from ..layers.pooling import halve, halve_max, halve_min, lengthen, times_larger, window_max, window_mean, window_min
from .silhouette import steadied

REACH = 3  # half pixels: how far an edge may be moved
TINY = 1e-3  # of a map's range: less than this within reach is no edge
PLAIN = 0.1  # of a map's range: an edge of this and more counts fully in what all have in common
FRINGE = 2  # pixels beside an edge that a blurred near thing may take along
STRIDE = 8  # of the coarsest level; the sides are padded to multiples of it


class EdgeMending(nn.Module):
    """photo and map -> the map, mended. A small U-Net on 2 x 2 blocks; before training it changes nothing.

    The result is the map's own range and sense: scaled and shifted maps are mended alike, flat ones stay as they are.
    A map's edges are mostly wrong in the same way, or all right: what they have in common tells where one alone cannot.
    """

    def __init__(self, width: int = 16, common: bool = True):
        super().__init__()
        wide, widest = 2 * width, 3 * width
        self.read, self.read_sides = nn.Conv2d(4 * 5, width, 1), nn.Conv2d(17, width, 1)
        self.fine = conv(width, width)
        self.to_middle, self.middle = conv(width, wide, stride=2), conv(wide, wide)
        self.to_coarse, self.coarse = conv(wide, widest, stride=2), conv(widest, widest)
        self.from_coarse, self.middle_up = nn.Conv2d(widest, wide, 1), conv(wide, wide)
        self.from_middle, self.fine_up = nn.Conv2d(wide, width, 1), conv(width, width)
        self.write = nn.Conv2d(width, 4, 1)
        start_small(self, self.write)
        self.common = CommonFlaw(width + wide + widest, widest) if common else None

    def forward(self, light: Tensor, map: Tensor, foreground: Tensor | None = None) -> Tensor:
        """light (B, 3, H, W) linear; map (B, 1, H, W), near = large, of any range -> the map mended, (B, 1, H, W).

        foreground: (B, 1, H, W), if known: has the last word on the subject's outline; 0.5 says nothing.
        """
        height, width = map.shape[-2:]
        padded, shown = lengthen(map, STRIDE), lengthen(light, STRIDE).clamp(min=1e-6).sqrt()
        farthest = window_min(halve_min(padded), REACH)  # (B, 1, H/2, W/2), within reach
        nearest = window_max(halve_max(padded), REACH)
        low = farthest.amin((1, 2, 3), keepdim=True)
        whole = (nearest.amax((1, 2, 3), keepdim=True) - low).clamp(min=1e-12)  # (B, 1, 1, 1)
        span = nearest - farthest
        step = span / whole  # 0 to 1
        lowest, apart = F.interpolate(torch.cat([farthest, span], 1), scale_factor=2).split(1, 1)  # (B, 1, H, W)
        place = (padded - lowest) / (apart + TINY * whole)  # 0 = the farthest within reach, 1 = the nearest

        small_shown, small_place = halve(shown), halve(place)
        lean, sides = side_colours(small_shown, small_place)
        mixed = near_colour(shown, lean).clamp(-0.5, 1.5)
        sides = F.interpolate(sides, small_shown.shape[-2:], mode="bilinear")  # (B, 13, H/2, W/2)
        from_near, from_far = (distance(small_shown - sides[:, first : first + 3]) for first in (0, 3))
        maps = torch.cat([sides, from_near, from_far, step, (halve(padded) - low) / whole], 1)
        x = read_blocks(self.read, torch.cat([shown, place, mixed], 1))  # (B, width, H/2, W/2)
        x = (x + self.read_sides(maps.contiguous(memory_format=torch.channels_last))).relu_()
        moved = self.correct(self.fine(x), (step / PLAIN).clamp(max=1))
        mended = padded + apart * joined(place, settle(place, moved))
        mended = torch.minimum(torch.maximum(mended, lowest), lowest + apart)
        mended = mended[..., :height, :width]
        return mended if foreground is None else steadied(mended, foreground)

    def correct(self, fine: Tensor, edges: Tensor) -> Tensor:
        """The U-Net: (B, width, H/2, W/2), edges (B, 1, H/2, W/2) -> how far to move along the way, (B, 1, H, W)."""
        middle = self.middle(self.to_middle(fine))  # (B, 2 width, H/4, W/4)
        coarse = self.coarse(self.to_coarse(middle))  # (B, 3 width, H/8, W/8)
        if self.common is not None:
            coarse = coarse + self.common([fine, middle, coarse], edges)
        middle = self.middle_up(middle + F.interpolate(self.from_coarse(coarse), scale_factor=2, mode="bilinear"))
        fine = self.fine_up(fine + F.interpolate(self.from_middle(middle), scale_factor=2, mode="bilinear"))
        return write_blocks(self.write, fine)


class CommonFlaw(nn.Module):
    """What a map's edges have in common, said to each of them; before training nothing."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.read, self.write = nn.Linear(c_in, 2 * c_out), nn.Linear(2 * c_out, c_out)
        nn.init.normal_(self.write.weight, std=1e-3)
        nn.init.zeros_(self.write.bias)

    def forward(self, levels: list[Tensor], edges: Tensor) -> Tensor:
        """Features (B, C, H, W), each level half the size of the one before, weighed by edges (B, 1, H, W) of the
        first -> (B, c_out, 1, 1), to be added to the last."""
        means = []
        for level in levels:
            means.append((level * edges).sum((2, 3)) / (edges.sum((2, 3)) + 1e-3))  # (B, C)
            edges = halve(edges)
        return self.write(F.relu(self.read(torch.cat(means, 1))))[..., None, None]


def side_colours(shown: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Colours of the near and of the far side about each place, from half-size maps (B, 3, h, w), (B, 1, h, w).

    Returns what tells the share of the near colour in a pixel, three factors and an offset, (B, 4, h/2, w/2), and
    both colours, within 10 and within 24 pixels of the photo, with how far apart they lie, (B, 13, h/2, w/2).
    """
    near, far = ((place - 0.6) / 0.4).clamp(0, 1) + 1e-3, ((0.4 - place) / 0.4).clamp(0, 1) + 1e-3
    sums = window_mean(halve(torch.cat([shown * near, near, shown * far, far], 1)), 2)  # (B, 8, h/2, w/2)
    wide = F.interpolate(window_mean(halve(sums), 2), sums.shape[-2:], mode="bilinear")
    colours = []
    for each in (sums, wide):
        colours += [each[:, :3] / each[:, 3:4], each[:, 4:7] / each[:, 7:]]
    line = colours[0] - colours[1]  # (B, 3, h/2, w/2)
    factors = line / (line.square().sum(1, keepdim=True) + 1e-3)
    offset = -(factors * colours[1]).sum(1, keepdim=True)
    return torch.cat([factors, offset], 1), torch.cat([*colours, distance(line)], 1)


def near_colour(shown: Tensor, lean: Tensor) -> Tensor:
    """How much of the near side's colour each pixel has: (B, 3, H, W), lean as of `side_colours` -> (B, 1, H, W)."""
    lean = F.interpolate(lean, shown.shape[-2:], mode="bilinear")  # (B, 4, H, W)
    return (shown * lean[:, :3]).sum(1, keepdim=True) + lean[:, 3:]


def distance(difference: Tensor) -> Tensor:
    """(B, 3, H, W) -> its length, (B, 1, H, W), with a gradient everywhere."""
    return (difference.square().sum(1, keepdim=True) + 1e-6).sqrt()


def settle(place: Tensor, moved: Tensor) -> Tensor:
    """A pixel that lies on one of the two surfaces moves to the other, or stays: place, moved (B, 1, H, W) -> the same.

    A disparity between the two belongs to neither, and shows as a rim. Where a soft map has such already, every move
    counts.
    """
    on_one = (((2 * place - 1).abs() - 0.6) / 0.3).clamp(0, 1)
    large = ((moved.abs() - 0.2) / 0.35).clamp(0, 1)
    return moved * (1 - on_one * (1 - large * large * (3 - 2 * large)))


def joined(place: Tensor, moved: Tensor) -> Tensor:
    """What moves nearer keeps to 3 x 3 pixels and more that are near then: place, moved (B, 1, H, W) -> moved.

    A speck of another surface's colour, or a row of pixels along an edge, is no part of the near thing.
    """
    solid = window_max(window_min((place + moved).clamp(0, 1), 1), 1)  # an opening
    return torch.minimum(moved, (solid - place).clamp(min=0))


def with_fringe(light: Tensor, defocus: Tensor) -> Tensor:
    """What is blurred before something sharp takes along what has its colour right beside its edge.

    Predicted maps are a little tight: hair, fur and threads beside them would stay behind, sharp. light (B, 3, H, W)
    linear, defocus (B, 1, H, W) pixels -> the defocus, nearer there.
    """
    height, width = defocus.shape[-2:]
    nearest = window_max(defocus, FRINGE)
    # by degrees, from 4 to 8 pixels of blur in front, and from half a pixel to 1.5 of the pixel's own
    matters = ((nearest - 4) / 4).clamp(0, 1) * (1.5 - defocus.abs()).clamp(0, 1)
    shown = lengthen(light, 4).clamp(min=1e-6).sqrt()
    place = lengthen((defocus / nearest.clamp(min=1)).clamp(0, 1), 4)  # 0 = behind, 1 = in front
    lean, _ = side_colours(halve(shown), halve(place))
    mixed = near_colour(shown, lean)[..., :height, :width]
    takes = (matters > 0) & (mixed > 1 - 0.7 * matters)
    return torch.where(takes, nearest, defocus)


def follow(larger: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """What mending did to the defocus of a halved photo, (B, 1, h, w), done to that of a larger one, (B, 1, H, W)."""
    times = times_larger(larger, after)  # pixels of blur are smaller there
    moved = ((after - before).abs() * 2).clamp(max=1)  # half a pixel of blur is a move
    wide = F.interpolate(torch.cat([after * times, moved], 1), larger.shape[-2:], mode="bilinear")
    return blurred_as(torch.lerp(larger, wide[:, :1], wide[:, 1:]), after)


def blurred_as(larger: Tensor, small: Tensor) -> Tensor:
    """Where in front of the focus and behind it meet, no pixel of a larger photo, defocus (B, 1, H, W), is blurred less
    than what is about it in the halved one, (B, 1, h, w).

    A soft edge from the one to the other passes through the focus, where nothing is: sharp dots in a blurred rim.
    """
    meet = (window_min(small, 1) < 0) & (window_max(small, 1) > 0)  # else it may be a wire, too thin for the halved one
    least = window_min(small.abs(), 1) * meet * times_larger(larger, small)
    least = F.interpolate(least, larger.shape[-2:], mode="nearest")
    # `copysign` would be quicker, but ONNX has none
    return torch.where(larger < 0, torch.minimum(larger, -least), torch.maximum(larger, least))
