"""Lens blur at low resolution (Eq. 2 of the report): L(x, y) = sum_j K(x, y, j) F(x, y, j), in linear light.

"slabs": F_j is what the slab of defocus j throws on the sensor, blurred by the aperture's image at its own radius; K
decides what hides what. "convolutional": features of the image alone and free kernels, as in the 2018 report.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers.blocks import asinh
from .layers.pooling import enlarge, halve, halve_max, halve_min, lengthen, min_within, window_min
from .optics import DISC, ApertureShape
from .rendering.aperture_blur import blur
from .rendering.highlights import HighlightRecovery, darkness
from .rendering.slabs import Slab, Strip, slab_knots, slab_weight, strips, used_rows
from .rendering.surfaces import SurfaceExtraction, Surfaces

EPS = 1e-4
FINE = 4  # pixels of blur up to which what is about a pixel is looked for at the photo's own size


def weigh(features: list[Tensor], kernels: list[Tensor]) -> Tensor:
    """Eq. 2: F_j (B, 3, H, W) each, K_j (B, 1, H, W) each -> L (B, 3, H, W)."""
    total = features[0] * kernels[0]
    for feature, kernel in zip(features[1:], kernels[1:], strict=True):
        total = torch.addcmul(total, feature, kernel)
    return total


class KernelPrediction(nn.Module):
    """How the slabs' light is mixed at each pixel: K from the image's features, the defocus and the blurred coverages.

    Three numbers a pixel steer all slabs: how far slabs hide each other as separate things do (over) or join as one
    slanted surface does (saturating), and a gain for slabs in front of, and behind, the pixel's own surface. That gain
    is for what is sharp: where a surface is blurred, its own outline, at full sharpness, is not to be seen.
    """

    hidden = 16
    sharp_to, gone_from = 2.0, 4.0  # pixels of blur of a pixel's own surface, between which the gain goes

    def __init__(self, width: int):
        super().__init__()
        self.read = nn.Conv2d(width + 4, self.hidden, 3, padding=1)
        self.mix = nn.Conv2d(self.hidden, self.hidden, 3, padding=1)
        self.write = nn.Conv2d(self.hidden, 3, 1)
        nn.init.normal_(self.write.weight, std=1e-3)
        self.write.bias.data = torch.tensor([-5.0, 0.0, 0.0])

    def steer(self, parts: list[Strip], defocus: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """defocus (B, 1, H, W), features (B, width, h, w) -> the three numbers (B, 3, H, W), features (B, 16, h, w)."""
        guides = []
        for part in parts:
            own = defocus[..., part.rows, :]  # (B, 1, rows, W)
            ahead, apart, covered = torch.zeros_like(own), torch.zeros_like(own), torch.zeros_like(own)
            for knot, slab in zip(part.knots, part.thrown, strict=True):
                coverage, distance = slab[:, 3:], _distance(knot, own).clamp(-1, 1)
                ahead = torch.addcmul(ahead, coverage, distance)
                apart = torch.addcmul(apart, coverage, distance.abs())
                covered = covered + coverage
            in_front, behind = (apart + ahead) / 2, (apart - ahead) / 2  # coverage by slabs 2 px and more away
            guide = torch.cat([in_front, behind, covered, asinh(own)], 1)  # (B, 4, rows, W)
            guides.append(halve(guide))
        guide = torch.cat(guides, 2).contiguous(memory_format=torch.channels_last)  # (B, 4, h, w)
        x = self.read(torch.cat([features, guide], 1)).relu_()
        x = self.mix(x).relu_()  # (B, 16, h, w)
        return F.interpolate(self.write(x).contiguous(), defocus.shape[-2:], mode="bilinear"), x

    def forward(
        self, knots: list[float], coverages: list[Tensor], defocus: Tensor, steered: Tensor, farthest: Tensor
    ) -> list[Tensor]:
        """coverages (B, 1, H, W) a slab, front to back, steered (B, 3, H, W), farthest as of `farthest_seen`.

        Returns K_j (B, 1, H, W) a slab.
        """
        separate, front, back = steered.split(1, 1)
        sharp = ((self.gone_from - defocus.abs()) / (self.gone_from - self.sharp_to)).clamp(0, 1)  # (B, 1, H, W)
        separate, front, back = torch.sigmoid(separate), 3 * sharp * torch.tanh(front), -3 * sharp * torch.tanh(back)
        kernels, left = [], torch.ones_like(defocus)
        # a slab over 1 px of defocus behind the farthest surface seen counts less, from 2 px on not at all; the margin
        # grows with the blur, since knots lie farther apart there, and a surface itself may be in one that much behind
        last = farthest - 0.15 * farthest.abs() - 1  # (B, 1, H, W)
        for knot, coverage in zip(knots, coverages, strict=True):
            coverage = coverage.clamp(min=EPS)
            joined = torch.minimum(coverage, left) / coverage  # share of the slab's light that gets through
            through = torch.lerp(joined, left, separate)
            distance = _distance(knot, defocus)
            gain = distance.clamp(-1, 1) * torch.where(distance > 0, front, back)
            kernel = through * torch.exp(gain)
            beyond = (last - knot).clamp(0, 1)
            kernel = torch.addcmul(kernel, kernel, beyond, value=-1)
            kernels.append(kernel)
            left = torch.addcmul(left, coverage, through, value=-1).clamp(min=0)
        total = weigh(coverages, kernels).clamp(min=EPS)
        return [kernel / total for kernel in kernels]


def _distance(knot: float, defocus: Tensor) -> Tensor:
    """How far a slab lies in front of each pixel's own surface, in 2 px of defocus: (B, 1, H, W)."""
    return torch.rsub(defocus, knot / 2, alpha=0.5)


