"""What needs the model, as one function that a GPU can be lent to: photos come in and go out without their model."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from ..disparity.own_depth import is_model
from ..files.pictures import PhotoError, read_photo
from ..model import DeepLens
from ..photo import Photo, open_photo
from ..rack_focus import Focus, frames_along

try:  # on ZeroGPU, functions so marked run where there is a GPU, for so many seconds at most; elsewhere they stay
    from spaces import GPU as on_gpu
except ImportError:

    def on_gpu(duration: Callable):
        return lambda function: function


TURN = 1.0  # seconds of a film's frames before others get their turn
SECONDS = {"predict": 10, "measure": 30, "look": 10, "develop": 15, "shoot": 15}  # asked for, start of a GPU included
PER_MEGAPIXEL = 0.4  # seconds besides


class Darkroom:
    """The model's part of the page.

    One job at a time, in the order of asking. On ZeroGPU, which has a line of its own for those that wait, each goes
    there at once: else all of the page's lines would wait while one does.
    """

    def __init__(self, model: DeepLens):
        def bound(photo: Photo) -> Photo:
            photo.model = model
            return photo

        def predict(photo: Photo) -> Photo:
            bound(photo).foreground  # noqa: B018  and the disparity with it
            return photo

        def measure(path: str, depth_model: str, depth_is: str | None) -> Photo:
            return open_photo(model, path, depth_model, depth_is)

        def look(photo: Photo, focus: Focus, lens: dict) -> Image.Image:
            return bound(photo).refocus(focus=focus, **lens)

        def develop(photo: Photo, focus: Focus, lens: dict) -> np.ndarray:
            return bound(photo).render(focus=focus, **lens)

        def shoot(photo: Photo, path: list[Focus], lens: dict) -> list[Image.Image]:
            until, frames = time.monotonic() + TURN, []
            for frame in frames_along(bound(photo), path, lens):
                frames.append(frame)
                if time.monotonic() > until:
                    break
            return frames

        kinds = {each.__name__: each for each in (predict, measure, look, develop, shoot)}

        # one for all: ZeroGPU keeps a process for each function, and every one takes its time to start
        def work(kind: str, *given: Any) -> Any:
            try:
                return kinds[kind](*given)
            except PhotoError as error:  # of what is raised there ZeroGPU brings back no more than the name
                return error

        lent = on_gpu(duration=seconds)(work)
        self.model, self._lent = model, lent
        if lent is work:
            line = ThreadPoolExecutor(1, "darkroom")
            self._lent = lambda *job: line.submit(work, *job).result()

    def _done(self, kind: str, *given: Any) -> Any:
        done = self._lent(kind, *given)
        if isinstance(done, PhotoError):
            raise done
        return done

    def open(self, path: str, disparity: str | None = None, depth_is: str | None = None) -> Photo:
        """A photo with its depth, see `photo.open_photo`; a file that is no photo never asks for a GPU."""
        if disparity is not None and is_model(disparity):
            read_photo(path)
            return self._done("predict", self._done("measure", path, disparity, depth_is))
        return self._done("predict", open_photo(self.model, path, disparity, depth_is))

    def look(self, photo: Photo, focus: Focus, lens: dict) -> Image.Image:
        """A picture of the photo's size."""
        return self._done("look", photo, focus, lens)

    def develop(self, photo: Photo, focus: Focus, lens: dict) -> np.ndarray:
        """The same unrounded, (H, W, 3) in [0, 1]."""
        return self._done("develop", photo, focus, lens)

    def film(self, photo: Photo, path: list[Focus], lens: dict) -> Iterator[Image.Image]:
        """Frames for the foci of `path` (`focus_path`), in turns of TURN seconds, so others wait no longer."""
        while path:
            frames = self._done("shoot", photo, path, lens)
            path = path[len(frames) :]
            yield from frames


def seconds(kind: str, photo: Photo | str, *_: Any) -> int:
    """How long a GPU is asked for, by kind of job and size of photo."""
    megapixels = photo.size[0] * photo.size[1] / 1e6 if isinstance(photo, Photo) else 0
    return round(SECONDS[kind] + PER_MEGAPIXEL * megapixels)
