"""Eq. 1 of the report, |D - Dg|_1 + gamma |S - Sg|_1, for disparity that is known up to scale and shift."""

import torch.nn.functional as F
from torch import Tensor


def standardise(disparity: Tensor) -> Tensor:
    """Remove each map's scale and shift: median 0, mean absolute deviation 1 (Ranftl et al., MiDaS, TPAMI 2020, Eq. 5).

    Unlike a least-squares fit it keeps the sign, so a map that is upside down in depth is never counted as right.
    """
    shift = disparity.flatten(1).median(dim=1).values.view(-1, 1, 1, 1)  # (B, 1, 1, 1)
    centred = disparity - shift
    return centred / centred.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-3)


def gradient_matching(difference: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute gradient of (B, 1, H, W) over `scales` halvings: errors may be smooth, edges must agree."""
    total = difference.new_zeros(())
    for _ in range(scales):
        total = total + difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
        difference = F.avg_pool2d(difference, 2)
    return total / scales


def depth_loss(
    disparity: Tensor,
    foreground: Tensor,
    true_disparity: Tensor,
    true_foreground: Tensor,
    has_foreground: Tensor,
    gamma: float = 1.0,
    gradient_weight: float = 0.5,
    masks: Tensor | None = None,
) -> dict[str, Tensor]:
    """Eq. 1 with affine-invariant disparity and a gradient term. All maps (B, 1, H, W); has_foreground (B,) in {0, 1}.

    Returns the parts and their sum, "loss". The foreground counts only for photos that have a mask, divided by how many
    have: `masks` () is their mean number in a batch, where one step takes several batches.
    """
    difference = standardise(disparity) - standardise(true_disparity)  # (B, 1, H, W)
    masked = (foreground - true_foreground).abs().mean((1, 2, 3)) * has_foreground  # (B,)
    parts = {
        "disparity": difference.abs().mean(),
        "gradient": gradient_matching(difference),
        "foreground": masked.sum() / (has_foreground.sum() if masks is None else masks).clamp(min=1e-6),
    }
    parts["loss"] = parts["disparity"] + gradient_weight * parts["gradient"] + gamma * parts["foreground"]
    return parts


def render_loss(rendered: Tensor, target: Tensor, edge_weight: float = 1.0) -> dict[str, Tensor]:
    """What the eye compares: sRGB difference and difference of gradients. Both images (B, 3, H, W), sRGB [0, 1]."""
    difference = rendered - target
    parts = {
        "colour": difference.abs().mean(),
        "gradient": difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean(),
        "square": difference.square().mean((1, 2, 3)).add(1e-6).sqrt().mean(),  # what PSNR ranks by
    }
    parts["loss"] = parts["colour"] + edge_weight * parts["gradient"] + parts["square"]
    return parts
