"""Many photos at once: a folder, a list, a data set on the Hub; by worker processes, on several GPUs or machines.

Each photo is written whole or not at all, and one whose result is there is skipped: a run that was stopped goes on
where it was when given again. A photo that cannot be read, or that takes its worker down with it, is reported.
"""

import glob
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from ..files.data_sets import leave_encoded
from ..files.pictures import one_line
from ..files.writing import FORMATS, part_name
from ..sharing.weights import HUB_NAME
from .workers import Task, choose_crew, run_tasks

# what counts as a photo in a folder
SUFFIXES = {*FORMATS, *(f".{kind}" for kind in "jfif heic heif avif bmp gif jp2 mpo".split())}


class Shard(NamedTuple):
    """This program among `count` that share the work: it takes every count-th photo, from number `rank` on."""

    rank: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> "Shard":
        """ "RANK/COUNT"; without it what torchrun or Slurm say in the environment, else all the work.

        Raises:
            ValueError: not two whole numbers with 0 <= RANK < COUNT.
        """
        environment = os.environ
        if text is None and "RANK" in environment and "WORLD_SIZE" in environment:
            text = f"{environment['RANK']}/{environment['WORLD_SIZE']}"
        elif text is None and "SLURM_STEP_NUM_TASKS" in environment:  # srun alone sets it: a batch script is no shard
            text = f"{environment['SLURM_PROCID']}/{environment['SLURM_STEP_NUM_TASKS']}"
        found = re.fullmatch(r"(\d+)/(\d+)", text or "0/1")
        if not found or not int(found[1]) < int(found[2]):
            raise ValueError(f"shard must be RANK/COUNT with 0 <= RANK < COUNT, such as 0/4; got {text!r}")
        return cls(int(found[1]), int(found[2]))


@dataclass
class Report:
    """What became of the photos: how many were written now and before, and the rest, with the reason."""

    written: int = 0
    there: int = 0
    seconds: float = 0.0
    failed: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.written / self.seconds if self.seconds else 0.0
        return f"{self.written} written, {self.there} already there, {len(self.failed)} failed, {rate:.2f} photos/s"


def is_many(photos: list[str], out: Path) -> bool:
    """Whether `deeplens refocus` shall write into a folder: several photos, or what is no single photo."""
    first = Path(photos[0])
    return len(photos) > 1 or first.is_dir() or out.is_dir() or not (first.is_file() or out.suffix.lower() in FORMATS)


def refocus_many(
    photos: list[str],
    out: Path,
    settings: dict[str, Any],
    model: str,
    *,
    device: str | None = None,
    workers: int | None = None,
    shard: Shard = Shard(),  # noqa: B008 (a tuple)
    suffix: str | None = None,
    overwrite: bool = False,
    split: str = "train",
    opening: dict[str, Any] | None = None,
) -> Report:
    """Refocus photos into the folder `out`, with a progress bar.

    Args:
        photos: files, folders with all below them, patterns such as "trip/*.jpg", or one id of a data set on the Hub.
        out: a folder; photos keep their place below the folder given, those of a data set are numbered.
        settings: the arguments of `Photo.refocus`.
        model: a folder or Hub id for `DeepLens.from_pretrained`.
        device: of all workers; if not given, they share the GPUs, or the CPU where there is none. Under torchrun each
            program takes the GPU of its local rank.
        workers: processes; if not given, one a GPU, or one for every two CPU cores.
        shard: the part of the work that is this program's.
        suffix: of the results, such as ".png"; if not given, the photo's own where it can be written, else ".jpg".
        overwrite: render again what is there.
        split: of a data set.
        opening: arguments of `DeepLens.open` for each photo, such as {"disparity": "embedded"}.

    Raises:
        ValueError: no photos, a setting out of its range, weights or a device that are not there. What is wrong with
            a single photo is in the report instead.
    """
    if suffix is not None and suffix not in FORMATS:
        raise ValueError(f"suffix must be one of {', '.join(FORMATS)}; got {suffix!r}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1; got {workers}")
    standing = next((each for each in (out.resolve(), *out.resolve().parents) if each.exists()), None)
    if standing is None or not os.access(standing, os.W_OK):
        raise ValueError(f"out must be a folder that may be written to, got {str(out)!r}")
    named = len(photos) == 1 and HUB_NAME.fullmatch(photos[0]) and Path(photos[0]).suffix.lower() not in SUFFIXES
    if named and not Path(photos[0]).exists():
        tasks, total = read_data_set(photos[0], split, out, suffix)
    else:
        found = find_photos(photos, out, suffix)
        tasks, total = iter(found), len(found)
    if not out.is_dir() and (out.exists() or out.suffix.lower() in FORMATS):
        raise ValueError(f"out must be a folder for many photos, got {str(out)!r}")
    tasks = islice(tasks, shard.rank, None, shard.count)
    if total is not None:
        total = len(range(shard.rank, total, shard.count))
    report = Report()
    with tqdm(total=total, unit="photo", desc=f"shard {shard.rank}/{shard.count}" if shard.count > 1 else None) as bar:

        def missing() -> Iterator[Task]:
            for task in tasks:
                if task.out.exists() and not overwrite:
                    report.there += 1
                    bar.update()
                    continue
                task.out.parent.mkdir(parents=True, exist_ok=True)
                before, after = map(glob.escape, part_name(task.out.name, "*").rsplit("*", 1))
                for part in task.out.parent.glob(f"{before}*{after}"):  # of a run that was killed
                    part.unlink(missing_ok=True)
                yield task

        to_do = missing()
        first = next(to_do, None)
        if first is None:
            return report
        began = time.monotonic()
        for task, error in run_tasks(chain([first], to_do), choose_crew(device, workers), model, settings, opening):
            if error is None:
                report.written += 1
            else:
                report.failed.append((task.name, error))
            bar.update()
        report.seconds = time.monotonic() - began
    return report


