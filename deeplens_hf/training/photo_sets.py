"""Photos of your own: an image folder or a data set on the Hub, through `datasets`, unpacked once or as a stream."""

import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
from datasets import Dataset as Table
from datasets import IterableDataset, load_dataset
from datasets.exceptions import DatasetsError
from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ..disparity.own_depth import read_own_depth
from ..files.data_sets import leave_encoded, open_picture
from ..files.pictures import PhotoError, check_same_orientation, decoded, grey_levels, one_line, read_photo
from ..files.writing import replacing
from .augmentation import Picture, augment
from .data import PhotoRecord, labelled_photos
from .mixture import SHAPES

LONG_SIDE = 640  # pixels that photos are kept at: training sees 448 at most
COLUMNS = {  # what a column is taken for by its name, unless told
    "image": ("image", "photo", "img"),
    "depth": ("disparity", "depth", "depth_map"),
    "mask": ("mask", "foreground", "alpha"),
}
SPLITS = "train training validation valid dev val test testing eval evaluation".split()  # folders
MATERIAL = 2000  # photos that a stream gives to the stages that need them at random
SHUFFLED = 500  # rows of a stream in memory, out of which the next is drawn


@dataclass(frozen=True)
class PhotoSet:
    """Where photos come from.

    data: a folder of pictures, with metadata.jsonl or .csv for the other columns, or the id of a data set on the Hub.
    columns: of the roles image, depth and mask, where a name in COLUMNS does not tell.
    depth_is: "disparity" (bright = near), "inverted" (dark = near) or "depth" (a distance).
    labels: where photos without a depth column have it from: "embedded" in the file by a phone, or the id or folder of
        a depth-estimation model.
    """

    data: str
    split: str = "train"
    columns: tuple[tuple[str, str], ...] = ()
    depth_is: str = "disparity"
    labels: str | None = None


class Row(NamedTuple):
    """One photo: what its columns hold."""

    image: Any
    depth: Any
    mask: Any


def open_table(photos: PhotoSet, streaming: bool) -> tuple[Table | IterableDataset, dict[str, str]]:
    """The rows, pictures still encoded, and the column of each role that is there.

    Raises:
        ValueError: no such folder, data set, split or column, no pictures, or what `datasets` cannot read.
    """
    datasets.disable_progress_bars()
    where: dict[str, Any] = {"path": photos.data}
    told_as = f"there is no folder {photos.data}, and as a data set on the Hub"
    if os.path.isdir(photos.data):
        told_as = " with ".join([photos.data, *_tables(Path(photos.data))])
        where = {"path": "imagefolder", "data_dir": os.path.abspath(photos.data)}
        if not any(file.name in SPLITS for file in Path(photos.data).iterdir() if file.is_dir()):
            where["data_files"] = {"train": "**"}  # else names such as steam_train.jpg are taken for splits
    try:
        table = load_dataset(**where, split=photos.split, streaming=streaming)
        names = list(table.features or next(iter(table), []))
    except (ValueError, OSError, DatasetsError) as error:
        raise ValueError(f"data: {told_as}: {one_line(error.__cause__ or error)}") from error
    told = dict(photos.columns)
    for role, name in told.items():
        if role not in COLUMNS or name not in names:
            raise ValueError(
                f"columns must be ROLE=NAME with a role of {', '.join(COLUMNS)} and a name of {', '.join(names)}; "
                f"got {role}={name}"
            )
    found = {role: told.get(role) or next((n for n in known if n in names), None) for role, known in COLUMNS.items()}
    found = {role: name for role, name in found.items() if name}
    if "image" not in found:
        raise ValueError(f"data: {photos.data} has no column of photos among {', '.join(names)}; name it in columns")
    return leave_encoded(table, list(found.values())), found


def unpack(
    photos: PhotoSet, folder: Path, with_depth: bool, most: int | None = None, device: str = "cpu"
) -> list[PhotoRecord]:
    """Bring the rows (the first `most`, off a stream) into `folder`, in the format of `labelled_photos`, just once.

    Photos come out upright and at most LONG_SIDE long, disparity and masks with 8 bits.

    Raises:
        ValueError: as of `open_table`; a row that cannot be read, or, `with_depth`, one that has none.
    """
    table, columns = open_table(photos, streaming=most is not None)
    if with_depth and "depth" not in columns and not photos.labels:
        raise ValueError(f"data: {photos.data} has no depth to learn from; name its column in columns, or give labels")
    told = json.dumps([asdict(photos), most, _state(photos.data)])
    folder = folder / hashlib.sha256(told.encode()).hexdigest()[:12]
    if not (folder / "manifest.jsonl").is_file():
        (folder / "train").mkdir(parents=True, exist_ok=True)
        lines = []
        for number, row in enumerate(itertools.islice(table, most)):
            try:
                photo = read_row(_row(row, columns), photos, device)
                if with_depth and photo.disparity is None:
                    raise PhotoError("depth must be there")
            except PhotoError as error:
                told = row[columns["image"]]
                name = os.path.basename(told.get("path") or "") if isinstance(told, dict) else ""
                where = f"{photos.data} ({name})" if name else photos.data
                raise ValueError(f"data: photo {number} of {where}: {error}") from None
            base = folder / "train" / f"{number:06d}"
            photo.image.save(base.with_suffix(".jpg"), quality=95)
            if photo.disparity is not None:
                photo.disparity.save(base.with_suffix(".disparity.png"))
            if photo.foreground is not None:
                photo.foreground.save(base.with_suffix(".foreground.png"))
            line = {"id": base.name, "group": photos.data, "foreground": "given" if photo.foreground else None}
            lines.append(json.dumps(line | {"split": "train"}) + "\n")
        with replacing(folder / "manifest.jsonl") as manifest:  # last: what a killed run left is unpacked again
            manifest.write("".join(lines).encode())
    return labelled_photos(folder, "train")


