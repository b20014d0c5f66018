"""The photo's own grain, given back to what the lens blurs.

A sensor's noise comes after the lens, so a real picture is as grainy where it is blurred as where it is sharp. Blurring
a photo averages its noise away: a smooth background behind a grainy subject looks pasted. What the photo has is
measured where it is flat: how strong it is at each brightness, as film grain is told to a video decoder (Norkin and
Birkbeck, "Film Grain Synthesis for AV1 Video Codec", 2018), and its spectrum, of which noise of random phase is made
(Galerne, Gousseau and Morel, "Random Phase Textures", 2011).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.pooling import enlarge, window_mean

TILE = 20  # pixels a side of what is looked at for grain
FEWEST, ENOUGH = 64, 8192  # tiles: of fewer none may be flat, of more some are left out
FLATTEST = 0.02  # share of the tiles that are taken to show nothing but grain
AT_EACH = 0.05  # the same of those of one brightness, where there may be no flat thing;
MOST = 2.0  # so none is taken for more than so many times the grain of the flattest
LEVELS = 8  # of brightness
CLIPPED = 2 / 255  # so near to black or white a tile tells nothing
ROUNDING = 0.3 / 255  # what rounding to 8 bits alone leaves of a slope
MAX_GRAIN = 2.0  # times the photo's own
PATTERN = 512  # pixels after which the grain repeats itself
CELL = 4  # pixels a side of what is of one strength
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Grain:
    """What a photo's grain is like.

    Attributes:
        strength: (LEVELS,) standard deviation of its luma at each brightness, from black to white.
        pattern: (3, PATTERN, PATTERN) a piece of it that can be repeated, its luma of standard deviation 1.
    """

    strength: Tensor
    pattern: Tensor


def grain_of(photo: Tensor) -> Grain | None:
    """Measured in (1, 3, H, W), sRGB in [0, 1]; None where there is none to be seen, or no place to look for it.

    Of a photo that is flat nowhere, its finest texture passes for grain.
    """
    rows, columns = (side // TILE * TILE for side in photo.shape[-2:])
    every = max(1, round(math.sqrt(rows * columns / TILE**2 / ENOUGH)))
    tiles = photo[0, :, :rows, :columns].unflatten(2, (-1, TILE)).unflatten(1, (-1, TILE))  # (3, h, T, w, T)
    tiles = tiles[:, ::every, :, ::every].permute(1, 3, 0, 2, 4).flatten(0, 1)  # (N, 3, T, T)
    luma = _luma(tiles)
    least, most = luma.amin((1, 2, 3)), luma.amax((1, 2, 3))
    seen = (least > CLIPPED) & (most < 1 - CLIPPED) & (least < most)  # a frame of one colour is no part of the photo
    if seen.sum() < FEWEST:
        return None
    grains, brightness = _without_slopes(tiles[seen]), luma[seen].mean((1, 2, 3))
    deviation = _luma(grains).std((1, 2, 3))
    order = deviation.argsort()
    flattest = order[: max(FEWEST // 4, int(len(order) * FLATTEST))]
    usual = deviation[flattest].mean()
    if usual < ROUNDING:
        return None
    known, strengths = [], []  # the rest is as what is known next to it
    for level in range(LEVELS):
        of_level = order[(brightness[order] * LEVELS).long() == level]  # flattest first
        if len(of_level) >= FEWEST:
            known.append(level)
            strengths.append(float(deviation[of_level[: int(len(of_level) * AT_EACH)]].mean().clamp(max=MOST * usual)))
    strength = np.interp(range(LEVELS), known, strengths) if known else np.full(LEVELS, float(usual))
    return Grain(photo.new_tensor(strength), _pattern(grains[flattest]))


def with_grain(blurred: Tensor, photo: Tensor, grain: Grain, amount: float) -> Tensor:
    """The grain that the lens blur took, given back.

    Args:
        blurred, photo: (1, 3, H, W), sRGB in [0, 1]. What is as sharp in both stays as it is.
        grain: of the photo.
        amount: 1 is as in the photo, 0 none.
    """
    levels, pattern = grain.strength.to(photo), grain.pattern.to(photo)
    was, is_left = _luma(photo), _luma(blurred)
    brightness = (_cells(is_left) * LEVELS - 0.5).clamp(0, LEVELS - 1)  # (1, 1, h, w)
    darker = brightness.long().clamp(max=LEVELS - 2)
    strength = torch.lerp(levels[darker], levels[darker + 1], brightness - darker)
    strength = amount * strength * (1 - _kept(was, is_left, levels))
    strength = enlarge(strength, photo.shape[-2:], CELL)
    pattern = pattern.repeat(1, 1, -(-photo.shape[-1] // PATTERN))[..., : photo.shape[-1]]
    rows = [strip + here * pattern[:, : strip.shape[-2]] for strip, here in _strips(blurred, strength)]
    return torch.cat(rows, -2).clamp_(0, 1)


def _strips(*maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """As many rows at a time as the pattern has: a large photo takes no copy of itself more."""
    return zip(*(each.split(PATTERN, -2) for each in maps), strict=True)


def _kept(was: Tensor, is_left: Tensor, levels: Tensor) -> Tensor:
    """How much of the photo's fine detail, grain or not, is left: lumas (1, 1, H, W) -> (1, 1, h, w) in [0, 1].

    The slope of the one over the other within a window. Edges count no more than grain does, or what lies beside
    something sharp would be taken for sharp.
    """
    most = 3 * levels.max()
    was, is_left = ((luma - window_mean(luma, 1)).clamp_(-most, most) for luma in (was, is_left))
    product, square = (window_mean(_cells(each), 1) for each in (was * is_left, was * was))
    least = 1e-3 * levels.square().mean()  # of what shows nothing, nothing is lost
    return ((product + least) / (square + least)).clamp(0, 1)


def _cells(x: Tensor) -> Tensor:
    """Means of CELL x CELL: (1, 1, H, W) -> (1, 1, h, w), rounded up."""
    return F.avg_pool2d(x, CELL, ceil_mode=True, count_include_pad=False)


def _pattern(grains: Tensor) -> Tensor:
    """Noise with the colours and the spectrum of (N, 3, T, T): (3, PATTERN, PATTERN), of luma 1.

    White noise times the square root of the grains' mean cross-spectrum, which makes channels go together as they do.
    """
    window = torch.hann_window(TILE).to(grains)  # or what lies at one side of a tile would be beside the other
    spectrum = torch.fft.fft2(grains * window * window[:, None])
    cross = torch.einsum("ncij,ndij->ijcd", spectrum, spectrum.conj()) / len(grains)  # (T, T, 3, 3)
    values, vectors = torch.linalg.eigh(cross)
    root = vectors * values.clamp(min=0).sqrt().unsqueeze(-2) @ vectors.mH
    kernel = torch.fft.fftshift(torch.fft.ifft2(root, dim=(0, 1)).real, (0, 1)).permute(2, 3, 0, 1)  # (3, 3, T, T)
    white = torch.randn(3, PATTERN, PATTERN, generator=torch.Generator().manual_seed(0)).to(grains)
    kernels = torch.fft.rfft2(kernel, s=(PATTERN, PATTERN))
    pattern = torch.fft.irfft2((kernels * torch.fft.rfft2(white)).sum(1), s=(PATTERN, PATTERN))
    return pattern / _luma(pattern[None]).std()


def _without_slopes(tiles: Tensor) -> Tensor:
    """Each channel of each tile less the plane that fits it best: (N, 3, T, T) -> the same."""
    ramp = torch.linspace(-1, 1, TILE, device=tiles.device, dtype=tiles.dtype)
    across, down = ramp.expand(TILE, TILE), ramp[:, None].expand(TILE, TILE)
    tiles = tiles - tiles.mean((2, 3), keepdim=True)
    for slope in (across, down):
        tiles = tiles - slope * (tiles * slope).mean((2, 3), keepdim=True) / slope.square().mean()
    return tiles


def _luma(colours: Tensor) -> Tensor:
    """(N, 3, H, W), sRGB -> (N, 1, H, W)."""
    return (colours * colours.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
