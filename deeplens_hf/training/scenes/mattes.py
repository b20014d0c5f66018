"""The shapes that training scenes are cut from: soft mattes, drawn at random.

Every function draws on a square canvas of `size` pixels and returns (H, W) float32 in [0, 1]. It draws at four times
the size and averages down, so that a strand thinner than a pixel gets its true coverage.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ...files.exif import upright_rgb
from ..data import grey

Map = NDArray[np.float32]
SUPERSAMPLING = 4


def raster(size: int, draw: Callable[[ImageDraw.ImageDraw], None], background: int = 0) -> Map:
    """Run `draw` (coordinates in canvas pixels times SUPERSAMPLING) and average down to (size, size) in [0, 1]."""
    image = Image.new("L", (size * SUPERSAMPLING, size * SUPERSAMPLING), background)
    draw(ImageDraw.Draw(image))
    return np.asarray(image.reduce(SUPERSAMPLING), np.float32) / 255


def polygon_matte(size: int, outlines: list[NDArray]) -> Map:
    """Filled outlines, each (N, 2) of x, y in pixels -> (H, W)."""
    scaled = [(outline * SUPERSAMPLING).astype(np.float32) for outline in outlines]
    return raster(size, lambda pen: [pen.polygon(list(map(tuple, o)), fill=255) for o in scaled] and None)


def soften(matte: Map, sigma: float) -> Map:
    """Gaussian-blurred matte: the softness of a camera's pixel, or of cloth and skin."""
    if sigma <= 0:
        return matte
    image = Image.fromarray((matte * 255).round().astype(np.uint8)).filter(ImageFilter.GaussianBlur(float(sigma)))
    return np.asarray(image, np.float32) / 255


def blob(rng: Generator, size: int, at: tuple[float, float], reach: float) -> Map:
    """A smooth closed shape about `at` (x, y): a circle, an ellipse or a wavy potato of radius `reach` pixels."""
    angle = np.linspace(0, 2 * math.pi, 128, endpoint=False)
    waves = rng.choice([0.0, 0.08, 0.25]) * rng.normal(size=6) / np.arange(1, 7)
    phases = rng.uniform(0, 2 * math.pi, 6)
    wobble = waves[:, None] * np.cos(np.arange(2, 8)[:, None] * angle + phases[:, None])  # (6, 128)
    radius = reach * (1 + wobble.sum(0))
    turn, squeeze = rng.uniform(0, math.pi), rng.choice([1.0, rng.uniform(0.4, 1.0)])
    x, y = radius * np.cos(angle), radius * squeeze * np.sin(angle)
    outline = np.stack([x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)], -1)
    return polygon_matte(size, [outline + at])


def facets(rng: Generator, size: int, at: tuple[float, float], reach: float) -> Map:
    """A straight-edged shape: books, boxes, houses, shards."""
    corners = int(rng.choice([3, 4, 4, 4, 5, 7]))
    angle = np.arange(corners) * 2 * math.pi / corners + rng.uniform(-0.4, 0.4, corners) + rng.uniform(0, math.pi)
    radius = reach * rng.uniform(0.6, 1.2, corners)
    return polygon_matte(size, [np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1) + at])


def vessel(rng: Generator, size: int, at: tuple[float, float], reach: float) -> Map:
    """A bottle, vase, cup or bollard: an upright profile mirrored about its axis, flat at the foot."""
    heights = np.linspace(-1, 1, 40)
    knots = rng.uniform(0.12, 0.55, int(rng.integers(2, 6)))
    width = np.interp(heights, np.linspace(-1, 1, len(knots)), knots)
    width = np.convolve(np.pad(width, 3, mode="edge"), np.ones(7) / 7, "valid")  # (40,)
    right = np.stack([width, heights], -1)
    outline = np.concatenate([right, right[::-1] * (-1, 1)]) * reach
    matte = polygon_matte(size, [outline + at])
    if rng.random() < 0.3:  # a handle, open in the middle
        ring = (at[0] + reach * width.mean() * rng.choice([-1, 1]), at[1] + reach * rng.uniform(-0.4, 0.3))
        outer, inner = reach * rng.uniform(0.2, 0.4), reach * rng.uniform(0.1, 0.16)
        matte = np.maximum(matte, disc_matte(size, ring, outer) - disc_matte(size, ring, outer - inner))
    return matte


