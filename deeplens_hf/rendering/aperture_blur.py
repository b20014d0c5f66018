"""A picture blurred by the aperture's image: any shape, at a cost that hardly grows with the radius."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.pooling import enlarge, halve
from ..optics import DISC, ApertureShape, aperture_image

HALF_FROM, QUARTER_FROM = 6.0, 26.0  # pixels: radii from which a half and a quarter of the size will do
CAT_EYE_GRID = 7  # points along a side that have an aperture image of their own


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """(B, C, H, W) with an aperture image (k, k); the border goes on outside. By FFT from 5 px of radius on."""
    kernel = kernel.to(x)
    reach = kernel.shape[-1] // 2
    if reach == 0:
        return x
    channels, (height, width) = x.shape[1], x.shape[-2:]
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    if reach <= 4 or torch.compiler.is_exporting():  # other runtimes have a convolution, and seldom an FFT of this size
        # conv2d does not turn the kernel over, a convolution does
        kernel = kernel.flip(0, 1).expand(channels, 1, -1, -1).contiguous()
        if not x.is_cuda:  # a CPU is up to ten times as fast with channels last
            padded = padded.contiguous(memory_format=torch.channels_last)
        return F.conv2d(padded, kernel, groups=channels).contiguous()
    size = [-(-side // 16) * 16 for side in padded.shape[-2:]]  # lengths that an FFT likes
    spectrum = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(kernel, s=size)
    return torch.fft.irfft2(spectrum, s=size)[..., 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]


def blur(x: Tensor, defocus: float, shape: ApertureShape = DISC) -> Tensor:
    """(B, C, H, W) blurred by the aperture's image at signed `defocus` pixels.

    Wide ones at a lower resolution, narrowed by what going down and up blurs already.
    """
    radius = abs(defocus)
    step = 1 if radius < HALF_FROM else 2 if radius < QUARTER_FROM else 4
    if step == 1 or min(x.shape[-2:]) < 8 * step:
        return _convolve_shape(x, defocus, shape)
    small = halve(x) if step == 2 else halve(halve(x))
    # variance of the box going down and the tent coming up; a disc's is radius^2 / 4
    variance = (step**2 - 1) / 12 + step**2 / 6
    small = _convolve_shape(small, math.copysign((radius**2 - 4 * variance) ** 0.5 / step, defocus), shape)
    return enlarge(small, x.shape[-2:], step)


def _convolve_shape(x: Tensor, defocus: float, shape: ApertureShape) -> Tensor:
    if shape.cat_eye and abs(defocus) > 1:
        return _convolve_cat_eye(x, defocus, shape)
    return convolve(x, aperture_image(defocus, shape))


def _convolve_cat_eye(x: Tensor, defocus: float, shape: ApertureShape) -> Tensor:
    """(B, C, H, W): each of a grid of points with its own aperture image, blended between them by distance."""
    height, width = x.shape[-2:]
    half_diagonal = math.hypot(height, width) / 2
    reach = math.ceil(abs(defocus)) + 1
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    total = torch.zeros_like(x)
    across = _tents(width, x)
    for middle_y, top, tent_y in _tents(height, x):
        for middle_x, left, tent_x in across:
            rows, columns = slice(top, top + len(tent_y)), slice(left, left + len(tent_x))
            seen = padded[..., top : rows.stop + 2 * reach, left : columns.stop + 2 * reach]
            corner = ((middle_x - width / 2) / half_diagonal, (middle_y - height / 2) / half_diagonal)
            blurred = convolve(seen, aperture_image(defocus, shape, corner))[..., reach:-reach, reach:-reach]
            total[..., rows, columns] = total[..., rows, columns] + blurred * tent_y[:, None] * tent_x
    return total


def _tents(length: int, like: Tensor) -> list[tuple[float, int, Tensor]]:
    """Tents that add to 1 along a side: (middle, first index, weights where there are any) each."""
    step = length / (CAT_EYE_GRID - 1)
    at = torch.arange(length, dtype=like.dtype) + 0.5  # on the CPU: a GPU would be waited for at each tent
    tents = []
    for k in range(CAT_EYE_GRID):
        weight = (1 - (at - k * step).abs() / step).clamp(min=0)
        used = weight.nonzero().flatten()
        if len(used):
            first, last = int(used[0]), int(used[-1]) + 1
            tents.append((k * step, first, weight[first:last].to(like)))
    return tents