def farthest_seen(defocus: Tensor, seen: Surfaces) -> Tensor:
    """Defocus of the farthest surface about each pixel, as far as its own is blurred: (B, 1, H, W).

    What lies behind a surface is seen by the rays that pass beside it, so nothing farther can show. But where the depth
    of a surface changes, its slabs are blurred unlike, and leave cracks between them.
    """
    through = (4 * (1 - seen.near_coverage) - 1).clamp(0, 1)  # hair and rims are not opaque
    farthest, blurred = defocus + through * (seen.far_defocus - defocus).clamp(max=0), defocus.abs()  # (B, 1, H, W)
    # wide windows at half the size, an eighth more than the blur, less the pixels that halving and enlarging add
    wide = 0.56 * halve_max(lengthen(blurred)) - 0.25  # (B, 1, h, w)
    small = min_within(halve_min(lengthen(farthest)), wide.clamp(min=1))
    coarse = enlarge(small, defocus.shape[-2:])
    found = about = window_min(farthest, 1)
    for reach in range(1, FINE):  # half a pixel more than the blur
        about = window_min(about, 1)
        found = torch.lerp(found, about, (blurred - reach + 0.5).clamp(0, 1))
    return torch.lerp(found, coarse, (blurred - FINE + 0.5).clamp(0, 1))


