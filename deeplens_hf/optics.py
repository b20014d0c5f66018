"""The optics, once: light, focus, circle of confusion. Pure functions; nothing else repeats these formulas.

Sources: IEC 61966-2-1 (the sRGB curve); the thin-lens equation, whose blur disc is linear in inverse depth
(e.g. Potmesil and Chakravarty, "A lens and aperture camera model", SIGGRAPH 1981).
"""

import math

import torch
from torch import Tensor

REFERENCE_SIZE = 320  # the long side, in pixels, that `aperture` is measured at
MAX_APERTURE = 32.0  # accepted; pages and training use 0 to 16, a few measured scenes of real lenses reach 20


def srgb_to_linear(image: Tensor) -> Tensor:
    """Decode sRGB values [0, 1] to linear light [0, 1], any shape."""
    return torch.where(image <= 0.04045, image / 12.92, ((image.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: Tensor) -> Tensor:
    """Encode linear light to sRGB values [0, 1], any shape; light above 1 clips, as in a camera."""
    light = light.clamp(0, 1)
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def pixels_per_disparity(aperture: Tensor | float, size: tuple[int, int]) -> Tensor | float:
    """Blur-disc radius, in pixels of a picture of `size` (H, W), per unit of disparity from the focal plane."""
    return aperture * (max(size) / REFERENCE_SIZE)


def signed_defocus(disparity: Tensor, focus: Tensor, aperture: Tensor) -> Tensor:
    """Blur-disc radius in pixels at the size in hand; > 0 in front of the focal plane.

    disparity (B, 1, H, W) in [0, 1], aperture (B,) -> (B, 1, H, W). focus (B,), or (B, 2): an interval, in either
    order, that is sharp as a whole; blur then grows from its ends.
    """
    per_unit = pixels_per_disparity(aperture, disparity.shape[-2:])  # (B,)
    if focus.ndim == 2:
        low, high = focus.aminmax(dim=1)  # (B,) each
        sharp = torch.minimum(torch.maximum(disparity, low.view(-1, 1, 1, 1)), high.view(-1, 1, 1, 1))
    else:
        sharp = focus.view(-1, 1, 1, 1)
    return per_unit.view(-1, 1, 1, 1) * (disparity - sharp)


def disc(radius: float) -> Tensor:
    """Antialiased disc of `radius` pixels, normalised to sum 1: the image of a defocused point, (k, k), k odd.

    A pixel holds its covered share, to first order: clamp(radius + 1/2 - distance, 0, 1).
    """
    reach = max(math.ceil(radius - 0.5), 0)
    at = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = (radius + 0.5 - torch.hypot(at[:, None], at[None, :])).clamp(0, 1)
    return kernel / kernel.sum()
