"""People in scenes of exact depth: cut out of photos, set on the ground, as far away as the ground at their feet.

What is rendered or ray-cast shows no people, and a network that learns depth from it alone lets them lean back. Where a
scene is flat about a place and recedes upwards, it is ground; who stands there has its disparity from foot to head, and
what is nearer hides them.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ..files.exif import upright_rgb
from .data import PhotoRecord, grey

FLAT = 0.012  # of the range: what departs no more from a plane is ground
TRIES = 100  # places looked at for a person


def standing(
    image: NDArray[np.uint8], disparity: NDArray[np.uint8], people: list[PhotoRecord], draw: Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """image (H, W, 3), disparity (H, W) of a scene -> both with one to three people, and where they are (H, W)."""
    depth = disparity.astype(np.float32) / 255
    picture, seen = Image.fromarray(image), np.zeros_like(depth)
    ratio = draw.uniform(0.5, 1.6)  # people's height by the height of the camera
    for _ in range(int(draw.choice([1, 2, 3], p=[0.55, 0.3, 0.15]))):
        cutout = cut_out(people[draw.integers(len(people))], draw)
        place = cutout and find_place(depth, cutout, ratio * draw.uniform(0.8, 1.2), draw)
        if not place:
            continue
        (person, matte, _), (size, at, level) = cutout, place
        layers = Image.new("RGB", picture.size), Image.new("L", picture.size)
        for layer, part in zip(layers, (person, matte), strict=True):
            layer.paste(part.resize(size, Image.Resampling.BILINEAR), at)
        alpha = np.asarray(layers[1].filter(ImageFilter.GaussianBlur(0.6))).astype(np.float32) / 255
        alpha = alpha * (depth < level + FLAT)  # what is nearer hides them
        picture = Image.composite(layers[0], picture, Image.fromarray((alpha * 255).astype(np.uint8)))
        depth, seen = np.where(alpha > 0.5, level, depth), np.maximum(seen * (alpha < 0.5), alpha)
    depth = (depth - depth.min()) / max(np.ptp(depth), 1e-6)
    return np.asarray(picture), (depth * 255).round().astype(np.uint8), (seen * 255).round().astype(np.uint8)


def cut_out(record: PhotoRecord, draw: Generator) -> tuple[Image.Image, Image.Image, bool] | None:
    """A person, their matte, of one size, and whether they are seen to their feet; None if the mask is empty."""
    matte = grey(record.foreground)
    box = matte.point(lambda value: 255 * (value > 127)).getbbox()
    if box is None:
        return None
    person = upright_rgb(record.photo).resize(matte.size, Image.Resampling.BICUBIC)
    whole = box[3] < 0.97 * matte.height
    person, matte = person.crop(box), matte.crop(box)
    if draw.random() < 0.5:
        person, matte = (each.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for each in (person, matte))
    return person, matte, whole


def find_place(
    depth: NDArray[np.float32], cutout: tuple[Image.Image, Image.Image, bool], ratio: float, draw: Generator
) -> tuple[tuple[int, int], tuple[int, int], float] | None:
    """Size, upper left corner and disparity of somebody on the ground; None if there is no place for them."""
    height, width = depth.shape
    _, matte, whole = cutout
    share = 1.0 if whole else draw.uniform(0.25, 0.9)  # of the person, from the head down, that the photo showed
    for _ in range(TRIES):
        place = ground(depth, draw)
        if place is None:
            continue
        foot, column, level, slope = place
        tall = ratio * min(level / slope, 1.5 * height)  # pixels: the horizon lies where disparity is 0
        seen = share * tall
        wide = seen * matte.width / matte.height
        if not (0.15 < tall / height < 2.5 and 4 < wide < 1.2 * width):
            continue
        if not whole and foot - tall + seen < height:  # what the photo cut off, the frame has to cut off
            continue
        return (round(wide), round(seen)), (column - round(wide / 2), round(foot - tall)), level
    return None


def ground(depth: NDArray[np.float32], draw: Generator) -> tuple[float, int, float, float] | None:
    """Where somebody may stand: row (below the frame too), column, disparity and its slope; None if not here."""
    height, width = depth.shape
    half = max(3, width // 48)
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    row, column = draw.integers(height // 4, height - half), draw.integers(half, width - half)
    window = depth[row - half : row + half + 1, column - half : column + half + 1]
    level = window.mean()  # a least-squares plane: over a square both slopes are independent
    slope, aside = ((each * window).sum() / (each**2).sum() for each in (rows, columns))
    flat = np.abs(window - level - slope * rows - aside * columns).max() < FLAT
    if not flat or slope * height < 0.15 or abs(aside) > 0.4 * slope:
        return None
    beyond = draw.uniform(0, 1.2) * height if row > 0.75 * height and draw.random() < 0.6 else 0.0
    return row + beyond, int(column), float(level + slope * beyond), float(slope)
