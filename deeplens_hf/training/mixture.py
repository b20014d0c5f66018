"""What the depth stage learns from, mixed: labelled photos, collages of people, scenes with exact depth."""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from numpy.random import Generator
from PIL import Image, ImageFilter
from torch import Tensor
from torch.utils.data import Dataset

from ..files.exif import upright_rgb
from .augmentation import Picture, augment, recolour
from .data import PEOPLE, PhotoRecord, grey, to_tensor
from .ensemble import EnsembledLabels
from .labels import sharpen, thin_parts
from .scenes.exact import ExactScenes
from .standing import cut_out, standing

UPRIGHT = ((256, 192), (288, 192), (352, 256), (448, 304))
SHAPES = ((224, 224), *UPRIGHT, *((w, h) for h, w in UPRIGHT))  # (h, w), one a batch
MASKS, MOST_THIN = 300, 0.4  # pixels at which masks are compared by their thin parts, and the most that count
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
        self.sharpened: dict[PhotoRecord, np.ndarray] = {}  # sharpening costs more than keeping

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
        image = upright_rgb(record.photo)
        mask = grey(record.foreground) if record.foreground else None
        if self.labels is not None:
            return Picture(image, self.labels(record), mask)
        if draw.random() < self.sources.sharpened:
            if record not in self.sharpened:
                self.sharpened[record] = self._sharp(record)
            return Picture(image, Image.fromarray(self.sharpened[record]), mask)
        return Picture(image, grey(record.disparity), mask)

    def _sharp(self, record: PhotoRecord) -> np.ndarray:
        """The photo's disparity at the photo's edges, (h, w) uint8."""
        disparity = grey(record.disparity)
        mask = to_tensor(grey(record.foreground))[None] if record.foreground else None
        image = to_tensor(upright_rgb(record.photo))[None]
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
        place = upright_rgb(at.photo)
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
            person = recolour(person, draw, 0.25)
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