def find_photos(photos: list[str], out: Path, suffix: str | None = None) -> list[Task]:
    """Files, folders and patterns -> tasks in the order of their names, each result with a name of its own.

    Raises:
        ValueError: something that is not there, no photo at all, two photos of one name from different places, or a
            result that would lie beside its photo.
    """
    places: dict[Path, Path] = {}  # photo -> its place below `out`
    for each in photos:
        if Path(each).is_dir():
            for file in _no_results(Path(each).rglob("*"), Path(each), out):
                place = file.relative_to(each)
                hidden = any(part.startswith(".") for part in place.parts)
                if file.suffix.lower() in SUFFIXES and file.is_file() and not hidden:
                    places[file] = place
        elif Path(each).is_file():
            places[Path(each)] = Path(Path(each).name)
        elif glob.has_magic(each) and (matches := glob.glob(each, recursive=True)):
            start = Path(*takewhile(lambda part: not glob.has_magic(part), Path(each).parts))
            places |= {f: Path(f.name) for f in _no_results(map(Path, matches), start, out) if f.is_file()}
        else:
            raise ValueError(f"photo must be a file, a folder, a pattern or a data set's id; there is no {each!r}")
    if not places:
        raise ValueError(f"photo: no pictures in {', '.join(photos)}")
    tasks: list[Task] = []
    taken: dict[str, Path] = {}  # result, without capitals, which some file systems do not tell -> photo

    def order(item: tuple[Path, Path]) -> tuple[bool, str, str]:
        file, place = item  # what keeps its name has the first right to it
        return place.suffix != _suffix(place, suffix), str(place), str(file)

    for file, place in sorted(places.items(), key=order):
        target = place.with_suffix(_suffix(place, suffix))
        first = taken.get(str(target).lower())
        if first and places[first] != place:  # one photo as HEIC and as JPEG: the HEIC keeps its suffix in its name
            target = place.with_name(place.name + target.suffix)
            first = taken.get(str(target).lower())
        if first:  # which is which would hang on what else is given
            raise ValueError(
                f"photo: {first} and {file} would both become {out / target}; give each folder an --out of its own"
            )
        taken[str(target).lower()] = file
        # nor beside them: given again, a run would take its results for photos, and --overwrite a photo for a result
        if file.resolve() == (out / target).resolve() or file.parent.resolve() == (out / target).parent.resolve():
            raise ValueError(f"out must not be the folder of the photos: {file} would be replaced or pass for a result")
        tasks.append(Task(str(file), file, out / target))
    return sorted(tasks, key=lambda task: str(task.out))


def read_data_set(name: str, split: str, out: Path, suffix: str | None) -> tuple[Iterator[Task], int | None]:
    """The pictures of a data set on the Hub, as a stream, and how many there are, if it says so.

    Raises:
        ValueError: no such data set, no such split, or no column of pictures.
    """
    from datasets import Image, load_dataset

    try:
        table = load_dataset(name, split=split, streaming=True)
    except Exception as error:  # nearly anything, as the network has it
        told = f"there is no folder {name!r}, and as a data set on the Hub: {one_line(error)}"
        raise ValueError(f"photo: {told}") from None
    columns = [column for column, kind in (table.features or {}).items() if isinstance(kind, Image)]
    if not columns:
        raise ValueError(f"photo: the data set {name} has no column of pictures")
    table = leave_encoded(table, columns[:1])
    known = table.info.splits.get(split) if table.info.splits else None

    def tasks() -> Iterator[Task]:
        for number, row in enumerate(table):
            value = row[columns[0]] or {}
            place = Path(f"{number:08d}").with_suffix(_suffix(Path(value.get("path") or "photo.jpg"), suffix))
            yield Task(f"{name}[{number}]", value, out / place)

    return tasks(), known.num_examples if known else None


def _no_results(files: Iterable[Path], start: Path, out: Path) -> Iterator[Path]:
    """Those of the files found below `start` that are no results of a run before, where `out` lies below it, too."""
    results = out.resolve() if start.resolve() in out.resolve().parents else None
    return (file for file in files if results not in file.resolve().parents)


def _suffix(place: Path, wanted: str | None) -> str:
    return wanted or (place.suffix if place.suffix.lower() in FORMATS else ".jpg")
