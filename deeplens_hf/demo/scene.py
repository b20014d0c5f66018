"""What one visitor is looking at: a photo, with its disparity, and a copy of both at the size of a screen."""

import uuid
from dataclasses import dataclass, field

import numpy as np

from ..lens import aperture_of
from ..optics import NOMINAL, ApertureShape
from ..photo import WIDEST, Photo

# longest side, in pixels, of what is shown; a little over the model's `blur_size`, so blurred at half of it, and soon
SCREEN = 1040
# the f-numbers on the ring of a lens, in thirds of a stop, narrow to wide
STOPS = (16, 14, 13, 11, 10, 9, 8, 7.1, 6.3, 5.6, 5, 4.5, 4, 3.5, 3.2, 2.8, 2.5, 2.2, 2, 1.8, 1.6, 1.4)
ROUND = "Round"


@dataclass(frozen=True, eq=False)
class Scene:
    """A photo opened by a visitor; what changes its depth makes another scene of it.

    Attributes:
        name: of the file, as uploaded, without its suffix.
        photo: at its own size.
        source: where the depth came from, in words for people.
        path: of the uploaded file.
        file: unlike any other's; the same for all scenes of one upload.
        untouched: the disparity (H, W) before any stroke of the brush.
        strokes: of the brush, in order.
        own: path of the depth map that the visitor gave for this photo, if any.
        id: unlike any other scene's.
        preview: the photo at the size of a screen.
    """

    name: str
    photo: Photo
    source: str
    path: str
    file: str
    untouched: np.ndarray
    strokes: tuple[dict, ...] = ()
    own: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    preview: Photo = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "preview", self.photo.reduced(SCREEN))

    def forget(self) -> None:
        """Let go what takes memory, whoever still has the scene; `photo` is None then."""
        for name in ("photo", "preview", "untouched"):
            object.__setattr__(self, name, None)

    def focus(self, wish: dict | None) -> tuple[float, float]:
        """The disparities, far and near, between which the visitor wants all sharp; the main subject if nothing said.

        Args:
            wish: the viewfinder's value. PhotoError if its point lies outside the photo.
        """
        wish = wish or {}
        if wish.get("range"):
            return tuple(wish["range"])
        return self.photo.focus_range(wish.get("point"))

    @property
    def nearly_flat(self) -> bool:
        """Whether its depth leaves half of the range empty, as predicted depth does of what lies flat below."""
        return float(np.ptp(self.untouched)) < 0.5

    @property
    def widest(self) -> float:
        """The aperture at f/1, to be divided by the f-number: nominal, or once calibrated that of the real lens."""
        return self.photo.calibration.aperture(1.0) if self.photo.calibration else NOMINAL

    def lens(
        self,
        stop: float,
        blades: str,
        roundness: float,
        rotation: float,
        ring: float,
        cat_eye: float,
        highlights: float,
        grain: float,
    ) -> dict:
        """The settings of `Photo.refocus` that the controls stand for; `stop` counts STOPS. PhotoError if too wide."""
        aperture = f"f/{STOPS[int(stop)]:g}"
        aperture_of(aperture, self.photo.calibration, WIDEST)
        # the controls of a polygon keep what was set while the aperture is round
        polygon = (0, 0, 0) if blades == ROUND else (int(blades), rotation, roundness)
        shape = ApertureShape(*polygon, ring, cat_eye)
        return {"aperture": aperture, "shape": shape, "highlights": highlights, "grain": grain}
