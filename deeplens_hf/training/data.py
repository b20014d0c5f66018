"""Labelled photos for the depth stage: a folder with manifest.jsonl, photos, disparity maps and foreground masks.

`photo_sets` brings other photos into this form.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.utils.data import Dataset

PEOPLE = ("ccp_people", "human_seg")  # groups whose masks people drew by hand


@dataclass(frozen=True)
class PhotoRecord:
    """One line of the manifest, with its files."""

    photo: Path
    disparity: Path
    foreground: Path | None
    group: str


def labelled_photos(folder: Path, split: str) -> list[PhotoRecord]:
    """Read the photos of one split ("train" or "val").

    `folder` holds manifest.jsonl, or holds photos/manifest.jsonl; beside the manifest lies train/ with ID.jpg,
    ID.disparity.png (8 bit, bright = near) and, where the manifest names a foreground, ID.foreground.png.

    Raises:
        ValueError: no manifest there, or none of its photos is in the split.
    """
    manifest = _manifest(folder)
    if manifest is None:
        raise ValueError(f"data: no manifest.jsonl in {folder} or {folder / 'photos'}")
    base = manifest.parent / "train"
    records = [
        PhotoRecord(
            base / f"{line['id']}.jpg",
            base / f"{line['id']}.disparity.png",
            base / f"{line['id']}.foreground.png" if line["foreground"] else None,
            line["group"],
        )
        for line in map(json.loads, manifest.read_text().splitlines())
        if line["split"] == split
    ]
    if not records:
        raise ValueError(f"data: {manifest} has no photo with split {split!r}")
    return records


def has_manifest(folder: Path) -> bool:
    """Whether `labelled_photos` can read the folder."""
    return _manifest(folder) is not None


def _manifest(folder: Path) -> Path | None:
    return next((m for m in (folder / "manifest.jsonl", folder / "photos" / "manifest.jsonl") if m.is_file()), None)


def to_tensor(image: Image.Image) -> Tensor:
    """PIL picture -> float (C, H, W) in [0, 1]."""
    pixels = torch.from_numpy(np.array(image)).float() / 255
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


class DepthPhotos(Dataset):
    """Position in the run -> augmented sample. A pure function of (seed, position), so that a run can resume anywhere.

    Samples: image (3, S, S), disparity (1, S, S), foreground (1, S, S), has_disparity (), has_foreground (), where S is
    sizes[0] before position `switch` and sizes[1] from there on: most steps are cheap, the last ones at working size.
    """

    def __init__(self, records: list[PhotoRecord], sizes: tuple[int, int], switch: int, length: int, seed: int):
        self.records, self.sizes, self.switch, self.length, self.seed = records, sizes, switch, length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        epoch, at = divmod(position, len(self.records))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.records))
        record = self.records[order[at]]
        draw = np.random.default_rng((self.seed, 1, position))
        size = self.sizes[position >= self.switch]

        image = Image.open(record.photo).convert("RGB")
        disparity = Image.open(record.disparity).convert("L")
        foreground = Image.open(record.foreground).convert("L") if record.foreground else None

        # a crop of 45 to 100 % of each side, squeezed by up to 4:3, the same part of all three pictures
        zoom = draw.uniform(0.45, 1.0) if draw.random() < 0.7 else 1.0
        stretch = 0.75 ** draw.uniform(0, 1)
        part = [zoom, zoom * stretch] if draw.random() < 0.5 else [zoom * stretch, zoom]
        left, top = draw.uniform(0, 1 - part[0]), draw.uniform(0, 1 - part[1])
        flip, upside_down = draw.random() < 0.5, draw.random() < 0.08  # upside down: "low in the picture" is not "near"

        def cut(picture: Image.Image, resample: Image.Resampling) -> Image.Image:
            w, h = picture.size
            box = (left * w, top * h, (left + part[0]) * w, (top + part[1]) * h)
            picture = picture.resize((size, size), resample, box=box, reducing_gap=2.0)
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else picture
            return picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if upside_down else picture

        image = cut(image, Image.Resampling.BICUBIC)
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = enhance(image).enhance(draw.uniform(0.7, 1.35))
        if draw.random() < 0.08:
            image = image.convert("L").convert("RGB")
        blank = torch.zeros(1, size, size)
        return {
            "image": to_tensor(image),
            "disparity": to_tensor(cut(disparity, Image.Resampling.BILINEAR)),
            "foreground": to_tensor(cut(foreground, Image.Resampling.BILINEAR)) if foreground else blank,
            "has_disparity": torch.tensor(1.0),
            "has_foreground": torch.tensor(float(foreground is not None)),
        }
