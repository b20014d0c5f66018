"""Worker processes that refocus photos, one model each; one that dies takes a single photo with it."""

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..files.data_sets import open_picture
from ..files.pictures import PhotoError, one_line
from ..files.writing import save_picture

if TYPE_CHECKING:
    from ..photo import Photo


class Task(NamedTuple):
    """A photo, its file or its value in a data set, and where the result goes."""

    name: str
    source: Path | dict[str, Any]
    out: Path


def run_tasks(
    tasks: Iterable[Task],
    crew: list[tuple[str, int]],
    model: str,
    settings: dict[str, Any],
    opening: dict[str, Any] | None = None,
) -> Iterator[tuple[Task, str | None]]:
    """Each task as it is done, with None, or with what went wrong. One worker process for each (device, threads).

    settings: arguments of `Photo.refocus`; opening: of `DeepLens.open`, beside the photo.

    Raises:
        ValueError: a worker cannot start: the model, the device or the settings are wrong.
    """
    tasks, spawn = iter(tasks), get_context("spawn")
    workers: dict[Connection, tuple[Any, tuple[str, int], Task | None]] = {}

    def start(place: tuple[str, int]) -> None:
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=work, args=(theirs, model, *place, settings, opening), daemon=True)
        process.start()
        theirs.close()  # so that the end of the worker is the end of the pipe
        workers[ours] = process, place, None

    for place in crew:
        start(place)
    try:
        while workers:
            for pipe in wait(list(workers)):
                process, place, task = workers.pop(pipe)
                try:
                    kind, message = pipe.recv()
                except (EOFError, ConnectionError):
                    process.join()
                    kind, message = "dead", f"the worker process ended with {process.exitcode}; out of memory?"
                if kind == "unfit" or (kind == "dead" and task is None):
                    raise ValueError(message)
                if task is not None:
                    yield task, message
                if kind == "dead":
                    start(place)
                elif (task := next(tasks, None)) is None:
                    pipe.send(None)
                    process.join()
                else:
                    pipe.send(task)
                    workers[pipe] = process, place, task
    finally:
        for process, _, _ in workers.values():
            process.terminate()
            process.join()


def work(
    pipe: Connection,
    model_name: str,
    device: str,
    threads: int,
    settings: dict[str, Any],
    opening: dict[str, Any] | None = None,
) -> None:
    """A worker: ("ready" or "unfit", message), then one (kind, message) for each task until None comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which ends its workers
    import torch
    from huggingface_hub.utils import logging

    from ..model import DeepLens

    logging.set_verbosity_error()  # what matters comes back as an error
    torch.set_num_threads(threads)
    try:
        model = DeepLens.from_pretrained(model_name).to(device)
        blank = np.full((64, 64), 0.5, np.float32)
        # how far an f-number may go is each lens's own affair
        real = {"aperture": 0.0} if opening and isinstance(settings.get("aperture"), str) else {}
        model.open(blank, disparity=blank).refocus(**settings | {"point": None} | real)  # settings that suit no photo
    except Exception as error:
        return pipe.send(("unfit", one_line(error)))
    try:
        pipe.send(("ready", None))
        while (task := pipe.recv()) is not None:
            try:
                photo = model.open(open_picture(task.source), **opening or {})
                if missing := calibrate_by_exif(photo, settings.get("aperture")):
                    print(f"deeplens: {task.name}: {missing}", file=sys.stderr)
                save_picture(photo.refocus(**settings), task.out)
                pipe.send(("done", None))
            except Exception as error:  # whatever it is, the next photo has its turn
                pipe.send(("failed", one_line(error)))
    except (EOFError, ConnectionError):
        pass  # the program is gone


def calibrate_by_exif(photo: "Photo", aperture: float | str | None) -> str | None:
    """Make an f-number that of the photo's own lens, where its depth came in metres; tells what EXIF lacks."""
    if isinstance(aperture, str) and photo.dioptres:
        try:
            photo.calibrate()
        except PhotoError as error:
            return f"{aperture} is nominal, not of a real lens: {error}"
    return None


def choose_crew(device: str | None, workers: int | None) -> list[tuple[str, int]]:
    """The device and the CPU threads of each worker: one a GPU, or one for every two CPU cores, unless told."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # programs on this machine, as torchrun says
    devices = [device] if device else _gpus(local) or ["cpu"]
    cores = max(1, here // local)
    count = workers or (len(devices) if devices[0] != "cpu" else max(1, cores // 2))
    return [(devices[i % len(devices)], max(1, cores // count)) for i in range(count)]


def _gpus(local: int) -> list[str]:
    """All of this machine, or the one of this program's local rank among `local`."""
    import torch

    count = torch.cuda.device_count()
    if count and local > 1:
        return [f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % count}"]
    return [f"cuda:{i}" for i in range(count)]
