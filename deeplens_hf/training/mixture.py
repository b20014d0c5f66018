"""What the depth stage learns from, mixed: labelled photos, collages of people, scenes with exact depth."""

import io
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from .data import PEOPLE, PhotoRecord, grey, to_tensor
from .ensemble import EnsembledLabels
from .labels import sharpen, thin_parts
from .scenes.exact import ExactScenes
from .standing import cut_out, standing

UPRIGHT = ((256, 192), (288, 192), (352, 256), (448, 304))
SHAPES = ((224, 224), *UPRIGHT, *((w, h) for h, w in UPRIGHT))  # (h, w), one a batch
SHADOWED = 0.12  # share of the samples that a shadow falls on
PAINTED = 0.1  # share of the samples that something is painted on
MASKS, MOST_THIN = 300, 0.4  # pixels at which masks are compared by their thin parts, and the most that count
UPSIDE_DOWN = 0.05  # share of the samples: "low in the picture" is not "near"
PLACES = ("urban_sun", "wallpaper", "deep_photo_style", "opensfm")  # groups of photos without a subject of their own


KINDS = ("photos", "collage", "tabletop", "layered", "plane", "lit", "standing")


@dataclass(frozen=True)
class Sources:
    """How much of each source a batch holds, in parts; 0 leaves it out."""

    photos: float = 0.5
    collage: float = 0.14
    tabletop: float = 0.24
    layered: float = 0.12
    plane: float = 0.0
    lit: float = 0.0
    standing: float = 0.0  # people set into lit scenes
    people: float = 0.5  # share of `photos` that is drawn from those with hand-drawn masks
    subjects: float = 0.0  # share of the others that is drawn from those with other masks
    sharpened: float = 0.0  # share of photos whose labels are brought to the photo's edges: it costs edge F

    @classmethod
    def parse(cls, text: str) -> "Sources":
        """ "photos=1,collage=0" -> Sources; what is not named keeps its default.

        Raises:
            ValueError: an unknown name, a part below 0, a share above 1, or nothing left to draw from.
        """
        known = [each.name for each in fields(cls)]
        given = {}
        for item in filter(None, text.split(",")):
            name, _, value = item.partition("=")
            try:
                given[name.strip()] = float(value)
            except ValueError:
                raise ValueError(f"sources must be like photos=0.5,collage=0.2; got {item!r}") from None
            if name.strip() not in known or not 0 <= given[name.strip()] <= 1:
                raise ValueError(f"sources must be from 0 to 1 for {', '.join(known)}; got {item!r}")
        sources = cls(**given)
        if not sum(getattr(sources, kind) for kind in KINDS):
            raise ValueError("sources must leave something to learn from")
        return sources


@dataclass
class Picture:
    """A sample before augmentation: the maps have one size, the photo any. A map that is not known is None."""

    image: Image.Image
    disparity: Image.Image | None
    foreground: Image.Image | None


