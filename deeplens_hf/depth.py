"""Depth prediction: image -> disparity, foreground (Section 3.1 of the DeepLens report).

The first residual blocks of an ImageNet network (`layers/encoders.py`), the last stage atrous so that resolution is
kept, a pooling pyramid (Zhao et al., CVPR 2017), a decoder of upsampling layers, and two heads of three convolutions
each.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .disparity.fusion import agreed, precise, reshaped, span, standardise, without_hollows, without_rings
from .layers.encoders import ENCODERS, STRIDE, encode

BROAD_SIZE = 0.53  # of the working size: the mirrored photo is looked at there, for the broad shape of the scene,
BROAD_SHARE = 0.7  # in which that look has this say,
SUBJECT_SHARE = 0.5  # and this one in the broad shape of the subject
ANY_WAY_SIZE = 0.38  # of each of the four looks at what shows no up: there are three more of them


def working_size(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """(H, W) of a photo -> the (h, w) it is predicted at: the long side given, both multiples of the stride."""
    scale = long_side / max(size)
    h, w = (max(2, round(side * scale / STRIDE)) * STRIDE for side in size)
    return h, w


def normalise_disparity(disparity: Tensor, relief: Tensor | None = None) -> Tensor:
    """Stretch each map of the batch to [0, 1], (B, 1, H, W); a flat map becomes 0.5, the middle of the range.

    relief: (B, 1, 1, 1), the share of the range that its map gets, about the middle; None: all of it.
    """
    low, high = disparity.amin((1, 2, 3), keepdim=True), disparity.amax((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    apart = high - low
    whole = torch.where(apart > 1e-6, (disparity - low) / apart.clamp(min=1e-6), torch.full_like(disparity, 0.5))
    return whole if relief is None else 0.5 + (whole - 0.5) * relief


def conv(c_in: int, c_out: int, kernel: int = 3) -> nn.Sequential:
    """Convolution, group norm (its statistics do not depend on the batch, so one photo may fine-tune), ReLU."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False), nn.GroupNorm(8, c_out), nn.ReLU(inplace=True)
    )


