"""What training scenes are painted with: linear light, drawn at random or cut from photos.

On a square canvas of `size` pixels: a texture is (H, W, 3) float32 in about [0, 1].
"""

import math
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from ...files.exif import upright_rgb
from ...optics import linear_to_srgb, srgb_to_linear
from .mattes import Map, glyphs


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """Between low and high, each doubling as likely as any other."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def noise(rng: Generator, size: int, coarsest: float) -> Map:
    """Sum of smooth noise from `coarsest` pixels down to about two, each octave fainter, scaled to [0, 1]: (H, W)."""
    total, cell, weight = np.zeros((size, size), np.float32), coarsest, 1.0
    fall = rng.uniform(0.4, 0.8)
    while cell >= 1.5:
        count = max(2, int(size / cell) + 2)
        grid = Image.fromarray(rng.random((count, count), np.float32))
        total += weight * np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))
        cell, weight = cell / 2, weight * fall
    return (total - total.min()) / max(float(np.ptp(total)), 1e-6)


def colour(rng: Generator) -> NDArray:
    """A random linear-light colour (3,), more often muted than pure."""
    saturation = rng.choice([0.15, 0.5, 1.0], p=[0.4, 0.4, 0.2])
    grey = rng.beta(1.3, 2.0)
    return np.clip(grey * (1 + saturation * rng.uniform(-1, 1, 3)), 0.002, 0.95)


def lamp_colour(rng: Generator) -> NDArray:
    """The colour of a lamp (3,), its brightest channel 1: warm to white as often as any other hue."""
    if rng.random() < 0.5:
        return np.array([1.0, rng.uniform(0.6, 1), rng.uniform(0.25, 1)])
    hue = rng.uniform(0.02, 1, 3) ** 2
    return hue / hue.max()


def pattern(rng: Generator, size: int) -> Map:
    """A procedural surface of two colours: smooth or grainy noise, stripes, checks, print or plain: (H, W, 3)."""
    kind = rng.choice(["plain", "noise", "grain", "stripes", "checks", "print"], p=[0.12, 0.3, 0.22, 0.12, 0.14, 0.1])
    y, x = np.mgrid[:size, :size].astype(np.float32)
    turn, step = rng.uniform(0, math.pi), rng.uniform(3, 40)
    u = (x * math.cos(turn) + y * math.sin(turn)) / step
    v = (y * math.cos(turn) - x * math.sin(turn)) / (step * rng.uniform(0.5, 2))
    ramp = step / 3  # antialiased edge between the two colours, in pixels
    first, second = colour(rng), colour(rng)
    if kind == "noise":
        mix = noise(rng, size, rng.uniform(16, 128))
    elif kind == "grain":
        mix = noise(rng, size, rng.uniform(2, 8))
    elif kind == "stripes":
        mix = np.clip(0.5 + ramp * np.sin(math.pi * u), 0, 1)
    elif kind == "checks":
        mix = np.clip(0.5 + ramp * np.sin(math.pi * u) * np.sin(math.pi * v), 0, 1)
    elif kind == "print":
        mix, first, second = glyphs(rng, size), 0.75 + 0.2 * first, 0.15 * second
    else:
        mix = np.zeros_like(x)
    unevenness = 1 + rng.uniform(0, 0.4) * (noise(rng, size, size / 2) - 0.5)
    return ((first + (second - first) * mix[..., None]) * unevenness[..., None]).astype(np.float32)


def decode(encoded: Map) -> Map:
    """sRGB values [0, 1] to linear light, as `optics.srgb_to_linear` does for tensors."""
    return srgb_to_linear(torch.from_numpy(np.ascontiguousarray(encoded))).numpy()


def encode(light: Map) -> Map:
    """Linear light [0, 1] to sRGB values, as `optics.linear_to_srgb` does for tensors: float32."""
    return linear_to_srgb(torch.from_numpy(np.ascontiguousarray(light, np.float32))).numpy()


def photograph(rng: Generator, size: int, path: Path) -> Map:
    """A random cut of a photo at a random scale, flipped and tinted, decoded to linear light: (H, W, 3)."""
    image = upright_rgb(path)
    least = size / min(image.size)  # the scale at which the photo just fills the canvas
    scale = least * rng.uniform(1.0, 1.6) if rng.random() < 0.6 else rng.uniform(0.4, 1.0)
    image = image.resize([max(32, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)
    encoded = np.asarray(image, np.float32) / 255
    if rng.random() < 0.5:
        encoded = encoded[:, ::-1]
    top, left = (int(rng.integers(0, max(side - size, 0) + 1)) for side in encoded.shape[:2])
    encoded = encoded[top : top + size, left : left + size]
    short = [(0, size - side) for side in encoded.shape[:2]]  # a photo smaller than the canvas goes on mirrored
    encoded = np.pad(encoded, [*short, (0, 0)], mode="symmetric")
    return decode(encoded) * rng.uniform(0.85, 1.15, 3).astype(np.float32)
