"""What a camera makes of light before anybody sees a photo: glare, a rolled-off curve, grain, sharpening, compression.

A network that has seen nothing but clean pictures takes grain and compression about a lamp for detail, and gives the
lamp back a tenth of its light in place of six tenths.
"""

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from PIL import Image
from torch import Tensor

from ...optics import linear_to_srgb, srgb_to_linear
from ...rendering.highlights import CLIPPED_FROM
from ..data import to_tensor
from .textures import log_uniform


def glare(light: Tensor, draw: Generator) -> Tensor:
    """What a real lens makes of light before a sensor clips it, (3, H, W) -> the same: soft edges, and often a veil.

    It is what tells a lamp from white paper in a photo: the brighter, the farther its edge reaches beyond itself.
    """
    sharp = _gaussian(light, log_uniform(draw, 0.3, 1.2))
    if draw.random() < 0.5:
        return sharp
    share = log_uniform(draw, 1e-3, 0.03)
    return sharp + share * (_gaussian(light, log_uniform(draw, 2, 10)) - sharp)


def photographed(light: Tensor, draw: Generator) -> tuple[Tensor, Tensor]:
    """Light (3, S, S), linear, unclipped -> a photo of it, sRGB in [0, 1], and the light that belongs to the photo.

    That is the true light where a channel clips, and what the photo shows elsewhere: only clipped light is to be found.
    """
    if draw.random() < 0.5:
        light, shown = _reduced(light, draw.uniform(1, 2))
    else:
        shown = linear_to_srgb(_rolled_off(light, draw.uniform(0.3, 0.9)) if draw.random() < 0.5 else light)
    if draw.random() < 0.75:
        grain = draw.normal(0, log_uniform(draw, 0.002, 0.03), shown.shape).astype(np.float32)
        shown = torch.where(light < 1, shown + torch.from_numpy(grain), shown).clamp(0, 1)
    if draw.random() < 0.5:  # softened, or sharpened
        shown = torch.lerp(shown, _gaussian(shown, draw.uniform(0.4, 1)), draw.uniform(-1, 1)).clamp(0, 1)
    if draw.random() < 0.8:
        shown = _compressed(shown, int(draw.integers(50, 97)))
    decoded = srgb_to_linear(shown)
    return shown, torch.where(decoded > CLIPPED_FROM, torch.maximum(light, decoded), decoded)


def _rolled_off(light: Tensor, knee: float) -> Tensor:
    """Linear up to `knee`, then bent towards white, as a camera's own curve is: any shape, below 1."""
    above = 1 - torch.exp(-(light - knee).clamp(min=0) / (1 - knee))
    return torch.where(light > knee, knee + (1 - knee) * above, light)


def _reduced(light: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Light and its photo, made smaller after it had clipped; mirrored about, so that both have the size they had."""
    whole = light.shape[-1]
    side = max(round(whole / factor), whole // 2 + 1)
    pair = torch.stack([light, linear_to_srgb(light)])  # (2, 3, S, S)
    pair = F.interpolate(pair, size=(side, side), mode="bilinear", antialias=True)
    before = (whole - side) // 2
    pair = F.pad(pair, (before, whole - side - before, before, whole - side - before), mode="reflect")
    return pair[0], pair[1]


def _compressed(shown: Tensor, quality: int) -> Tensor:
    """(3, S, S) in [0, 1], as a JPEG file gives it back."""
    pixels = (shown * 255).round().byte().permute(1, 2, 0).numpy()  # (S, S, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return to_tensor(Image.open(file))


def _gaussian(light: Tensor, sigma: float) -> Tensor:
    """(3, H, W), blurred along both sides; the border goes on outside."""
    reach = min(math.ceil(3 * sigma), light.shape[-1] - 1)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    for _ in range(2):  # along one side, then, turned over, along the other
        padded = F.pad(light[:, None], (reach, reach, 0, 0), mode="replicate")  # (3, 1, H, W + 2 reach)
        light = F.conv2d(padded, kernel)[:, 0].transpose(-1, -2)
    return light.contiguous()
