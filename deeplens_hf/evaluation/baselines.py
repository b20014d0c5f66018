"""Renderers that learned nothing: what a trained one has to beat.

Each is `f(image, disparity, focus, aperture) -> image`: image (B, 3, H, W) sRGB in [0, 1], disparity (B, 1, H, W),
focus a disparity, aperture as in `optics`. Aperture 0 returns the photo; a constant image stays constant.
Knots and blur are their own on purpose: what the model is measured against does not change with the model.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..optics import disc, linear_to_srgb, pixels_per_disparity, srgb_to_linear

KNOTS = (0.0, 1.0, 2.0, 3.0, 4.5, 6.0, 8.0, 10.5, 13.5, 17.0, 21.0, 26.0, 32.0)  # pixels of defocus, either sign
KNOT_GROWTH = 1.23  # ratio of neighbouring knots beyond the last: that of the last two


def no_blur(image: Tensor, disparity: Tensor, focus: float, aperture: float) -> Tensor:
    """The photo itself: the floor of every table."""
    return image


def unlearned_slabs(image: Tensor, disparity: Tensor, focus: float, aperture: float) -> Tensor:
    """Soft slabs of signed defocus, each blurred by its own disc, laid over each other from the front to the back.

    The slabs are a partition of unity: hat functions of the defocus between neighbouring knots. Each slab's
    premultiplied linear colour and its coverage are blurred alike; a slab then takes what coverage is left at a pixel,
    and the sum is divided by the coverage reached.
    """
    light = srgb_to_linear(image)  # (B, 3, H, W)
    defocus = _defocus(disparity, focus, aperture)  # (B, 1, H, W)
    knots = _knots(defocus)
    out, covered = torch.zeros_like(light), torch.zeros_like(defocus)
    for index in reversed(range(len(knots))):  # front to back
        weight = _hat(defocus, knots, index)  # (B, 1, H, W)
        if not weight.any():
            continue
        slab = _blur(torch.cat([weight * light, weight], dim=1), abs(knots[index]))  # (B, 4, H, W)
        colour, coverage = slab[:, :3], slab[:, 3:]
        take = torch.minimum(coverage, 1 - covered)
        out += colour * take / coverage.clamp(min=1e-6)
        covered += take
    return linear_to_srgb(out / covered.clamp(min=1e-6))


def scatter(image: Tensor, disparity: Tensor, focus: float, aperture: float) -> Tensor:
    """The classical renderer: each pixel spreads its linear light over its blur disc with weight 1 / area.

    After Potmesil and Chakravarty, "A lens and aperture camera model for synthetic image generation", 1981. Occlusion
    by disparity: light from behind the pixel it falls on spreads no farther than that pixel's own disc (Riguer et al.,
    "Real-time depth of field simulation", 2003), and light from in front covers the rest by the weight that arrives.
    Written as a gather, over the whole picture for each offset inside the largest disc: cost grows with its area.
    """
    defocus = _defocus(disparity, focus, aperture)  # (B, 1, H, W)
    height, width = defocus.shape[-2:]
    reach = math.ceil(defocus.abs().max().item() + 0.5)
    light = F.pad(srgb_to_linear(image), (reach,) * 4, mode="replicate")  # (B, 3, H + 2 reach, W + 2 reach)
    light = torch.cat([light, torch.ones_like(light[:, :1])], dim=1)  # its last channel sums the weights
    source = F.pad(defocus, (reach,) * 4, mode="replicate")  # (B, 1, H + 2 reach, W + 2 reach)
    radius, source_radius = defocus.abs(), source.abs()
    front, rest = torch.zeros_like(light[..., :height, :width]), torch.zeros_like(light[..., :height, :width])
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            distance = math.hypot(dx, dy)
            if distance >= reach + 0.5:
                continue
            at = (..., slice(reach + dy, reach + dy + height), slice(reach + dx, reach + dx + width))
            ahead = source[at] - defocus  # pixels of defocus by which the source is nearer
            spread = torch.where(ahead > 0, source_radius[at], torch.minimum(source_radius[at], radius))
            weight = (spread + (0.5 - distance)).clamp_(0, 1).div_(spread.square().mul_(math.pi).clamp_(min=1))
            covers = ahead.sub_(1).clamp_(0, 1).mul_(weight)  # one surface's own slope covers nothing
            front.addcmul_(covers, light[at])
            rest.addcmul_(weight.sub_(covers), light[at])
    colour = rest[:, :3] / rest[:, 3:].clamp(min=1e-6)
    front_colour = front[:, :3] / front[:, 3:].clamp(min=1e-6)
    return linear_to_srgb(torch.lerp(colour, front_colour, front[:, 3:].clamp(max=1)))


def _defocus(disparity: Tensor, focus: float, aperture: float) -> Tensor:
    return pixels_per_disparity(aperture, disparity.shape[-2:]) * (disparity - focus)


def _knots(defocus: Tensor) -> list[float]:
    """The knots in rising order, on either side as far as the defocus reaches."""
    far, near = max(-defocus.min().item(), 0), max(defocus.max().item(), 0)
    radii = list(KNOTS)
    while radii[-1] < max(far, near):
        radii.append(radii[-1] * KNOT_GROWTH)

    def up_to(reach: float) -> list[float]:  # every knot below the reach, and the one that closes the last gap
        return [radius for below, radius in zip(radii, radii[1:], strict=False) if below < reach]

    return [-radius for radius in reversed(up_to(far))] + [0.0] + up_to(near)


def _hat(defocus: Tensor, knots: list[float], index: int) -> Tensor:
    """Weight of one slab: 1 at its knot, falling to 0 at its neighbours'."""
    at, weight = knots[index], torch.ones_like(defocus)
    if index > 0:
        weight = torch.minimum(weight, (defocus - knots[index - 1]) / (at - knots[index - 1]))
    if index + 1 < len(knots):
        weight = torch.minimum(weight, (knots[index + 1] - defocus) / (knots[index + 1] - at))
    return weight.clamp(min=0)


def _blur(x: Tensor, radius: float) -> Tensor:
    """Convolve with the antialiased disc, by FFT: the cost does not grow with the radius. The border pixel continues.

    (B, C, H, W) -> (B, C, H, W).
    """
    kernel = disc(radius).to(x)  # (k, k)
    reach = kernel.shape[-1] // 2
    if reach == 0:
        return x
    height, width = x.shape[-2:]
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    size = [_fast_size(n) for n in padded.shape[-2:]]
    spectrum = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(kernel, s=size)
    blurred = torch.fft.irfft2(spectrum, s=size)
    return blurred[..., 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width].clamp(min=0)


def _fast_size(n: int) -> int:
    """The next size whose only factors are 2, 3 and 5: an FFT of a prime length is many times slower."""
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1
