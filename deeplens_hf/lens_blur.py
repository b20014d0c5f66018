"""Lens blur at low resolution (Eq. 2 of the report): L(x, y) = sum_j K(x, y, j) F(x, y, j), in linear light.

"slabs": F_j is what the slab of defocus j throws on the sensor, blurred by the aperture's image at its own radius; K
decides what hides what. "convolutional": features of the image alone and free kernels, as in the 2018 report.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .highlights import HighlightRecovery
from .optics import DISC, ApertureShape, aperture_image
from .surfaces import SurfaceExtraction

KNOTS = (0.0, 1.0, 2.0, 3.0, 4.5, 6.0, 8.0, 10.5, 13.5, 17.0, 21.0, 26.0, 32.0)  # pixels of defocus, on either side
KNOT_GROWTH = 1.23  # ratio of neighbours beyond the last
HALF_FROM, QUARTER_FROM = 6.0, 26.0  # pixels: radii from which a half and a quarter of the size will do
CAT_EYE_GRID = 7  # points along a side that have an aperture image of their own
EPS = 1e-4


def slab_knots(*defocus: Tensor) -> list[float]:
    """Knots as far as any of the maps reaches on either side, from the nearest slab to the farthest."""
    low = min(float(d.detach().min()) for d in defocus)
    high = max(float(d.detach().max()) for d in defocus)
    radii = list(KNOTS)
    while radii[-1] < max(-low, high):
        radii.append(radii[-1] * KNOT_GROWTH)
    gaps = list(zip(radii, radii[1:], strict=False))
    in_front = [outer for inner, outer in gaps if inner < high]
    behind = [-outer for inner, outer in gaps if inner < -low]
    return [*reversed(in_front), 0.0, *behind]


def slab_weight(defocus: Tensor, knots: list[float], j: int) -> Tensor:
    """Share of each pixel in slab j: a hat over its knot that ends at the neighbours; over all j it sums to 1."""
    weight = torch.ones_like(defocus)
    if j > 0:
        weight = torch.minimum(weight, (knots[j - 1] - defocus) / (knots[j - 1] - knots[j]))
    if j + 1 < len(knots):
        weight = torch.minimum(weight, (defocus - knots[j + 1]) / (knots[j] - knots[j + 1]))
    return weight.clamp(min=0)


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """(B, C, H, W) with an aperture image (k, k); the border goes on outside. By FFT from 4 px of radius on."""
    kernel = kernel.to(x)
    reach = kernel.shape[-1] // 2
    if reach == 0:
        return x
    channels, (height, width) = x.shape[1], x.shape[-2:]
    padded = F.pad(x, (reach,) * 4, mode="replicate") if reach < min(height, width) * 4 else x
    if reach <= 3 or torch.compiler.is_exporting():  # other runtimes have a convolution, and seldom an FFT of this size
        # conv2d does not turn the kernel over, a convolution does
        kernel = kernel.flip(0, 1).expand(channels, 1, -1, -1).contiguous()
        return F.conv2d(padded, kernel, groups=channels)
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
    height, width = x.shape[-2:]
    small = F.avg_pool2d(F.pad(x, (0, -width % step, 0, -height % step), mode="replicate"), step)
    # variance of the box going down and the tent coming up; a disc's is radius^2 / 4
    variance = (step**2 - 1) / 12 + step**2 / 6
    small = _convolve_shape(small, math.copysign((radius**2 - 4 * variance) ** 0.5 / step, defocus), shape)
    return F.interpolate(small, scale_factor=step, mode="bilinear")[..., :height, :width]


def _convolve_shape(x: Tensor, defocus: float, shape: ApertureShape) -> Tensor:
    if shape.cat_eye and abs(defocus) > 1:
        return _convolve_cat_eye(x, defocus, shape)
    return convolve(x, aperture_image(defocus, shape))


def _convolve_cat_eye(x: Tensor, defocus: float, shape: ApertureShape) -> Tensor:
    """(B, C, H, W): each of a grid of points with its own aperture image, blended between them by distance."""
    height, width = x.shape[-2:]
    half_diagonal = math.hypot(height, width) / 2
    reach = math.ceil(abs(defocus)) + 1
    padded = F.pad(x, (reach,) * 4, mode="replicate") if reach < min(height, width) * 4 else F.pad(x, (reach,) * 4)
    total = torch.zeros_like(x)
    for middle_y, top, tent_y in _tents(height, x):
        for middle_x, left, tent_x in _tents(width, x):
            rows, columns = slice(top, top + len(tent_y)), slice(left, left + len(tent_x))
            seen = padded[..., top : rows.stop + 2 * reach, left : columns.stop + 2 * reach]
            corner = ((middle_x - width / 2) / half_diagonal, (middle_y - height / 2) / half_diagonal)
            blurred = convolve(seen, aperture_image(defocus, shape, corner))[..., reach:-reach, reach:-reach]
            total[..., rows, columns] = total[..., rows, columns] + blurred * tent_y[:, None] * tent_x
    return total


def _tents(length: int, like: Tensor) -> list[tuple[float, int, Tensor]]:
    """Tents that add to 1 along a side: (middle, first index, weights where there are any) each."""
    step = length / (CAT_EYE_GRID - 1)
    at = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
    tents = []
    for k in range(CAT_EYE_GRID):
        weight = (1 - (at - k * step).abs() / step).clamp(min=0)
        used = weight.nonzero().flatten()
        if len(used):
            first, last = int(used[0]), int(used[-1]) + 1
            tents.append((k * step, first, weight[first:last]))
    return tents


def weigh(features: list[Tensor], kernels: list[Tensor]) -> Tensor:
    """Eq. 2: F_j (B, 3, H, W) each, K_j (B, 1, H, W) each -> L (B, 3, H, W)."""
    total = features[0] * kernels[0]
    for feature, kernel in zip(features[1:], kernels[1:], strict=True):
        total = torch.addcmul(total, feature, kernel)
    return total


class KernelPrediction(nn.Module):
    """How the slabs' light is mixed at each pixel: K from the image's features, the defocus and the blurred coverages.

    Three numbers a pixel steer all slabs: how far slabs hide each other as separate things do (over) or join as one
    slanted surface does (saturating), and a gain for slabs in front of, and behind, the pixel's own surface.
    """

    hidden = 16

    def __init__(self, width: int):
        super().__init__()
        self.read = nn.Conv2d(width + 4, self.hidden, 3, padding=1)
        self.mix = nn.Conv2d(self.hidden, self.hidden, 3, padding=1)
        self.write = nn.Conv2d(self.hidden, 3, 1)
        nn.init.normal_(self.write.weight, std=1e-3)
        self.write.bias.data = torch.tensor([-5.0, 0.0, 0.0])

    def forward(
        self, knots: list[float], coverages: list[Tensor], defocus: Tensor, features: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """coverages (B, 1, H, W) a slab, front to back, features (B, width, h, w) -> K_j a slab, (B, 16, h, w)."""
        size, small = defocus.shape[-2:], features.shape[-2:]
        in_front = sum(c * ((k - defocus) / 2).clamp(0, 1) for k, c in zip(knots, coverages, strict=True))
        behind = sum(c * ((defocus - k) / 2).clamp(0, 1) for k, c in zip(knots, coverages, strict=True))
        guide = torch.cat([in_front, behind, sum(coverages), torch.asinh(defocus)], 1)  # (B, 4, H, W)
        guide = F.interpolate(guide, small, mode="area")
        x = F.relu(self.read(torch.cat([features, guide], 1)))
        x = F.relu(self.mix(x))  # (B, 16, h, w)
        separate, front, back = F.interpolate(self.write(x), size, mode="bilinear").split(1, 1)
        separate, front, back = torch.sigmoid(separate), 3 * torch.tanh(front), 3 * torch.tanh(back)
        kernels, left = [], torch.ones_like(defocus)
        for knot, coverage in zip(knots, coverages, strict=True):
            coverage = coverage.clamp(min=EPS)
            joined = torch.minimum(coverage, left) / coverage  # share of the slab's light that gets through
            through = torch.lerp(joined, left, separate)
            gain = front * ((knot - defocus) / 2).clamp(0, 1) + back * ((defocus - knot) / 2).clamp(0, 1)
            kernels.append(through * torch.exp(gain))
            left = (left - coverage * through).clamp(min=0)
        total = weigh(coverages, kernels).clamp(min=EPS)
        return [kernel / total for kernel in kernels], x


class SlabLensBlur(nn.Module):
    """Depth-aware lens blur by soft slabs of signed defocus; any radius, any aperture shape, cost free of both."""

    feature_channels = KernelPrediction.hidden

    def __init__(self, width: int = 24):
        super().__init__()
        self.surfaces = SurfaceExtraction(width)
        self.highlights = HighlightRecovery()
        self.kernels = KernelPrediction(width)

    def forward(
        self,
        light: Tensor,
        defocus: Tensor,
        subject: Tensor,
        shape: ApertureShape = DISC,
        highlights: float = 1.0,
        knots: list[float] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """light (B, 3, h, w) linear, defocus, subject (B, 1, h, w) as in `surfaces` -> L (B, 3, h, w), features.

        knots: fixed ones, from near to far, none of which is left out: for a graph that cannot look at its data.
        """
        recovered = self.highlights(light) if highlights else light  # by day, the light itself
        radiance = None if recovered is light else light + highlights * (recovered - light)
        seen, features = self.surfaces(light, defocus, subject, radiance)
        fixed = knots is not None
        if not fixed:
            knots = slab_knots(seen.near_defocus, seen.far_defocus)
        near = torch.cat([seen.near, seen.near_coverage], 1)  # (B, 4, h, w), light times coverage, and coverage
        far = torch.cat([seen.far, seen.far_coverage], 1)
        colours, coverages, used = [], [], []
        for j, knot in enumerate(knots):
            near_weight, far_weight = slab_weight(seen.near_defocus, knots, j), slab_weight(seen.far_defocus, knots, j)
            if not fixed and not bool(near_weight.any() | far_weight.any()):
                continue
            slab = blur(torch.addcmul(near * near_weight, far, far_weight), knot, shape)  # (B, 4, h, w)
            colours.append(slab[:, :3])
            coverages.append(slab[:, 3:])
            used.append(knot)
        kernels, hints = self.kernels(used, coverages, defocus, features)
        return weigh(colours, kernels), hints


class ConvolutionalLensBlur(nn.Module):
    """The report's own: features of the image, blind to depth, and kernels from the image and the defocus."""

    feature_channels = 16
    features_per_pixel = 12  # c: how many F_j, three colours each

    def __init__(self, width: int = 24):
        super().__init__()
        c = self.features_per_pixel
        self.features = nn.Sequential(
            *(
                layer
                for i, dilation in enumerate((1, 2, 4, 8, 16))
                for layer in (
                    nn.Conv2d(3 if i == 0 else width, width, 3, padding=dilation, dilation=dilation),
                    nn.ReLU(inplace=True),
                )
            ),
            nn.Conv2d(width, 3 * c, 1, bias=False),
        )
        self.guide = nn.Sequential(
            nn.Conv2d(6, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=4, dilation=4),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, self.feature_channels, 3, padding=8, dilation=8),
            nn.ReLU(inplace=True),
        )
        self.kernels = nn.Conv2d(self.feature_channels, c, 1)

    def forward(
        self,
        light: Tensor,
        defocus: Tensor,
        subject: Tensor,
        shape: ApertureShape = DISC,
        highlights: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """As of `SlabLensBlur`, but the disc is baked into the weights, and lamps stay as they are."""
        if shape != DISC:
            raise ValueError('shape must be the default disc: lens_blur="convolutional" knows no other')
        shown = light.clamp(min=1e-6).sqrt()
        # differences from the pixel's own light, of zero sum over a flat neighbourhood: a constant image stays constant
        detail = self.features(shown - F.avg_pool2d(shown, 31, 1, 15, count_include_pad=False))  # (B, 3c, h, w)
        flat = self.features(torch.zeros_like(shown))
        features = light.repeat(1, self.features_per_pixel, 1, 1) + detail - flat
        hints = self.guide(torch.cat([shown, torch.asinh(defocus), defocus.abs() / 16, subject], 1))  # (B, 16, h, w)
        kernels = torch.softmax(self.kernels(hints), 1)  # (B, c, h, w), sums to 1
        mixed = weigh(list(features.split(3, 1)), list(kernels.split(1, 1)))
        return mixed.clamp(min=0), F.avg_pool2d(hints, 2, ceil_mode=True)


LENS_BLURS: dict[str, type[SlabLensBlur] | type[ConvolutionalLensBlur]] = {
    "slabs": SlabLensBlur,
    "convolutional": ConvolutionalLensBlur,
}
