"""What needs the model, each a function that a GPU can be lent to: photos come in and go out without their model."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from ..model import DeepLens
from ..own_depth import is_model
from ..photo import Photo, open_photo
from ..pictures import read_photo
from ..rack_focus import rack_focus

try:  # on ZeroGPU, functions so marked run where there is a GPU, for so many seconds at most
    from spaces import GPU as on_gpu
except ImportError:

    def on_gpu(duration: int):
        return lambda function: function


class Darkroom:
    """The model's part of the page.

    Attributes:
        look: (photo, focus, lens) -> picture of the photo's size.
        develop: (photo, focus, lens) -> the same unrounded, (H, W, 3) in [0, 1].
        film: (photo, start, end, settings) -> frames.
    """

    def __init__(self, model: DeepLens):
        @on_gpu(duration=10)
        def predict(photo: Photo) -> Photo:
            bound(photo).foreground  # noqa: B018  and the disparity with it
            return photo

        @on_gpu(duration=30)
        def measure(path: str, depth_model: str, depth_is: str | None) -> Photo:
            return open_photo(model, path, depth_model, depth_is)

        @on_gpu(duration=10)
        def look(photo: Photo, focus: tuple[float, float], lens: dict) -> Image.Image:
            return bound(photo).refocus(focus=focus, **lens)

        @on_gpu(duration=30)
        def develop(photo: Photo, focus: tuple[float, float], lens: dict) -> np.ndarray:
            return bound(photo).render(focus=focus, **lens)

        @on_gpu(duration=120)
        def film(photo: Photo, start: tuple, end: tuple, settings: dict) -> Iterator[Image.Image]:
            yield from rack_focus(bound(photo), start, end, **settings)

        def bound(photo: Photo) -> Photo:
            photo.model = model
            return photo

        self.model, self._predict, self._measure = model, predict, measure
        self.look, self.develop, self.film = look, develop, film

    def open(self, path: str, disparity: str | None = None, depth_is: str | None = None) -> Photo:
        """A photo with its depth, see `photo.open_photo`; a file that is no photo never asks for a GPU."""
        if disparity is not None and is_model(disparity):
            read_photo(path)
            return self._predict(self._measure(path, disparity, depth_is))
        return self._predict(open_photo(self.model, path, disparity, depth_is))
