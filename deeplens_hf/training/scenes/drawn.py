"""What all data sets of scenes have in common: photos to paint with, masks to cut by, a folder to keep them in.

Where a GPU waits for them, they are drawn ahead of the run, by many processes at once.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from ..data import PhotoRecord, mark


@contextmanager
def kept_whole(file: Path) -> Iterator[Path]:
    """Where to write what `file` shall hold: it appears when it is complete, whoever else draws the same."""
    part = file.with_suffix(f".{uuid.uuid4().hex[:8]}.part{file.suffix}")  # process ids are a machine's own
    try:
        yield part
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def ahead(keep: Callable[[int], object], count: int, workers: int, what: str, begin: float = 0.0) -> None:
    """keep(0) to keep(count - 1), by `workers` processes, each of which gets a copy of `keep`.

    begin: the part, in [0, 1), that comes last: machines that share a cache begin apart, and find what others kept.
    """
    first = int(begin * count)
    order = [*range(first, count), *range(first)]
    with ProcessPoolExecutor(workers, get_context("spawn"), _receive, (keep,)) as pool:
        for _ in tqdm(pool.map(_kept, order, chunksize=4), what, count, mininterval=5):
            pass


def _receive(keep: Callable[[int], object]) -> None:
    global _keep
    _keep = keep
    torch.set_num_threads(1)  # the processes share the cores


def _kept(index: int) -> None:
    _keep(index)


class DrawnScenes(Dataset):
    """`scenes` different ones of `size` x `size` pixels, kept in `cache`, of which a run of `length` samples is made.

    A pure function of (seed, position, photos), so that a run can resume anywhere.
    """

    def __init__(self, records: list[PhotoRecord], cache: Path, scenes: int, length: int, seed: int, size: int):
        self.photos = [record.photo for record in records]
        self.masks = [record.foreground for record in records if record.foreground]
        self.drawn_with = f"{mark(records)}-" if records else ""  # in the names of scenes: a cache may be shared
        self.cache, self.scenes, self.length, self.seed, self.size = cache, scenes, length, seed, size
        cache.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return self.length
