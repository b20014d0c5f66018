"""Two surfaces at each pixel: the near one that is seen first, and the far one behind it, of which some is hidden.

A blurred edge shows what its object hides, and a soft edge is a mix of two surfaces already. Both need the photo
taken apart before the blur: near colour and coverage, far colour, and the defocus of each.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import conv, read_blocks
from .hidden import HiddenColour
from .pooling import halve, halve_min, lengthen, window_max, window_mean

LEVELS = 6  # halvings of the pyramid: what is hidden is looked for up to 2 ** LEVELS pixels away
SLOPE_MARGIN = 3.0  # how many times its slope's drop over a block a surface may fall before it counts as hiding
FARNESS = 2.0  # per pixel of defocus: how firmly the farther of four pixels stands for them one level up


@dataclass(frozen=True)
class Surfaces:
    """The photo taken apart: light times coverage (B, 3, H, W), coverage and defocus in pixels (B, 1, H, W) of each.

    What is seen of both sums to the photo; the far surface holds what the near one hides besides.
    """

    near: Tensor
    near_coverage: Tensor
    far: Tensor
    far_coverage: Tensor
    near_defocus: Tensor
    far_defocus: Tensor


def extend_far(light: Tensor, defocus: Tensor) -> tuple[Tensor, Tensor]:
    """Extend what lies behind under what hides it: light (B, 3, H, W), defocus (B, 1, H, W) -> the same, far surface.

    Push-pull (Gortler et al., "The Lumigraph", SIGGRAPH 1996) by depth: going up the pyramid the farther pixels of a
    block stand for it; coming down, a pixel that is nearer than the level above, by more than its own surface's slope
    explains, takes over what that level holds. Blocks wider than the blur can reveal are passed by.
    """
    pyramid = [torch.cat([light, defocus, slope(defocus)], 1)]  # (B, 5, H, W)
    for _ in range(LEVELS):
        if min(pyramid[-1].shape[-2:]) < 2:
            break
        pyramid.append(_farther_half(pyramid[-1]))
    far = pyramid[-1][:, :4]
    for level, own in reversed(list(enumerate(pyramid[:-1]))):
        far = _farther_up(far, own.shape[-2:])  # (B, 4, h, w)
        own, inclined = own[:, :4], own[:, 4:]
        reach = torch.maximum(own[:, 3:].abs(), far[:, 3:].abs())  # (B, 1, h, w) pixels of blur on either surface
        step = own[:, 3:] - far[:, 3:] - SLOPE_MARGIN * inclined * 2 ** (level + 1)
        # a step of 2 px does, one of half a pixel does not
        hides = ((step - 0.5) / 1.5).clamp(0, 1) * (reach > 2**level)
        far = torch.lerp(own, far, hides)
    return far[:, :3], far[:, 3:]


def slope(defocus: Tensor) -> Tensor:
    """Pixels of defocus a pixel, along the surface: the lesser of both differences, so that steps do not count.

    (B, 1, H, W) -> (B, 1, H, W), averaged over 7 x 7.
    """
    across, down = defocus.diff(dim=-1).abs(), defocus.diff(dim=-2).abs()
    across = torch.minimum(F.pad(across, (1, 0)), F.pad(across, (0, 1)))
    down = torch.minimum(F.pad(down, (0, 0, 1, 0)), F.pad(down, (0, 0, 0, 1)))
    return window_mean(across + down, 3)


def _farther_half(maps: Tensor) -> Tensor:
    """(B, 5, H, W) -> (B, 5, ceil(H / 2), ceil(W / 2)): averages of 2 x 2 that lean to the farther pixels."""
    maps = lengthen(maps)
    farthest = halve_min(maps[:, 3:4])  # (B, 1, h, w)
    weight = torch.exp(FARNESS * (F.interpolate(farthest, maps.shape[-2:]) - maps[:, 3:4]))  # (B, 1, H, W), at most 1
    return halve(maps * weight) / halve(weight)


def _farther_up(far: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 4, h, w) -> (B, 4, *size): bilinear, leaning to the farther, lest depths arise between two surfaces."""
    weight = torch.exp(-far[:, 3:].clamp(-60, 60))
    up = F.interpolate(torch.cat([far * weight, weight], 1), size, mode="bilinear")
    return up[:, :4] / up[:, 4:]


def edge_coverage(defocus: Tensor, far_defocus: Tensor, reach: int = 2) -> tuple[Tensor, Tensor]:
    """Where between the far and the near surface a pixel's defocus lies -> near_defocus, coverage, (B, 1, H, W) each.

    The near surface is the nearest within `reach` pixels, so that a soft matte can reach beyond the disparity's edge.
    """
    near = window_max(defocus, reach)
    between = (defocus - far_defocus) / (near - far_defocus).clamp(min=1e-3)  # (B, 1, H, W)
    t = ((between - 0.1) / 0.8).clamp(0, 1)
    return near, t * t * (3 - 2 * t)


def asinh(x: Tensor) -> Tensor:
    """Of the same shape. torch's own takes six times as long on a CPU."""
    size = x.abs()
    value = torch.log(size + torch.sqrt(1 + size.square()))
    return torch.where(x < 0, -value, value)


def local_contrast(shown: Tensor, cell: int = 8, reach: int = 4) -> Tensor:
    """Highest minus lowest value within about `cell * reach` pixels, each channel apart: (B, C, H, W) -> the same."""
    highest = F.max_pool2d(shown, cell, ceil_mode=True)
    lowest = F.max_pool2d(-shown, cell, ceil_mode=True)  # (B, C, H/8, W/8), of the negative
    return F.interpolate(window_max(highest, reach) + window_max(lowest, reach), shown.shape[-2:], mode="bilinear")


