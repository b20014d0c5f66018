"""What one visitor is looking at: the photo, with its disparity, and a copy of both at the size of a screen."""

import uuid
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..model import DeepLens
from ..photo import TOLERANCE, Photo

SCREEN = 1000  # longest side, in pixels, of what is shown; the result to save has the photo's own size


@dataclass(frozen=True, eq=False)
class Scene:
    """A photo opened by a visitor.

    Attributes:
        id: unlike any other scene's.
        name: of the file, as uploaded, without its suffix.
        photo: at its own size.
        preview: the same, at most SCREEN pixels a side; apertures look alike on both.
    """

    id: str
    name: str
    photo: Photo
    preview: Photo

    @classmethod
    def of(cls, model: DeepLens, photo: Photo, name: str) -> "Scene":
        """The photo with its depth, which is predicted here if it was not given."""
        small = photo.picture.copy()
        small.thumbnail((SCREEN, SCREEN))
        disparity = np.array(Image.fromarray(photo.disparity).resize(small.size, Image.Resampling.BOX))
        return cls(uuid.uuid4().hex[:12], name, photo, Photo(model, small, disparity))

    def focus(self, wish: dict | None) -> tuple[float, float]:
        """The disparities, far and near, between which the visitor wants all sharp; the main subject if nothing said.

        Args:
            wish: the viewfinder's value. ValueError if its point lies outside the photo.
        """
        wish = wish if wish and wish.get("id") == self.id else {}
        if wish.get("range"):
            return tuple(wish["range"])
        if wish.get("point"):
            focus = self.photo.focus_at(wish["point"])
            return max(focus - TOLERANCE, 0.0), min(focus + TOLERANCE, 1.0)
        return self.photo.subject_range()