class DepthMixture(Dataset):
    """Position in the run -> augmented sample. A pure function of (seed, position), so that a run can resume anywhere.

    Samples: image (3, h, w), disparity (1, h, w), foreground (1, h, w), has_disparity (), has_foreground (); (h, w)
    is one of SHAPES for each `batch_size` positions in a row. There are `tabletops` and
    `scenes` (layered) different ones; planes are drawn, not kept; `lit`: see `ExactScenes`. labels: of the photos, in
    place of the teacher's. Afterwards `sources` has no part that the photos cannot give; ValueError if none is left.
    """

    def __init__(
        self,
        records: list[PhotoRecord],
        cache: Path,
        tabletops: int,
        scenes: int,
        length: int,
        batch_size: int,
        seed: int,
        sources: Sources = Sources(),  # noqa: B008 (frozen)
        labels: EnsembledLabels | None = None,
        lit: Path | None = None,
    ):
        self.records, self.length, self.batch_size, self.seed = records, length, batch_size, seed
        self.people = [record for record in records if record.group in PEOPLE and record.foreground]
        self.others = [record for record in records if record.group not in PEOPLE and record.foreground]
        self.chances = _chances(self.others) if sources.subjects and self.others else None
        self.places = [record for record in records if record.group in PLACES] or records
        self.exact, self.labels = ExactScenes(records, cache, seed, lit=lit), labels
        self.counts = {"tabletop": tabletops, "layered": scenes, "plane": 1_000_000, "lit": len(self.exact.files)}
        if (sources.lit or sources.standing) and not lit:
            raise ValueError("sources: lit and standing need a folder of lit scenes")
        if lit and not (sources.lit or sources.standing):
            raise ValueError("lit: give lit or standing a part in sources, which is 0 by itself")
        lacking = {
            "collage": not (self.people or self.others),
            "standing": not self.people,
            "subjects": not self.others,
        }  # the record says so, too
        self.sources = replace(sources, **{kind: 0.0 for kind, lacks in lacking.items() if lacks})
        shares = np.array([getattr(self.sources, kind) for kind in KINDS])
        if not shares.any():
            raise ValueError("sources: collage needs photos with masks, and standing those of people; there are none")
        self.shares = shares / shares.sum()
        self._sharp = lru_cache(maxsize=None)(self._sharp)  # sharpening costs more than keeping

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        draw = np.random.default_rng((self.seed, 1, position))
        step = np.random.default_rng((self.seed, 2, position // self.batch_size))
        shape = SHAPES[step.integers(len(SHAPES))]
        kind = KINDS[draw.choice(len(KINDS), p=self.shares)]
        if kind == "photos":
            picture = self.photo(draw)
        elif kind == "collage":
            picture = self.collage(draw)
        elif kind == "standing":
            scene = self.exact.lit(int(draw.integers(self.counts["lit"])))
            picture = Picture(*map(Image.fromarray, standing(*scene, self.people, draw)))
        else:
            image, disparity = getattr(self.exact, kind)(int(draw.integers(self.counts[kind])))
            picture = Picture(Image.fromarray(image), Image.fromarray(disparity), None)
        return augment(picture, shape, draw)

    def one_of(self, records: list[PhotoRecord], draw: Generator) -> PhotoRecord:
        """Of `others` those with thin parts more often, of all else each as often."""
        return records[draw.choice(len(records), p=self.chances if records is self.others else None)]

    def photo(self, draw: Generator) -> Picture:
        """A labelled photo."""
        some = self.records
        if self.people and draw.random() < self.sources.people:
            some = self.people
        elif self.sources.subjects and draw.random() < self.sources.subjects:
            some = self.others
        record = self.one_of(some, draw)
        image = Image.open(record.photo).convert("RGB")
        mask = grey(record.foreground) if record.foreground else None
        if self.labels is not None:
            return Picture(image, self.labels(record), mask)
        if draw.random() < self.sources.sharpened:
            return Picture(image, Image.fromarray(self._sharp(record)), mask)
        return Picture(image, grey(record.disparity), mask)

    def _sharp(self, record: PhotoRecord) -> np.ndarray:
        """The photo's disparity at the photo's edges, (h, w) uint8."""
        disparity = grey(record.disparity)
        mask = to_tensor(grey(record.foreground))[None] if record.foreground else None
        image = to_tensor(Image.open(record.photo).convert("RGB"))[None]
        sharp = sharpen(to_tensor(disparity)[None], image, mask)
        return (sharp[0, 0] * 255).round().byte().numpy()

    def collage(self, draw: Generator) -> Picture:
        """One to five people cut out and set into a place, large or small: all of them the foreground.

        Other subjects in their place where no photos are of people, and in as many collages as `sources.subjects` says;
        where the place has one of its own, it is foreground too.
        After Ghiasi et al., "Simple copy-paste is a strong data augmentation method", CVPR 2021. No depth is claimed.
        """
        at = self.places[draw.integers(len(self.places))]
        apart = self.sources.subjects and draw.random() < self.sources.subjects
        cutouts = self.others if apart or not self.people else self.people
        place = Image.open(at.photo).convert("RGB")
        if draw.random() < 0.5:
            place = place.filter(ImageFilter.GaussianBlur(draw.uniform(0, 2)))
        width, height = place.size
        foreground = grey(at.foreground).resize(place.size) if at.foreground else Image.new("L", place.size)
        count = int(draw.choice([1, 2, 3, 4, 5], p=[0.3, 0.25, 0.2, 0.15, 0.1]))
        base = draw.uniform(0.25, 1.1)
        for size in sorted(base * draw.uniform(0.75, 1.15, count)):  # the largest is the nearest: it comes last
            cutout = cut_out(self.one_of(cutouts, draw), draw)
            if cutout is None:
                continue
            person, matte, _ = cutout
            scale = size * height / matte.height
            if scale * matte.width > 1.2 * width:
                scale = 1.2 * width / matte.width
            target = (max(4, round(matte.width * scale)), max(4, round(matte.height * scale)))
            person, matte = (p.resize(target, Image.Resampling.BILINEAR) for p in (person, matte))
            person = _recolour(person, draw, 0.25)
            left = round(draw.uniform(-0.2, 1.0) * width - 0.4 * target[0])
            foot = round(height * min(draw.uniform(0.5, 1.0) + 0.4 * size, 1.15))
            matte = matte.filter(ImageFilter.GaussianBlur(0.7))
            place.paste(person, (left, foot - target[1]), matte)
            foreground.paste(255, (left, foot - target[1]), matte)
        return Picture(place, None, foreground)


def _chances(records: list[PhotoRecord]) -> np.ndarray:
    """How often each is drawn: half of the draws go to all alike, half by how much of the mask is thin."""
    thin = []
    for record in records:
        mask = to_tensor(grey(record.foreground))[None]
        mask = F.interpolate(mask, scale_factor=MASKS / max(mask.shape[-2:]), mode="bilinear", antialias=True)
        thin.append(min(float(thin_parts(mask).sum() / mask.sum().clamp(min=1)), MOST_THIN))
    share = np.array(thin) + 1e-6
    return (1 / len(records) + share / share.sum()) / 2


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
    image = _painted(image, sample["foreground"], draw) if draw.random() < PAINTED else image
    image = _recolour(image, draw, 0.35)
    return sample | {"image": _camera(to_tensor(image), draw)}


def _shadowed(image: Image.Image, draw: Generator) -> Image.Image:
    """With a shadow of some polygon, hard or soft, over whatever is there: its edges are none of depth."""
    shadow = _polygon(image.size, draw.uniform(0.15, 0.6), draw).filter(ImageFilter.GaussianBlur(draw.uniform(0, 4)))
    return Image.composite(ImageEnhance.Brightness(image).enhance(draw.uniform(0.3, 0.8)), image, shadow)


def _painted(image: Image.Image, foreground: Tensor, draw: Generator) -> Image.Image:
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
    subject = Image.fromarray((foreground[0] * 255).byte().numpy())
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


def _recolour(image: Image.Image, draw: Generator, strength: float) -> Image.Image:
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