def first_guess(light: Tensor, defocus: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What can be said of both surfaces without having learned: light (B, 3, H, W), defocus (B, 1, H, W), pixels.

    Returns maps (B, 11, H, W), the square roots of light and far light, asinh of the three defocus, coverage, and what
    is clipped; and near_defocus, far_defocus, (B, 1, H, W) each.
    """
    far_light, far_defocus = extend_far(light, defocus)
    near_defocus, coverage = edge_coverage(defocus, far_defocus)
    clipped = ((light.amax(1, keepdim=True) - 0.94) / 0.05).clamp(0, 1)  # (B, 1, H, W)
    shown, far_shown = light.clamp(min=1e-6).sqrt(), far_light.clamp(min=1e-6).sqrt()
    depths = asinh(torch.cat([defocus, near_defocus, far_defocus], 1))  # (B, 3, H, W)
    return torch.cat([shown, far_shown, depths, coverage, clipped], 1), near_defocus, far_defocus


class SurfaceExtraction(nn.Module):
    """The feature-extraction network of the lens blur: what `first_guess` cannot know, learned.

    One network gives the colour of what is hidden; a small U-Net on 2 x 2 blocks corrects it and its depth, the soft
    coverage of edges, and how much of the hidden part there really is. Before training they correct nothing.
    """

    def __init__(self, width: int = 24):
        super().__init__()
        wide, widest = 2 * width, 3 * width
        self.hidden_colour: HiddenColour | None = HiddenColour()
        self.read = nn.Conv2d(4 * 12, width, 1)
        self.fine = conv(width, width)
        self.to_middle, self.middle = conv(width, wide, stride=2), conv(wide, wide)
        self.to_coarse, self.coarse = conv(wide, widest, stride=2), conv(widest, widest)
        self.from_coarse, self.middle_up = nn.Conv2d(widest, wide, 1), conv(wide, wide)
        self.from_middle, self.fine_up = nn.Conv2d(wide, width, 1), conv(width, width)
        self.write = nn.Conv2d(width, 4 * 6, 3, padding=1)
        nn.init.normal_(self.write.weight, std=1e-3)  # nearly nothing: gradients reach the layers below from the start
        nn.init.zeros_(self.write.bias)

    def forward(
        self, light: Tensor, defocus: Tensor, subject: Tensor, radiance: Tensor | None = None
    ) -> tuple[Surfaces, Tensor]:
        """light, radiance (B, 3, H, W) linear, as photographed and as it was where that is clipped (None: the
        same); defocus (B, 1, H, W) pixels, subject (B, 1, H, W): 2 foreground - 1, 0 = unknown.

        Returns Surfaces at (H, W), and features (B, width, H/2, W/2).
        """
        height, width = light.shape[-2:]
        guess, near_defocus, far_defocus = first_guess(light, defocus)
        shown, far_shown, coverage = guess[:, :3], guess[:, 3:6], guess[:, 9:10]
        contrast = local_contrast(shown)  # (B, 3, H, W): with it corrections shrink, so a constant image stays constant
        if self.hidden_colour is not None:
            far_shown = self.hidden_colour(guess, contrast)
        maps = torch.cat([shown, far_shown, guess[:, 6:], subject], 1)  # (B, 12, H, W)
        x, features = self.correct(maps)
        corrections = F.pixel_shuffle(x, 2)[..., :height, :width]
        colour, depth, edge, hidden = corrections.split([3, 1, 1, 1], 1)  # (B, 3 or 1, H, W)
        gap = near_defocus - far_defocus
        apart = gap.clamp(0, 1)
        far_defocus = near_defocus - gap * (1 + torch.tanh(depth))
        far_light = (far_shown + contrast * torch.tanh(colour)).clamp(min=0).square()
        coverage = (coverage + apart * edge).clamp(0, 1)
        hidden = apart * torch.sigmoid(hidden + 3)
        near = torch.where(coverage > 0, (light - (1 - coverage) * far_light).clamp(min=0), 0.0)
        near = torch.minimum(near, light)
        near_lost, far_lost = 0.0, 0.0  # light that the photo clipped; what is in focus stays as it is shown
        if radiance is not None:
            near_lost = coverage * (near_defocus.abs() - 0.5).clamp(0, 1) * (radiance - light)
            far_lost = (1 - coverage) * (far_defocus.abs() - 0.5).clamp(0, 1) * (radiance - light)
        seen = Surfaces(
            near=near + near_lost,
            near_coverage=coverage,
            far=light - near + far_lost + coverage * hidden * far_light,
            far_coverage=1 - coverage + coverage * hidden,
            near_defocus=near_defocus,
            far_defocus=far_defocus,
        )
        return seen, features

    def correct(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The U-Net: maps (B, 12, H, W) -> corrections (B, 24, H/2, W/2), features (B, width, H/2, W/2)."""
        height, width = maps.shape[-2:]
        maps = lengthen(maps, 8)
        fine = self.fine(F.relu(read_blocks(self.read, maps)))  # (B, width, H/2, W/2)
        middle = self.middle(self.to_middle(fine))  # (B, 2 width, H/4, W/4)
        coarse = self.coarse(self.to_coarse(middle))  # (B, 3 width, H/8, W/8)
        middle = self.middle_up(middle + F.interpolate(self.from_coarse(coarse), scale_factor=2, mode="bilinear"))
        fine = self.fine_up(fine + F.interpolate(self.from_middle(middle), scale_factor=2, mode="bilinear"))
        rows, columns = (height + 1) // 2, (width + 1) // 2
        return self.write(fine)[..., :rows, :columns], fine[..., :rows, :columns]
