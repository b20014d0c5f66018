"""Two surfaces at each pixel: the near one that is seen first, and the far one behind it, of which some is hidden.

A blurred edge shows what its object hides, and a soft edge is a mix of two surfaces already. Both need the photo
taken apart before the blur: near colour and coverage, far colour, and the defocus of each.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.blocks import asinh
from ..layers.pooling import block_range, enlarge, halve_max, halve_min, lengthen, window_max, window_mean, window_min
from .behind import extend_far, hardened, unevenness
from .matting import edge_matte
from .unmixing import Unmixing

REACH = 2  # pixels beyond its edge in the disparity that a near surface's soft matte may reach
CELL = 8  # pixels of the blocks in which contrast is looked at
SOFT_WITHIN = 24  # pixels from its edge: farther inside a surface is opaque, whatever is painted on it


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


def edge_coverage(defocus: Tensor, near_defocus: Tensor, far_defocus: Tensor) -> Tensor:
    """Where between the far and the near surface a pixel's defocus lies: (B, 1, H, W) each -> (B, 1, H, W)."""
    between = (defocus - far_defocus) / (near_defocus - far_defocus).clamp(min=1e-3)  # (B, 1, H, W)
    t = ((between - 0.1) / 0.8).clamp(0, 1)
    return t * t * (3 - 2 * t)


def between_two(defocus: Tensor, near_defocus: Tensor, far_defocus: Tensor) -> Tensor:
    """Where a pixel is of a third surface, between the near one beside it and the one behind: (B, 1, H, W), 0 to 1.

    A soft edge has values between the two as well, but only a surface is even over 5 x 5 pixels.
    """
    alike = (1.5 - unevenness(defocus, 2) / (0.05 * (near_defocus - far_defocus)).clamp(min=0.25)).clamp(0, 1)
    return alike * ((near_defocus - defocus - 0.5) / 1.5).clamp(0, 1)