def read_row(row: Row, photos: PhotoSet, device: str = "cpu") -> Picture:
    """Decode a row: the photo upright and scaled down, its disparity and its mask in grey.

    Raises:
        PhotoError: one of its pictures cannot be read, or a map lies otherwise than the photo.
    """
    picture = read_photo(open_picture(row.image))
    picture.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    depth, sense = (open_picture(row.depth), photos.depth_is) if row.depth is not None else (photos.labels, None)
    disparity = foreground = None
    if depth is not None:
        disparity = read_own_depth(depth, picture, open_picture(row.image), sense, device).disparity  # (h, w)
        disparity = _stretched(disparity)
    if row.mask is not None:
        with decoded(open_picture(row.mask), "mask") as mask:
            foreground = _mask(mask)
        check_same_orientation(foreground, picture.size, "mask")
    return Picture(picture, _grey(disparity), _grey(foreground))


def _mask(picture: Image.Image) -> np.ndarray:
    """(h, w) in [0, 1]: of grey levels, of 0 and 1 as programs write them, or of transparency where it alone tells."""
    levels = grey_levels(picture, "mask")
    if picture.has_transparency_data and levels.min() == levels.max():
        alpha = np.array(picture.convert("RGBA").getchannel("A"))
        levels = alpha if alpha.min() < alpha.max() else levels
    if levels.dtype.kind not in "ui":
        return levels
    full = np.iinfo(levels.dtype).max
    return levels / next(most for most in (1, 255, full) if levels.max() <= most)


class StreamedPhotos(Dataset):
    """Position in the run -> augmented sample, as of `DepthMixture`, read off a stream in order as the run goes.

    Still a pure function of (seed, position), so that a run can resume: the stream is read again up to the position.
    Each process and worker reads the whole stream and decodes only the photos of its own positions.
    """

    def __init__(self, photos: PhotoSet, length: int, batch_size: int, seed: int):
        table, self.columns = open_table(photos, streaming=True)
        if "depth" not in self.columns or photos.labels:
            raise ValueError("a stream of photos to learn depth from needs a depth column, and takes no labels")
        self.table = table.shuffle(seed=seed, buffer_size=SHUFFLED)
        self.photos, self.length, self.batch_size, self.seed = photos, length, batch_size, seed
        self.rows: Iterator[dict] | None = None
        self.next = 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"rows": None}  # a worker that is not forked gets a copy, and reads on its own

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        if self.rows is None or position < self.next:
            self.rows, self.next = self._epochs(), 0
        row = next(itertools.islice(self.rows, position - self.next, None))
        self.next = position + 1
        try:
            photo = read_row(_row(row, self.columns), self.photos)
        except PhotoError as error:
            raise ValueError(f"data: photo {position} of the stream {self.photos.data}: {error}") from None
        step = np.random.default_rng((self.seed, 2, position // self.batch_size))
        shape = SHAPES[step.integers(len(SHAPES))]
        return augment(photo, shape, np.random.default_rng((self.seed, 1, position)))

    def _epochs(self) -> Iterator[dict]:
        for epoch in itertools.count():
            self.table.set_epoch(epoch)
            empty = True
            for row in self.table:
                empty = False
                yield row
            if empty:
                raise ValueError(f"data: {self.photos.data} has no rows")


def _tables(folder: Path) -> list[str]:
    """The metadata files of an image folder; ValueError if it has none, and no pictures."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    tables = sorted(str(file.relative_to(folder)) for file in files if file.name in ImageFolder.METADATA_FILENAMES)
    suffixes = {suffix.lower() for file in files for suffix in file.suffixes}
    if not tables and not suffixes & {*ImageFolder.EXTENSIONS, ".zip"}:
        raise ValueError(f"data must be a folder of pictures or a data set's id on the Hub; {folder} has no pictures")
    return tables


def _row(row: dict, columns: dict[str, str]) -> Row:
    return Row(*(row.get(columns[role]) if role in columns else None for role in COLUMNS))


def _grey(values: np.ndarray | None) -> Image.Image | None:
    """(h, w) in [0, 1] -> a picture of bytes."""
    return None if values is None else Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))


def _stretched(disparity: np.ndarray) -> np.ndarray:
    """(h, w) in [0, 1] -> over all of it where it fills less than half: bytes have room for few of its steps else.

    What is learned is free of scale and shift.
    """
    low, span = disparity.min(), np.ptp(disparity)
    return (disparity - low) / span if 0 < span < 0.5 else disparity


def _state(data: str) -> list:
    """What changes when files of a folder do; nothing for the Hub, whose cache `datasets` keeps."""
    files = sorted(file for file in Path(data).rglob("*") if file.is_file()) if os.path.isdir(data) else []
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