def disc_matte(size: int, at: tuple[float, float], radius: float) -> Map:
    """Antialiased disc: clamp(radius + 1/2 - distance, 0, 1)."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return np.clip(radius + 0.5 - np.hypot(x - at[0], y - at[1]), 0, min(1.0, math.pi * radius**2))


def silhouette(
    rng: Generator, size: int, mask: Path, at: tuple[float, float], reach: float, photo: Path | None = None
) -> tuple[Map, Map | None]:
    """A subject out of a foreground mask (white = subject), its longer half side scaled to `reach`.

    Returns its matte (H, W) and, given the mask's `photo`, the subject's own look: (H, W, 3), sRGB [0, 1].
    """
    subject = grey(mask)
    box = subject.point(lambda value: 255 if value > 127 else 0).getbbox()
    if box is None:
        return blob(rng, size, at, reach), None
    scale = 2 * reach / max(box[2] - box[0], box[3] - box[1])
    wide, high = (max(2, round(side * scale)) for side in (box[2] - box[0], box[3] - box[1]))
    corner = (round(at[0] - wide / 2), round(at[1] - high / 2))
    flip = rng.random() < 0.5

    def place(picture: Image.Image, mode: str) -> Map:
        factor = picture.width / subject.width, picture.height / subject.height
        part = tuple(edge * factor[i % 2] for i, edge in enumerate(box))
        picture = picture.resize((wide, high), Image.Resampling.BICUBIC, box=part)
        canvas = Image.new(mode, (size, size))
        canvas.paste(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else picture, corner)
        return np.asarray(canvas, np.float32) / 255

    # Enlarging a small mask widens its ramp: bring the edge back to a pixel or two, and in, clear of the old backdrop.
    matte = np.clip((place(subject, "L") - 0.6) * max(scale, 1.0) + 0.5, 0, 1)
    if photo is None:
        return matte, None
    return matte, place(upright_rgb(photo), "RGB")


def _curve(rng: Generator, start: NDArray, direction: NDArray, length: float, droop: float) -> NDArray:
    """Quadratic curve from `start`, (12, 2): leaves along `direction`, then falls by `droop`."""
    t = np.linspace(0, 1, 12)[:, None]
    bend = rng.normal(0, 0.25, 2) * length
    return start + direction * length * t + (bend + (0, droop)) * t**2


def hair(rng: Generator, size: int, at: tuple[float, float], reach: float) -> tuple[Map, Map]:
    """Tens of strands 0.5 to 2 pixels wide about a head -> matte, shade (H, W) by strand."""
    head = reach * rng.uniform(0.35, 0.7)
    count, droop = int(rng.integers(40, 400)), reach * rng.choice([rng.uniform(0, 0.5), rng.uniform(0.5, 1.8)])
    spread = rng.uniform(1.2, 3.2)
    width = rng.uniform(0.5, 2.0)
    strands = []
    for angle in -math.pi / 2 + rng.uniform(-spread, spread, count):
        outward = np.array([math.cos(angle), math.sin(angle)])
        start = np.array(at) + outward * head * rng.uniform(0.5, 0.95)
        line = _curve(rng, start, outward, reach * rng.uniform(0.2, 0.8), droop * rng.uniform(0.2, 1))
        wide = max(2, round(SUPERSAMPLING * width * rng.uniform(0.5, 1.2)))
        strands.append((list(map(tuple, line * SUPERSAMPLING)), wide))
    matte = raster(size, lambda pen: [pen.line(s, fill=255, width=w) for s, w in strands] and None)
    shades = rng.integers(60, 256, count)

    def paint(pen: ImageDraw.ImageDraw) -> None:
        for (strand, wide), value in zip(strands, shades, strict=True):
            pen.line(strand, fill=int(value), width=wide)

    shade = raster(size, paint, background=150)
    skull = soften(disc_matte(size, at, head), 0.7)
    return np.maximum(matte, skull), shade


def foliage(rng: Generator, size: int) -> tuple[Map, Map]:
    """Leaves, many and small, denser at one side or about a bush -> matte (H, W), shade (H, W) leaf by leaf."""
    leaf = rng.uniform(2.5, 12)
    count = int(min(rng.uniform(0.15, 1.5) * size**2 / leaf**2 / 1.5, 1500))
    centres = rng.uniform(-10, size + 10, (count, 2))
    if rng.random() < 0.7:  # a bush or a bough instead of an even carpet
        centres = rng.uniform(0, size, 2) + rng.normal(size=(count, 2)) * size * rng.uniform(0.12, 0.45, 2)
    length = leaf * rng.uniform(0.6, 1.5, (count, 1))
    slim = length * rng.uniform(0.25, 0.7, (count, 1))
    turn = rng.normal(rng.uniform(0, math.pi), rng.uniform(0.3, 2), (count, 1))
    angle = np.linspace(0, 2 * math.pi, 12, endpoint=False)[None]
    x, y = length * np.cos(angle), slim * np.sin(angle)
    outlines = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], -1)
    points = [list(map(tuple, outline)) for outline in (outlines + centres[:, None]) * SUPERSAMPLING]
    shades = rng.integers(40, 256, count)
    matte = raster(size, lambda pen: [pen.polygon(p, fill=255) for p in points] and None)

    def paint(pen: ImageDraw.ImageDraw) -> None:
        for leaf_points, value in zip(points, shades, strict=True):
            pen.polygon(leaf_points, fill=int(value))

    shade = raster(size, paint, background=140)
    return matte, shade


def lattice(rng: Generator, size: int) -> Map:
    """A fence, net or grille: one or two sets of parallel bars, right across the picture."""
    turn, bars = rng.uniform(0, math.pi), []
    for angle in (turn, turn + rng.uniform(0.8, 2.3))[: int(rng.integers(1, 3))]:
        step, width = rng.uniform(8, 45), rng.uniform(0.8, 6)
        along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
        for offset in np.arange(-size, size, step):
            middle = size / 2 + across * (offset + rng.normal(0, 0.5))
            ends = [tuple((middle + end * along) * SUPERSAMPLING) for end in (-size, size)]
            bars.append((ends, round(width * SUPERSAMPLING)))
    return raster(size, lambda pen: [pen.line(ends, fill=255, width=w) for ends, w in bars] and None)


def wires(rng: Generator, size: int) -> Map:
    """A few thin bent wires, twigs or cables, 0.6 to 4 pixels wide."""
    lines = []
    for _ in range(int(rng.integers(1, 9))):
        start, angle = rng.uniform(-0.1, 1.1, 2) * size, rng.uniform(0, 2 * math.pi)
        line = _curve(rng, start, np.array([math.cos(angle), math.sin(angle)]), size * rng.uniform(0.3, 1.4), 0)
        lines.append((list(map(tuple, line * SUPERSAMPLING)), round(SUPERSAMPLING * rng.uniform(0.6, 4))))
    return raster(size, lambda pen: [pen.line(p, fill=255, width=w, joint="curve") for p, w in lines] and None)


def windows(rng: Generator, size: int) -> Map:
    """Rows of windows, few to most of them lit: a house front at night, over a part of the picture."""
    wide, high = np.exp(rng.uniform(math.log(2), math.log(size / 10), 2))
    lit = rng.uniform(0.2, 0.9)
    left, right, top, bottom = *np.sort(rng.uniform(0, size, 2)), *np.sort(rng.uniform(0, size, 2))
    corners = [
        np.array((x, y))
        for x in np.arange(left, right, wide * rng.uniform(1.3, 2.5))
        for y in np.arange(top, bottom, high * rng.uniform(1.3, 2.5))
        if rng.random() < lit
    ]
    frame = np.array([(0, 0), (wide, 0), (wide, high), (0, high)])
    return polygon_matte(size, [frame + corner for corner in corners])


@lru_cache(maxsize=64)
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(height)


def glyphs(rng: Generator, size: int) -> Map:
    """Rows of letters, turned a little: print, signs, labels. 1 = ink."""
    side = int(size * 1.5)  # room to turn in
    page, y = Image.new("L", (side, side)), 0
    pen, body = ImageDraw.Draw(page), int(rng.integers(8, 30))
    letters = "abcdefghiklmnoprstuvwxyzaeiou     ABCDEFGHKLMNRST0123456789,.-"
    while y < side:
        height = int(body * rng.choice([1, 1, 1, 1, 2.5]))
        text = "".join(rng.choice(list(letters), 6 + int(2.4 * side / height)))
        pen.text((int(rng.integers(0, 12)), y), text, fill=255, font=_font(height))
        y += int(height * rng.uniform(1.1, 1.6))
    page = page.rotate(rng.choice([0, rng.uniform(-25, 25), rng.uniform(0, 360)]), Image.Resampling.BICUBIC)
    start = (side - size) // 2
    return np.asarray(page, np.float32)[start : start + size, start : start + size] / 255
