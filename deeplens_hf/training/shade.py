"""Shadows of things outside the picture: darker, a little bluer, and no step in depth."""

import math

from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .textures import log_uniform


def cast_shadow(image: Image.Image, draw: Generator) -> Image.Image:
    """An RGB picture, part of whose light is kept off; hard or soft, or with light through an opening instead."""
    width, height = image.size
    shadow = Image.new("L", image.size)
    for _ in range(int(draw.integers(1, 4))):
        x, y, turn = draw.uniform(0, width), draw.uniform(0, height), draw.uniform(0, math.pi)
        long = draw.uniform(0.08, 0.5) * max(width, height)
        short = long * draw.uniform(0.2, 1)
        corners = []
        for angle in sorted(draw.uniform(0, 2 * math.pi, int(draw.integers(4, 24)))):
            along, across = long * math.cos(angle), short * math.sin(angle)
            corners.append(
                (
                    x + along * math.cos(turn) - across * math.sin(turn),
                    y + along * math.sin(turn) + across * math.cos(turn),
                )
            )
        ImageDraw.Draw(shadow).polygon(corners, fill=255)
    if draw.random() < 0.25:
        shadow = ImageChops.invert(shadow)
    shadow = shadow.filter(ImageFilter.GaussianBlur(log_uniform(draw, 0.4, 8)))
    left = draw.uniform(0.1, 0.6)  # of the light, in the shadow: what the sky gives
    factors = [(left * tint) ** (1 / 2.2) for tint in (0.95, 1.0, draw.uniform(1.0, 1.25))]
    dark = image.point([min(255, round(value * factor)) for factor in factors for value in range(256)])
    return Image.composite(dark, image, shadow)
