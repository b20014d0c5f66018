"""Eq. 1 of the report, |D - Dg|_1 + gamma |S - Sg|_1, for disparity that is known up to scale and shift."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..disparity.fusion import span
from ..layers.pooling import window_max
from ..optics import disc, linear_to_srgb
from ..rendering.aperture_blur import convolve
from .labels import THIN, thin_parts

NOISE_WEIGHT = 1.6e-3  # of a decibel in the render loss: about as much as the other parts have


def standardise_robustly(disparity: Tensor) -> Tensor:
    """Remove each map's scale and shift: median 0, mean absolute deviation 1 (Ranftl et al., MiDaS, TPAMI 2020, Eq. 5).

    Unlike a least-squares fit it keeps the sign, so a map that is upside down in depth is never counted as right.
    """
    shift = disparity.flatten(1).median(dim=1).values.view(-1, 1, 1, 1)  # (B, 1, 1, 1)
    centred = disparity - shift
    return centred / centred.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-3)


def gradient_matching(difference: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute gradient of (B, 1, H, W) over `scales` halvings: errors may be smooth, edges must agree. (B,)"""
    total = difference.new_zeros(len(difference))
    for _ in range(scales):
        total = total + sum(difference.diff(dim=dim).abs().mean((1, 2, 3)) for dim in (-1, -2))
        difference = F.avg_pool2d(difference, 2)
    return total / scales


def outline_loss(foreground: Tensor, truth: Tensor, reach: int = 4, emphasis: float = 4.0) -> Tensor:
    """What |S - Sg| is slow to teach, small subjects and sharp outlines: maps (B, 1, H, W) in [0, 1] -> (B,).

    Cross-entropy, which counts `emphasis` times more within `reach` pixels of the true outline, and twice that more
    about thin parts; and one minus the soft intersection over union (Rahman and Wang, ISVC 2016): an empty mask has
    none.
    """
    rim = F.max_pool2d(truth, 2 * reach + 1, 1, reach) + F.max_pool2d(1 - truth, 2 * reach + 1, 1, reach) - 1
    beside_thin = window_max(thin_parts(truth), THIN)  # and the parts themselves
    weight = 1 + emphasis * (rim.clamp(min=0) + 2 * beside_thin)  # (B, 1, H, W)
    likely = foreground.clamp(1e-4, 1 - 1e-4)
    # written out: F.binary_cross_entropy stops at NaN, on a GPU for good, before the loop can say so
    entropy = ((truth - 1) * (-likely).log1p() - truth * likely.log()) * weight
    both, total = (foreground * truth).sum((1, 2, 3)), (foreground + truth).sum((1, 2, 3))
    overlap = (1 - both / (total - both).clamp(min=1)) * (truth.mean((1, 2, 3)) > 0.002)
    return entropy.sum((1, 2, 3)) / weight.sum((1, 2, 3)) + overlap


def depth_loss(
    disparity: Tensor,
    foreground: Tensor,
    true_disparity: Tensor,
    true_foreground: Tensor,
    has_foreground: Tensor,
    has_disparity: Tensor | None = None,
    gamma: float = 1.0,
    gradient_weight: float = 0.5,
    outline_weight: float = 0.5,
    masks: Tensor | None = None,
    maps: Tensor | None = None,
) -> dict[str, Tensor]:
    """Eq. 1 with affine-invariant disparity, a gradient and an outline term. All maps (B, 1, H, W).

    Returns the parts and their sum, "loss". has_foreground, has_disparity: (B,) in {0, 1}, the samples for which each
    counts (disparity: all, if not given), divided by how many these are: `masks` () and `maps` () are their mean
    numbers in a batch, where one step takes several batches.
    """
    if has_disparity is None:
        has_disparity = torch.ones_like(has_foreground)

    def mean(values: Tensor, has: Tensor, count: Tensor | None) -> Tensor:
        return (values * has).sum() / (has.sum() if count is None else count).clamp(min=1e-6)

    difference = standardise_robustly(disparity) - standardise_robustly(true_disparity)  # (B, 1, H, W)
    parts = {
        "disparity": mean(difference.abs().mean((1, 2, 3)), has_disparity, maps),
        "gradient": mean(gradient_matching(difference), has_disparity, maps),
        "foreground": mean((foreground - true_foreground).abs().mean((1, 2, 3)), has_foreground, masks),
        "outline": mean(outline_loss(foreground, true_foreground), has_foreground, masks),
    }
    weights = {"disparity": 1.0, "gradient": gradient_weight, "foreground": gamma, "outline": outline_weight}
    parts["loss"] = sum(weight * parts[name] for name, weight in weights.items())
    return parts


def render_loss(rendered: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Difference and difference of gradients, as the eye compares, and PSNR: images (B, 3, H, W), sRGB in [0, 1]."""
    difference = rendered - target
    parts = {
        "colour": difference.abs().mean(),
        "gradient": difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean(),
        # decibels below a PSNR of 50: a good picture has as much to gain as a poor one
        "noise": 10 * (1 + difference.square().mean((1, 2, 3)) / 1e-5).log10().mean(),
    }
    parts["loss"] = parts["colour"] + parts["gradient"] + NOISE_WEIGHT * parts["noise"]
    return parts


def highlights_loss(predicted: Tensor, light: Tensor, radius: float) -> dict[str, Tensor]:
    """Radiance of clipped light, (B, 3, H, W) linear each: its logarithm, and what a lens of this blur shows of it.

    radius: of the blur disc, pixels.
    """
    clipped = (light > 0.99).float()
    logarithm = (predicted.clamp(min=1e-3).log() - light.clamp(min=1e-3).log()).abs() * clipped
    seen, wanted = (linear_to_srgb(convolve(each, disc(radius)).clamp(min=0)) for each in (predicted, light))
    parts = {
        "logarithm": logarithm.sum() / clipped.sum().clamp(min=1),
        "blurred": (seen - wanted).square().mean((1, 2, 3)).add(1e-6).sqrt().mean(),
    }
    parts["loss"] = 0.1 * parts["logarithm"] + parts["blurred"]
    return parts


def mending_loss(mended: Tensor, true: Tensor) -> dict[str, Tensor]:
    """How far a map (B, 1, H, W) is from the true one, as a share of the true range: squared, and as it is.

    The square moves edges, which a mean difference alone leaves where they are; the difference keeps true maps true.
    """
    whole = span(true).clamp(min=0.25)
    error = (mended - true) / whole
    parts = {"square": error.square().mean(), "difference": (error.square() + 1e-5).sqrt().mean()}
    parts["loss"] = 32 * parts["square"] + 4 * parts["difference"]
    return parts


def hidden_loss(found: Tensor, true: Tensor, weight: Tensor, cell: int = 6) -> dict[str, Tensor]:
    """Colour (B, 3, H, W), square roots of light, where it counts, weight (B, 1, H, W): as it is, and blurred.

    cell: pixels that are taken together for the latter, as a lens takes them.
    """
    error = (found - true) * weight
    count = 3 * weight.sum((1, 2, 3)).clamp(min=64)
    together, counts = F.avg_pool2d(error, cell), F.avg_pool2d(weight, cell) + 0.05
    parts = {
        "square": ((error * (found - true)).sum((1, 2, 3)) / count).add(1e-5).sqrt().mean(),
        "difference": (error.abs().sum((1, 2, 3)) / count).mean(),
        "blurred": ((together.square() / counts).sum((1, 2, 3)) * cell**2 / count).add(1e-5).sqrt().mean(),
    }
    parts["loss"] = parts["square"] + 0.5 * parts["difference"] + parts["blurred"]
    return parts
