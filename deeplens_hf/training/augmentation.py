"""What befalls a sample: cut, flipped, shadowed, painted on, and as another camera sees it."""

import io
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from .data import to_tensor

SHADOWED = 0.12  # share of the samples that a shadow of something unseen falls on
CAST = 0.3  # share of those with a foreground in which it casts a shadow on what is behind it
PAINTED = 0.1  # share of the samples that something is painted on
UPSIDE_DOWN = 0.05  # share of the samples: "low in the picture" is not "near"


@dataclass
class Picture:
    """A sample before augmentation: the maps have one size, the photo any. A map that is not known is None."""

    image: Image.Image
    disparity: Image.Image | None
    foreground: Image.Image | None


def augment(picture: Picture, shape: tuple[int, int], draw: Generator) -> dict[str, Tensor]:
    """Cut, flip and recolour: the same part of all maps at `shape` (h, w), squeezed by up to 5:4."""
    h, w = shape
    width, height = picture.image.size
    aspect = w / h * float(np.exp(draw.uniform(-0.22, 0.22)))
    part = (min(1.0, aspect * height / width), min(1.0, width / height / aspect))  # the largest of this shape, relative
    zoom = draw.uniform(0.45, 1.0) if draw.random() < 0.65 else 1.0
    part = (part[0] * zoom, part[1] * zoom)
    left, top = draw.uniform(0, 1 - part[0] + 1e-9), draw.uniform(0, 1 - part[1] + 1e-9)
    flip, upside_down = draw.random() < 0.5, draw.random() < UPSIDE_DOWN

    def cut(map: Image.Image, resample: Image.Resampling) -> Image.Image:
        box = (left * map.width, top * map.height, (left + part[0]) * map.width, (top + part[1]) * map.height)
        box = (*box[:2], min(box[2], map.width), min(box[3], map.height))
        map = map.resize((w, h), resample, box=box, reducing_gap=2.0)
        map = map.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else map
        return map.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if upside_down else map

    blank, sample = torch.zeros(1, h, w), {}
    for name in ("disparity", "foreground"):
        map = getattr(picture, name)
        sample[name] = blank if map is None else to_tensor(cut(map, Image.Resampling.BILINEAR))
        sample[f"has_{name}"] = torch.tensor(float(map is not None))
    image = cut(picture.image, Image.Resampling.BICUBIC)
    image = _shadowed(image, draw) if draw.random() < SHADOWED else image
    subject = Image.fromarray((sample["foreground"][0] * 255).byte().numpy())
    image = _cast(image, subject, draw) if draw.random() < CAST else image
    image = _painted(image, subject, draw) if draw.random() < PAINTED else image
    image = recolour(image, draw, 0.35)
    return sample | {"image": _camera(to_tensor(image), draw)}


def _shadowed(image: Image.Image, draw: Generator) -> Image.Image:
    """With a shadow of some polygon, hard or soft, over whatever is there: its edges are none of depth."""
    shadow = _polygon(image.size, draw.uniform(0.15, 0.6), draw).filter(ImageFilter.GaussianBlur(draw.uniform(0, 4)))
    return Image.composite(ImageEnhance.Brightness(image).enhance(draw.uniform(0.3, 0.8)), image, shadow)


def _cast(image: Image.Image, subject: Image.Image, draw: Generator) -> Image.Image:
    """With the subject's own shadow beside it, sheared and stretched as by a low sun: no part of the subject."""
    box = subject.getbbox()
    if box is None:
        return image
    middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    reach = np.array([box[2] - box[0], box[3] - box[1]]) * draw.uniform(0.05, 0.45)
    angle = draw.uniform(0, 2 * np.pi)
    to_subject = np.eye(2) * draw.uniform(0.8, 1.25) + draw.normal(0, 0.2, (2, 2))  # from the shadow's pixels
    offset = middle - to_subject @ (middle + reach * (np.cos(angle), np.sin(angle)))
    affine = np.column_stack([to_subject, offset]).ravel().tolist()
    shadow = subject.transform(image.size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    shadow = ImageChops.subtract(shadow.filter(ImageFilter.GaussianBlur(draw.exponential(1.5))), subject)
    return Image.composite(ImageEnhance.Brightness(image).enhance(draw.uniform(0.2, 0.7)), image, shadow)


def _painted(image: Image.Image, subject: Image.Image, draw: Generator) -> Image.Image:
    """With a polygon, or strokes from one place as of fingers, painted or dyed on what is behind the subject: flat."""
    size, colour = np.array(image.size), tuple(draw.integers(20, 236, 3).tolist())
    if draw.random() < 0.5:
        shape = _polygon(image.size, draw.uniform(0.1, 0.3), draw)
    else:
        shape, width = Image.new("L", image.size), max(size) * draw.uniform(0.03, 0.1)
        start, reach = draw.uniform(0.1, 0.9, 2) * size, max(size) * draw.uniform(0.15, 0.5)
        for angle in draw.uniform(0, 2 * np.pi) + draw.uniform(0, np.pi, draw.integers(1, 7)):
            end = start + reach * np.array([np.cos(angle), np.sin(angle)]) * draw.uniform(0.6, 1)
            ImageDraw.Draw(shape).line([tuple(start.tolist()), tuple(end.tolist())], 255, max(2, round(width)))
    paint = Image.new("RGB", image.size, colour)
    if draw.random() < 0.5:  # what is there shows through
        paint = ImageOps.colorize(ImageOps.autocontrast(image.convert("L")), "black", "white", mid=colour)
    opacity = draw.uniform(0.6, 1)
    return Image.composite(paint, image, ImageChops.subtract(shape.point(lambda value: value * opacity), subject))


def _polygon(size: tuple[int, int], reach: float, draw: Generator) -> Image.Image:
    """Some polygon's mask, anywhere in a picture of `size` (w, h); its radius `reach` is a share of the long side."""
    shape = Image.new("L", size)
    angles = np.sort(draw.uniform(0, 2 * np.pi, draw.integers(3, 8)))
    directions = np.stack([np.cos(angles), np.sin(angles)], 1)  # (corners, 2)
    corners = max(size) * reach * draw.uniform(0.5, 1.2, len(angles))[:, None] * directions
    corners += draw.uniform(0, 1, 2) * size
    ImageDraw.Draw(shape).polygon([tuple(each) for each in corners.tolist()], fill=255)
    return shape


def recolour(image: Image.Image, draw: Generator, strength: float) -> Image.Image:
    """Brightness, contrast and saturation, each by up to a factor of 1 + strength."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(float((1 + strength) ** draw.uniform(-1.2, 1)))
    if draw.random() < 0.12:  # soft, or seen through a strong compression
        image = image.filter(ImageFilter.GaussianBlur(draw.uniform(0.3, 1.2)))
    if draw.random() < 0.12:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(draw.integers(25, 70)))
        image = Image.open(file).convert("RGB")
    return image


def _camera(image: Tensor, draw: Generator) -> Tensor:
    """White balance, gamma, noise, now and then black and white: (3, h, w) -> (3, h, w) in [0, 1]."""
    gains = torch.tensor(np.exp(draw.normal(0, 0.07, (3, 1, 1))), dtype=torch.float32)
    image = (image * gains).clamp(0, 1) ** float(np.exp(draw.normal(0, 0.15)))
    if draw.random() < 0.08:
        image = image.mean(0, keepdim=True).expand(3, -1, -1)
    if draw.random() < 0.25:
        image = image + torch.from_numpy(draw.normal(0, draw.uniform(0, 0.04), image.shape).astype(np.float32))
    return image.clamp(0, 1).contiguous()