class PyramidPooling(nn.Module):
    """What the whole photo says about each place: averages over 1, 2 x 2, 3 x 3 and 6 x 6 cells beside the features."""

    def __init__(self, channels: int, width: int, sizes: tuple[int, ...] = (1, 2, 3, 6)):
        super().__init__()
        self.sizes = sizes
        self.reduce = nn.ModuleList(nn.Conv2d(channels, width // 4, 1) for _ in sizes)
        self.merge = conv(channels + len(sizes) * (width // 4), width, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [
            F.interpolate(reduce(F.adaptive_avg_pool2d(x, size)), x.shape[-2:], mode="bilinear")
            for size, reduce in zip(self.sizes, self.reduce, strict=True)
        ]
        return self.merge(torch.cat([x, *pooled], 1))  # (B, width, h/16, w/16)


class Up(nn.Module):
    """One upsampling layer: twice the size, beside the encoder's features of that size."""

    def __init__(self, c_in: int, c_skip: int, c_out: int):
        super().__init__()
        self.mix = conv(c_in + c_skip, c_out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.mix(torch.cat([F.interpolate(x, skip.shape[-2:], mode="bilinear"), skip], 1))


def head(channels: int) -> nn.Sequential:
    """Three convolutions to one map."""
    return nn.Sequential(conv(channels, channels), conv(channels, 16), nn.Conv2d(16, 1, 3, padding=1))


class DepthPrediction(nn.Module):
    """image (B, 3, h, w), sides multiples of 16 -> disparity (B, 1, h, w) of free scale, foreground (B, 1, h, w).

    Args:
        encoder: a key of `encoders.ENCODERS`.
        width: channels of the deepest decoder level; each upsampling layer has fewer.
    """

    def __init__(self, encoder: str = "mobilenet_v2", width: int = 128):
        super().__init__()
        if encoder not in ENCODERS:
            raise ValueError(f"encoder must be one of {', '.join(ENCODERS)}; got {encoder!r}")
        self.encoder = ENCODERS[encoder]()
        c2, c4, c8, c16 = self.encoder.channels
        w8, w4, w2 = width * 3 // 4, width // 2, width // 4
        self.pyramid = PyramidPooling(c16, width)
        self.up = nn.ModuleList([Up(width, c8, w8), Up(w8, c4, w4), Up(w4, c2, w2)])
        self.disparity_head, self.foreground_head = head(w2), head(w2)

    def train(self, mode: bool = True) -> "DepthPrediction":
        """The encoder's batch norms keep their ImageNet statistics: batches here are too small for better ones."""
        super().train(mode)
        for module in self.encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        *skips, x = encode(self.encoder, image)
        x = self.pyramid(x)  # (B, width, h/16, w/16)
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = up(x, skip)  # ends at (B, width/4, h/2, w/2)
        disparity, subject = (
            F.interpolate(head(x), image.shape[-2:], mode="bilinear")
            for head in (self.disparity_head, self.foreground_head)
        )
        return disparity, torch.sigmoid(subject)  # enlarged first: its edge stays as sharp as the network drew it

    def infer(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, for people instead of training: a second look, small and mirrored, for the broad shape.

        One look's mistakes are seldom those of the other.
        """
        disparity, foreground = self(image)
        small, subject = (map.flip(-1) for map in self.look_broadly(image.flip(-1)))
        disparity = without_rings(reshaped(standardise(disparity), small, BROAD_SHARE))
        foreground = agreed(foreground, subject, SUBJECT_SHARE)
        return without_hollows(disparity, foreground), foreground

    def infer_any_way(self, image: Tensor, ways: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `infer`, of a photo (1, 3, h, w) that shows no up: turned by 0 to 3 quarters as probably as `ways`, (4,).

        Its broad shape is what four small looks expect, each as if that side were up. Also returns its relief,
        (1, 1, 1, 1): how much of the range that each of them sees is left in that, 1 = all, 0 = none, as of grass.
        """
        disparity, foreground = self(image)
        shape, subject, seen = torch.zeros_like(disparity), torch.zeros_like(disparity), disparity.new_zeros(1)
        for turns, probability in enumerate(ways):
            upright = self.look_broadly(torch.rot90(image, -turns, (2, 3)), ANY_WAY_SIZE)
            maps = torch.rot90(torch.cat(upright, 1), turns, (2, 3))
            shape, subject = shape + probability * maps[:, :1], subject + probability * maps[:, 1:]
            seen = seen + probability * span(upright[0])
        disparity = without_rings(reshaped(standardise(disparity), shape))
        foreground = agreed(foreground, subject, SUBJECT_SHARE)
        relief = span(shape) / seen.clamp(min=1e-6)
        return without_hollows(disparity, foreground), foreground, relief

    def look_broadly(self, image: Tensor, share: float = BROAD_SIZE) -> tuple[Tensor, Tensor]:
        """As `forward` of the picture (B, 3, h, w) at this share of its size; the disparity standardised."""
        disparity, foreground = look(self, image, round(share * max(image.shape[-2:])))
        return standardise(disparity), foreground


def resized(image: Tensor, long_side: int) -> Tensor:
    """image (B, 3, H, W) -> (B, 3, h, w): the working size of this long side."""
    size = working_size(image.shape[-2:], long_side)
    whole = precise(image)  # no antialiasing in half precision on a CPU
    return F.interpolate(whole, size, mode="bilinear", antialias=True).to(image.dtype)


def look(depth: DepthPrediction, image: Tensor, long_side: int) -> tuple[Tensor, Tensor]:
    """As `DepthPrediction.forward` of the image (B, 3, H, W) at this long side; the maps as large as the image."""
    disparity, foreground = (
        F.interpolate(map, image.shape[-2:], mode="bilinear") for map in depth(resized(image, long_side))
    )
    return disparity, foreground
