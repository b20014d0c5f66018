"""What all data sets of scenes have in common: photos to paint with, masks to cut by, a folder to keep them in."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.utils.data import Dataset

from .data import PhotoRecord


@contextmanager
def kept_whole(file: Path) -> Iterator[Path]:
    """Where to write what `file` shall hold: it appears when it is complete, whoever else draws the same."""
    part = file.with_suffix(f".{os.getpid()}.part{file.suffix}")
    yield part
    os.replace(part, file)


class DrawnScenes(Dataset):
    """`scenes` different ones of `size` x `size` pixels, kept in `cache`, of which a run of `length` samples is made.

    A pure function of (seed, position, photos), so that a run can resume anywhere.
    """

    def __init__(self, records: list[PhotoRecord], cache: Path, scenes: int, length: int, seed: int, size: int):
        self.photos = [record.photo for record in records]
        self.masks = [record.foreground for record in records if record.foreground]
        self.cache, self.scenes, self.length, self.seed, self.size = cache, scenes, length, seed, size
        cache.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return self.length
