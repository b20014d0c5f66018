"""Labelled photos for the depth stage: a folder with manifest.jsonl, photos, disparity maps and foreground masks.

`photo_sets` brings other photos into this form.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..files.manifest import entries, manifest_of
from ..files.pictures import PhotoError, grey_levels

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
    ID.disparity.png (8 or 16 bits, bright = near) and, where the manifest names a foreground, ID.foreground.png.

    Raises:
        ValueError: no manifest there, or none of its photos is in the split; a line that lacks a field, or its file.
    """
    manifest = manifest_of(folder)
    if manifest is None:
        raise ValueError(f"data: no manifest.jsonl in {folder} or {folder / 'photos'}")
    base, records = manifest.parent / "train", []
    for name, group, mask, where in entries(manifest, split):
        photo, foreground = base / f"{name}.jpg", base / f"{name}.foreground.png" if mask else None
        for file in filter(None, (photo, foreground)):  # depth is not read by all stages
            if not file.is_file():
                raise ValueError(f"{where} must have a file {file}")
        records.append(PhotoRecord(photo, base / f"{name}.disparity.png", foreground, group))
    if not records:
        raise ValueError(f"data: {manifest} has no photo with split {split!r}")
    return records


def has_manifest(folder: Path) -> bool:
    """Whether `labelled_photos` can read the folder."""
    return manifest_of(folder) is not None


def mark(records: list[PhotoRecord]) -> str:
    """What tells these photos and masks from others, wherever they lie: a hash of their names and sizes; "" of none."""
    files = [file for record in records for file in (record.photo, record.foreground) if file]
    told = repr([(file.name, file.stat().st_size) for file in files])
    return hashlib.sha256(told.encode()).hexdigest()[:8] if files else ""


def labels_mark(records: list[PhotoRecord]) -> str:
    """What tells these labels from others, corrected ones too: a hash of all disparity maps and masks; "" of none."""
    files = [file for record in records for file in (record.disparity, record.foreground) if file and file.is_file()]
    told = hashlib.sha256()
    for file in files:
        told.update(file.read_bytes())
    return told.hexdigest()[:8] if files else ""


def grey(file: Path) -> Image.Image:
    """A disparity map or a mask, of 8 bits or 16, on the scale that it has: a picture of bytes."""
    picture = Image.open(file)
    if picture.mode == "L":
        return picture
    try:
        levels = grey_levels(picture, str(file))
    except PhotoError as error:
        raise ValueError(f"data: {error}") from None
    if levels.dtype != np.uint8:  # Pillow would clip it at 255
        levels = (levels / 257).round().astype(np.uint8)
    return Image.fromarray(levels)


def to_tensor(image: Image.Image) -> Tensor:
    """PIL picture -> float (C, H, W) in [0, 1]."""
    pixels = torch.from_numpy(np.array(image)).float() / 255
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
