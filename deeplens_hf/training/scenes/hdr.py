"""Pictures with the light that a photo clips: what highlight recovery learns from.

Of three kinds: scenes at night that are drawn here, streets and anything else with lamps anywhere; those that `blender`
has lit, by day and by night; and photos by day, of which nothing is known but that white paper, shirts and skies are to
stay what they are. Their own specks may be gleams or not.
"""

import math
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from torch import Tensor

from ...files.exif import upright_rgb
from ...layers.pooling import window_max, window_min
from ...optics import linear_to_srgb, srgb_to_linear
from ...rendering.highlights import darkness
from ..data import PhotoRecord, to_tensor
from . import mattes
from .camera import glare, photographed
from .drawn import DrawnScenes, kept_whole
from .mattes import Map
from .street import night_street
from .studio import Studio

SMALLEST_LAMP = 1.0  # pixels
STREETS = 3  # of five drawn scenes
LIT, PHOTOS = 0.4, 0.35  # shares of the samples, where there are scenes that an engine lit
DARKENED = 0.2  # of the others: photos so dark that they pass for night, whose white things are no lamps
PHOTOGRAPHED = 0.6  # of what is left, drawn scenes: through a camera, not as drawn


def is_street(index: int) -> bool:
    """Whether the drawn scene of this number is a street; the others are anything, by night."""
    return index % 5 < STREETS


def specks(shown: Tensor) -> Tensor:
    """Where two channels of (3, S, S) or all clip in places no more than 4 pixels wide: (1, S, S) of bool."""
    clipped = (shown.sort(0).values[1:2] > 0.95).float()[None]  # (1, 1, S, S)
    wide = window_max(window_min(clipped, 2), 3)
    return (clipped > wide)[0]


def printed(shown: Tensor, draw: Generator) -> tuple[Tensor, Tensor]:
    """A label, poster or board, white on dark or any other colours, on part of a picture (3, S, S) in sRGB.

    Returns the picture and where the board is, (1, S, S) of bool.
    """
    size = shown.shape[-1]
    at, reach = draw.uniform(0, size, 2), size * draw.uniform(0.15, 0.6)
    board = torch.from_numpy(mattes.facets(draw, size, tuple(at), reach))
    ink = torch.from_numpy(mattes.glyphs(draw, size))
    colours = (draw.uniform(0, 1.2, (2, 3)) if draw.random() < 0.4 else draw.uniform(0, 1.2, (2, 1))) * np.ones(3)
    ground, letters = (torch.from_numpy(colour.astype(np.float32)).view(3, 1, 1) for colour in colours)
    return torch.lerp(shown, torch.lerp(ground, letters, ink), board), board[None] > 0


class ClippedScenes(DrawnScenes):
    """Position in the run -> sample; a pure function of (seed, position, photos), so that a run can resume anywhere.

    Samples: image (3, S, S) sRGB of 8 bit, light (3, S, S) linear, unclipped, known (1, S, S) of bool: where.
    Scenes at night are kept in `cache`; further epochs show them turned, a little brighter or darker, and through
    another lens. lit: a folder that `blender` has filled, with scenes of this size; without it all samples are drawn
    scenes at night. ValueError if none are in it.
    """

    def __init__(
        self,
        records: list[PhotoRecord],
        cache: Path,
        scenes: int,
        length: int,
        seed: int,
        size: int = 192,
        lit: Path | None = None,
    ):
        super().__init__(records, cache, scenes, length, seed, size)
        self.lit = sorted(lit.glob(f"*-{size}-?????.npy")) if lit else []
        if lit and not self.lit:
            raise ValueError(f"lit: no scenes of {size} pixels in {lit}")

    def light(self, index: int) -> np.ndarray:
        """(3, S, S) linear, unclipped, of scene `index`."""
        street = is_street(index)
        kind = "street-" if street else f"night-{self.drawn_with}"  # no photo is in a street
        file = self.cache / f"{kind}{self.seed}-{self.size}-{index:05d}.npy"
        if not file.exists():
            rng = np.random.default_rng(self.seed * 1_000_000 + index)
            light = night_street(rng, self.size) if street else self.medley(rng)
            with kept_whole(file) as part:
                np.save(part, light.transpose(2, 0, 1).astype(np.float16))
        return np.load(file).astype(np.float32)

    def medley(self, rng: Generator) -> Map:
        """(S, S, 3) linear, unclipped: anything, by night, with lamps anywhere."""
        sheets = Studio(rng, self.size, self.photos, self.masks, SMALLEST_LAMP).compose(night=True)
        light = np.zeros_like(sheets[0].radiance)
        for sheet in sheets:
            light += (sheet.radiance - light) * sheet.alpha[..., None]
        return light

    def photo(self, draw: Generator, darkened: bool = False) -> tuple[Tensor, Tensor]:
        """Part of a photo not taken at night, often edited as people do, and where that is all there is to know of it.

        (3, S, S) linear and (1, S, S) of bool. darkened: so that it passes for night, its whites as they were.
        """
        while True:
            picture = upright_rgb(self.photos[draw.integers(len(self.photos))])
            part = int(draw.uniform(0.25, 1) * min(picture.size))
            left, top = (int(draw.integers(side - part + 1)) for side in picture.size)
            box = (left, top, left + part, top + part)
            cut = picture.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
            shown = to_tensor(cut)
            if draw.random() < 0.5:
                grey = shown.mean(0, keepdim=True)
                shown = grey + math.exp(draw.uniform(0, 1)) * (shown - grey)
            if draw.random() < 0.5:
                shown = shown * draw.uniform(1, 1.4)
            shown = shown.clamp(0, 1) ** draw.uniform(1.5, 4) if darkened else shown
            known = ~specks(shown)
            if draw.random() < 0.25:
                shown, board = printed(shown, draw)
                known |= board
            light = srgb_to_linear(shown.clamp(0, 1))
            dark = float(darkness(light[None]))
            if dark > 0.5 if darkened else dark < 1:
                return light, known

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        epoch, at = divmod(position, self.scenes)
        draw = np.random.default_rng((self.seed, 7, position))
        upright = False
        kind, known = draw.random() if self.lit else 1.0, torch.ones(1, self.size, self.size, dtype=torch.bool)
        drawn = kind >= PHOTOS + LIT
        darkened = drawn and bool(self.photos) and draw.random() < DARKENED
        if darkened or (kind < PHOTOS and self.photos):
            light, known = self.photo(draw, darkened)
        else:
            if kind < PHOTOS + LIT:
                scene = np.load(self.lit[draw.integers(len(self.lit))]).astype(np.float32)
            else:
                order = np.random.default_rng((self.seed, 6, epoch)).permutation(self.scenes)
                index = int(order[at])
                scene, upright = self.light(index), is_street(index)
            light = torch.from_numpy(scene) * float(np.exp(draw.normal() * 0.2))
            turns = int(draw.integers(4))
            light = light if upright else torch.rot90(light, turns, (-2, -1))
            light = light.flip(-1) if draw.random() < 0.5 else light
            if drawn or draw.random() < 0.5:  # an engine's scenes often are shown without glare
                light = glare(light, draw)
        image = linear_to_srgb(light)
        if drawn and not darkened and draw.random() < PHOTOGRAPHED:
            image, light = photographed(light, draw)
        return {
            "image": (image * 255).round() / 255,
            "light": light,
            "known": known,
            "position": torch.tensor(position),
        }