def beside_edges(near_defocus: Tensor) -> Tensor:
    """1 where something farther away lies within SOFT_WITHIN pixels, by degrees 0 beyond: (B, 1, H, W)."""
    even = lengthen(near_defocus)
    step = halve_max(even) - window_min(halve_min(even), SOFT_WITHIN // 2)  # at half the size: it is no fine map
    beside = window_mean((4 * step).clamp(0, 1), SOFT_WITHIN // 6)
    return enlarge(beside, near_defocus.shape[-2:])


def local_contrast(shown: Tensor) -> Tensor:
    """Highest minus lowest value within about 32 pixels, each channel apart: (B, C, H, W) -> the same."""
    low, high = block_range(lengthen(shown, CELL), CELL)  # (B, C, H/8, W/8) each
    return F.interpolate(window_max(high, 4) - window_min(low, 4), shown.shape[-2:], mode="bilinear")


def near_share(light: Tensor, far_light: Tensor, coverage: Tensor) -> Tensor:
    """What of the light is the near surface's, the far one's light and the coverage given: (B, 3, H, W), linear.

    No surface is brighter than white: what hardly covers has hardly any light. And where it covers most, it is no
    darker than all of it right beside: what is guessed too bright behind, or to cover too little, leaves black dots.
    """
    share = torch.minimum((light - (1 - coverage) * far_light).clamp(min=0), torch.minimum(light, coverage))
    opaque = coverage > 0.95
    darkest = window_min(light.where(opaque, 1.0), 1) * window_max(opaque.to(light.dtype), 1)
    most = (4 * coverage - 2).clamp(0, 1)  # 1 from 0.75 on, 0 up to a half
    return torch.maximum(share, torch.minimum(most * coverage * darkest, light))


def first_guess(light: Tensor, defocus: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What can be said of both surfaces without having learned: light (B, 3, H, W), defocus (B, 1, H, W), pixels.

    Returns maps (B, 11, H, W), the square roots of light and far light, asinh of the three defocus, coverage, and what
    is clipped; and near_defocus, far_defocus, (B, 1, H, W) each.
    """
    near_defocus, (far_light, far_defocus, inside) = window_max(defocus, REACH), extend_far(light, defocus)
    # what the near surface hides there is what is seen
    third = hardened(between_two(defocus, near_defocus, far_defocus), defocus - far_defocus)
    far_light, far_defocus = torch.lerp(far_light, light, third), torch.lerp(far_defocus, defocus, third)
    # a near surface has no edge where what is behind it ends
    coverage = torch.maximum(edge_coverage(defocus, near_defocus, far_defocus), inside)
    apart = ((near_defocus - far_defocus) / 2).clamp(0, 1)
    coverage, far_light = edge_matte(light, far_light, coverage, apart)
    clipped = ((light.amax(1, keepdim=True) - 0.94) / 0.05).clamp(0, 1)  # (B, 1, H, W)
    shown, far_shown = light.clamp(min=1e-6).sqrt(), far_light.clamp(min=1e-6).sqrt()
    depths = asinh(torch.cat([defocus, near_defocus, far_defocus], 1))  # (B, 3, H, W)
    return torch.cat([shown, far_shown, depths, coverage, clipped], 1), near_defocus, far_defocus


@dataclass(frozen=True)
class Unmixed:
    """What has been learned of the two surfaces: (B, 3 or 1, H, W) each, but for the features."""

    far_shown: Tensor  # square roots of light
    coverage: Tensor  # by the near surface
    hidden: Tensor  # how much of what that hides there really is; what is little known counts little
    far_defocus: Tensor
    features: Tensor  # (B, width, H/2, W/2)


class SurfaceExtraction(nn.Module):
    """The feature-extraction network of the lens blur: what `first_guess` cannot know, learned.

    The colour of what is hidden, the soft coverage of edges, and how much of the hidden part there really is. Before
    training it corrects nothing.
    """

    def __init__(self, width: int = 24):
        super().__init__()
        self.unmixing = Unmixing(inputs=12, outputs=5, width=width)

    def forward(
        self, light: Tensor, defocus: Tensor, subject: Tensor, radiance: Tensor | None = None
    ) -> tuple[Surfaces, Tensor]:
        """light, radiance (B, 3, H, W) linear, as photographed and as it was where that is clipped (None: the
        same); defocus (B, 1, H, W) pixels, subject (B, 1, H, W): 2 foreground - 1, 0 = unknown.

        Returns Surfaces at (H, W), and features (B, width, H/2, W/2).
        """
        guess, near_defocus, far_defocus = first_guess(light, defocus)
        unmixed = self.unmix(guess, near_defocus, far_defocus, subject)
        far_light, coverage = unmixed.far_shown.square(), unmixed.coverage
        near = near_share(light, far_light, coverage) * (coverage > 0)
        near_lost, far_lost = 0.0, 0.0  # light that the photo clipped; what is in focus stays as it is shown
        if radiance is not None:
            near_lost = coverage * (near_defocus.abs() - 0.5).clamp(0, 1) * (radiance - light)
            far_lost = (1 - coverage) * (unmixed.far_defocus.abs() - 0.5).clamp(0, 1) * (radiance - light)
        seen = Surfaces(
            near=near + near_lost,
            near_coverage=coverage,
            far=light - near + far_lost + coverage * unmixed.hidden * far_light,
            far_coverage=1 - coverage + coverage * unmixed.hidden,
            near_defocus=near_defocus,
            far_defocus=unmixed.far_defocus,
        )
        return seen, unmixed.features

    def unmix(self, guess: Tensor, near_defocus: Tensor, far_defocus: Tensor, subject: Tensor) -> Unmixed:
        """`first_guess`, and the subject as of `forward` -> all that is learned."""
        apart = (near_defocus - far_defocus).clamp(0, 1)
        contrast = local_contrast(guess[:, :3])  # with it corrections shrink, so a constant image stays constant
        said, features = self.unmixing(torch.cat([guess, subject], 1))
        colour, edge, hidden = said.split([3, 1, 1], 1)
        return Unmixed(
            far_shown=(guess[:, 3:6] + contrast * torch.tanh(colour)).clamp(min=0),
            coverage=(guess[:, 9:10] + apart * beside_edges(near_defocus) * edge).clamp(0, 1),
            hidden=apart * torch.sigmoid(hidden + 3),
            far_defocus=far_defocus,
            features=features,
        )
