"""What needs the model, each a function that a GPU can be lent to: photos come in and go out without their model."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import wraps

import numpy as np
from PIL import Image

from ..disparity.own_depth import is_model
from ..files.pictures import read_photo
from ..model import DeepLens
from ..photo import Photo, open_photo
from ..rack_focus import Focus, frames_along

try:  # on ZeroGPU, functions so marked run where there is a GPU, for so many seconds at most
    from spaces import GPU as on_gpu
except ImportError:

    def on_gpu(duration: int):
        return lambda function: function


TURN = 1.0  # seconds of a film's frames before others get their turn


class Darkroom:
    """The model's part of the page: one job at a time, in the order of asking.

    Attributes:
        look: (photo, focus, lens) -> picture of the photo's size.
        develop: (photo, focus, lens) -> the same unrounded, (H, W, 3) in [0, 1].
    """

    def __init__(self, model: DeepLens):
        line = ThreadPoolExecutor(1, "darkroom")

        def in_turn(duration: int) -> Callable:
            def decorate(function: Callable) -> Callable:
                lent = on_gpu(duration=duration)(function)

                @wraps(function)
                def wait(*given):  # in the context of the request: by it, ZeroGPU knows whose seconds these are
                    return line.submit(copy_context().run, lent, *given).result()

                return wait

            return decorate

        @in_turn(duration=10)
        def predict(photo: Photo) -> Photo:
            bound(photo).foreground  # noqa: B018  and the disparity with it
            return photo

        @in_turn(duration=30)
        def measure(path: str, depth_model: str, depth_is: str | None) -> Photo:
            return open_photo(model, path, depth_model, depth_is)

        @in_turn(duration=10)
        def look(photo: Photo, focus: Focus, lens: dict) -> Image.Image:
            return bound(photo).refocus(focus=focus, **lens)

        @in_turn(duration=30)
        def develop(photo: Photo, focus: Focus, lens: dict) -> np.ndarray:
            return bound(photo).render(focus=focus, **lens)

        @in_turn(duration=15)
        def shoot(photo: Photo, path: list[Focus], lens: dict) -> list[Image.Image]:
            until, frames = time.monotonic() + TURN, []
            for frame in frames_along(bound(photo), path, lens):
                frames.append(frame)
                if time.monotonic() > until:
                    break
            return frames

        def bound(photo: Photo) -> Photo:
            photo.model = model
            return photo

        self.model, self._predict, self._measure, self._shoot = model, predict, measure, shoot
        self.look, self.develop = look, develop

    def open(self, path: str, disparity: str | None = None, depth_is: str | None = None) -> Photo:
        """A photo with its depth, see `photo.open_photo`; a file that is no photo never asks for a GPU."""
        if disparity is not None and is_model(disparity):
            read_photo(path)
            return self._predict(self._measure(path, disparity, depth_is))
        return self._predict(open_photo(self.model, path, disparity, depth_is))

    def film(self, photo: Photo, path: list[Focus], lens: dict) -> Iterator[Image.Image]:
        """Frames for the foci of `path` (`focus_path`), in turns of TURN seconds, so others wait no longer."""
        while path:
            frames = self._shoot(photo, path, lens)
            path = path[len(frames) :]
            yield from frames
