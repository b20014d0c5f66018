"""Flat scenes seen aslant: floors, walls and prints, whose disparity is a plane whatever is painted on them.

They teach that colour and shadow are no steps in depth. Most are floors, as in photos; some lie any way round.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image

from ..data import grey
from . import textures
from .mattes import Map

CANVAS = 256  # pixels of a texture's side
FINER = 2  # sample positions along each pixel's side
FLOORS = 0.7  # share of the scenes that are nearest below, more or less


def plane_scene(seed: int, size: int, photos: Sequence[Path] = (), masks: Sequence[Path] = ()) -> tuple[Map, Map]:
    """One scene, a pure function of its arguments: picture (size, size, 3) in sRGB, disparity (size, size) in [0, 1].

    Both float32; masks are those of any photos: shapes that are painted on. Raises ValueError for size < 32.
    """
    if size < 32:
        raise ValueError(f"size: must be at least 32, not {size}")
    rng = np.random.default_rng((seed, 11))
    side = (np.arange(size * FINER, dtype=np.float32) + 0.5) / (size * FINER) * 2 - 1
    x, y = np.meshgrid(side, side)  # (n, n) each, -1 to 1
    # inverse distance along the optical axis is affine in the picture: 1 in the middle, 1 + slope in the nearest corner
    turn, slope, focal = rng.uniform(0, 2 * math.pi), rng.uniform(0.12, 0.6), rng.uniform(1.2, 3.0)
    if rng.random() < FLOORS:
        turn = rng.normal(math.pi / 2, 0.6)
    gradient = np.array([math.cos(turn), math.sin(turn)], np.float32)
    gradient *= slope / np.abs(gradient).sum()
    inverse = 1 + gradient[0] * x + gradient[1] * y
    normal = np.array([*gradient * focal, 1.0])  # the plane: normal . (x / focal, y / focal, 1) / inverse = 1
    along = np.cross(normal, rng.normal(size=3))
    along /= np.linalg.norm(along)
    across = np.cross(normal / np.linalg.norm(normal), along)
    rays = np.stack([x / focal, y / focal, np.ones_like(x)]) / inverse  # (3, n, n), on the plane
    u, v = (np.tensordot(axis.astype(np.float32), rays, 1) * focal / 2 for axis in (along, across))
    density = textures.log_uniform(rng, 0.5, 6)  # repetitions of the texture across the picture
    light = _sample(_texture(rng, photos), u * density, v * density)
    for _ in range(int(rng.integers(0, 4)) if len(masks) else 0):
        painted, matte = _paint(rng, u, v, masks)
        light += matte[..., None] * (painted - light)
    light = light.reshape(size, FINER, size, FINER, 3).mean((1, 3))
    exposed = (light * (0.4 / max(float(np.quantile(light, 0.8)), 1e-3)) * rng.uniform(0.6, 1.4)).clip(0, 1)
    disparity = inverse.reshape(size, FINER, size, FINER).mean((1, 3))
    low, high = float(disparity.min()), float(disparity.max())
    return textures.encode(exposed), ((disparity - low) / (high - low)).astype(np.float32)


def _texture(rng: Generator, photos: Sequence[Path]) -> Map:
    """A pattern more often than a photo: on a photo its own depth would be seen."""
    if len(photos) and rng.random() < 0.15:
        return textures.photograph(rng, CANVAS, photos[rng.integers(len(photos))])
    ground = textures.pattern(rng, CANVAS)
    return ground * (0.6 + 0.8 * textures.noise(rng, CANVAS, rng.uniform(4, 64)))[..., None]


def _paint(rng: Generator, u: Map, v: Map, masks: Sequence[Path]) -> tuple[Map, Map]:
    """Somebody's outline on the plane: its colours (n, n, 3) and where it is (n, n)."""
    mask = grey(masks[rng.integers(len(masks))]).resize((CANVAS, CANVAS), Image.Resampling.BILINEAR)
    matte = np.asarray(mask, np.float32) / 255
    turn, scale = rng.uniform(0, 2 * math.pi), rng.uniform(0.8, 3)
    u, v = u - rng.uniform(-0.35, 0.35) - u.mean(), v - rng.uniform(-0.35, 0.35) - v.mean()
    s, t = (u * math.cos(turn) + v * math.sin(turn)) * scale, (v * math.cos(turn) - u * math.sin(turn)) * scale
    inside = (np.abs(s) < 0.5) & (np.abs(t) < 0.5)
    shape = _sample(matte[..., None], s + 0.5, t + 0.5)[..., 0] * inside
    colours = textures.colour(rng) * (0.8 + 0.4 * textures.noise(rng, CANVAS, 64))[..., None]
    return _sample(colours.astype(np.float32), s, t), shape


def _sample(texture: Map, u: Map, v: Map) -> Map:
    """Bilinear, (h, w, c) repeated as mirror images, one repetition a unit of u and v (n, n) -> (n, n, c)."""
    corners = []
    for at, length in ((v, texture.shape[0]), (u, texture.shape[1])):
        at = 1 - np.abs(at % 2 - 1)  # there and back
        at = at * (length - 1)
        first = at.astype(np.int32).clip(0, length - 2)
        corners.append((first, (at - first)[..., None]))
    (row, down), (column, right) = corners
    upper = texture[row, column] * (1 - right) + texture[row, column + 1] * right
    lower = texture[row + 1, column] * (1 - right) + texture[row + 1, column + 1] * right
    return (upper * (1 - down) + lower * down).astype(np.float32)