class SlabLensBlur(nn.Module):
    """Depth-aware lens blur by soft slabs of signed defocus; any radius, any aperture shape, cost free of both."""

    feature_channels = KernelPrediction.hidden

    def __init__(self, width: int = 24):
        super().__init__()
        self.surfaces = SurfaceExtraction(width)
        self.highlights = HighlightRecovery()
        self.gleams: HighlightRecovery | None = HighlightRecovery(by_day=True)
        self.kernels = KernelPrediction(width)

    def forward(
        self,
        light: Tensor,
        defocus: Tensor,
        subject: Tensor,
        shape: ApertureShape = DISC,
        highlights: float = 1.0,
        recovered: Tensor | None = None,
        knots: list[float] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """light (B, 3, h, w) linear, defocus, subject (B, 1, h, w) as in `surfaces` -> L (B, 3, h, w), features.

        recovered: what the method of that name makes of the light, if that is known.
        knots: fixed ones, from near to far, none of which is left out: for a graph that cannot look at its data.
        """
        if recovered is None:
            recovered = self.recovered(light) if highlights else light
        radiance = None if recovered is light else light + highlights * (recovered - light)
        seen, features = self.surfaces(light, defocus, subject, radiance)
        parts = strips(self.slabs(seen, shape, knots), defocus.shape[-2])  # of F_j and their coverages, (B, 4, rows, w)
        farthest, mixed = farthest_seen(defocus, seen), []
        steered, hints = self.kernels.steer(parts, defocus, features)  # (B, 3, h, w), (B, 16, h/2, w/2)
        for part in parts:
            rows = (..., part.rows, slice(None))
            coverages = [slab[:, 3:] for slab in part.thrown]
            kernels = self.kernels(part.knots, coverages, defocus[rows], steered[rows], farthest[rows])
            mixed.append(weigh([slab[:, :3] for slab in part.thrown], kernels))
        return torch.cat(mixed, 2), hints

    @staticmethod
    def slabs(seen: Surfaces, shape: ApertureShape = DISC, knots: list[float] | None = None) -> list[Slab]:
        """What each slab of both surfaces throws on the sensor, front to back; knots as of `forward`."""
        fixed = knots is not None
        if not fixed:
            knots = slab_knots(seen.near_defocus, seen.far_defocus)
        near = torch.cat([seen.near, seen.near_coverage], 1)  # (B, 4, h, w), light times coverage, and coverage
        far = torch.cat([seen.far, seen.far_coverage], 1)
        slabs = []
        for j, knot in enumerate(knots):
            near_weight, far_weight = slab_weight(seen.near_defocus, knots, j), slab_weight(seen.far_defocus, knots, j)
            first, last = (0, near.shape[-2]) if fixed else used_rows(near_weight + far_weight, knot, shape)
            if last == 0:
                continue
            rows = (..., slice(first, last), slice(None))
            slab = torch.addcmul(near[rows] * near_weight[rows], far[rows], far_weight[rows])  # (B, 4, rows, w)
            slabs.append(Slab(knot, first, blur(slab, knot, shape)))
        return slabs

    def recovered(self, light: Tensor) -> Tensor:
        """light (B, 3, h, w) linear, clipped -> as it was before; the tensor itself where nothing was lost."""
        dark = darkness(light)
        by_night, by_day = self.highlights(light, dark), light if self.gleams is None else self.gleams(light, dark)
        if by_night is light or by_day is light:
            return by_day if by_night is light else by_night
        return by_night * (by_day / light.clamp(min=1e-6))  # at dusk each does its share


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
        recovered: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As of `SlabLensBlur`, but the disc is baked into the weights, and lamps stay as they are."""
        if shape != DISC:
            raise ValueError('shape must be the default disc: lens_blur="convolutional" knows no other')
        shown = light.clamp(min=1e-6).sqrt()
        # differences from the pixel's own light, of zero sum over a flat neighbourhood: a constant image stays constant
        detail = self.features(shown - F.avg_pool2d(shown, 31, 1, 15, count_include_pad=False))  # (B, 3c, h, w)
        flat = self.features(torch.zeros_like(shown))
        features = light.repeat(1, self.features_per_pixel, 1, 1) + detail - flat
        hints = self.guide(torch.cat([shown, asinh(defocus), defocus.abs() / 16, subject], 1))  # (B, 16, h, w)
        kernels = torch.softmax(self.kernels(hints), 1)  # (B, c, h, w), sums to 1
        mixed = weigh(list(features.split(3, 1)), list(kernels.split(1, 1)))
        return mixed.clamp(min=0), halve(hints)

    @staticmethod
    def recovered(light: Tensor) -> Tensor:
        """The light itself."""
        return light


LENS_BLURS: dict[str, type[SlabLensBlur] | type[ConvolutionalLensBlur]] = {
    "slabs": SlabLensBlur,
    "convolutional": ConvolutionalLensBlur,
}
