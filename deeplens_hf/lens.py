"""A real lens: what the camera tells of it, and what a known distance in the picture makes of relative disparity.

Disparity is affine in inverse distance: disparity = scale / distance + offset. Two points of known distance give both
constants; one gives `scale`, with the assumption that disparity 0, the farthest thing in the photo, is infinitely far.
The blur that follows is `optics.pixels_per_dioptre`.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image

from .files.pictures import PhotoError
from .optics import MAX_APERTURE, aperture_of_f_number, aperture_of_radius, f_number_of_aperture, pixels_per_dioptre

FULL_FRAME_DIAGONAL = math.hypot(36, 24)  # mm, what a 35 mm equivalent is measured by (CIPA DCG-001)
F_NUMBER = re.compile(r"\s*[fF]\s*/?\s*(\d+(?:\.\d*)?|\.\d+)\s*")
CROPPED = 0.03  # logarithm of the sides' ratio: more than this from EXIF's, and the photo is a part of that one
MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0}  # of EXIF's FocalPlaneResolutionUnit


def read_f_number(text: str) -> float | None:
    """1.8 of "f/1.8", "F1.8" or "f 1.8"; None where it is written otherwise or is 0."""
    found = F_NUMBER.fullmatch(text)
    return (float(found[1]) or None) if found else None


@dataclass(frozen=True)
class Camera:
    """focal_px: from the lens to the sensor, in pixels of the photo; focal_length_mm: of the lens, real."""

    focal_px: float
    focal_length_mm: float


def read_camera(
    picture: Image.Image, focal_length_mm: float | None = None, sensor_width_mm: float | None = None
) -> Camera:
    """The camera of a photo, or another one of the same view.

    A photo's angle of view is taken from what is given where both are; else from EXIF's 35 mm equivalent, or from its
    focal length and the pixels per millimetre of the sensor. Then either alone puts another lens in place of the
    camera's at the same view: `sensor_width_mm=36` makes a full-frame camera of a phone.

    Args:
        picture: upright, whole (a crop has another view), with its EXIF.
        focal_length_mm: real, not the 35 mm equivalent.
        sensor_width_mm: of the sensor's long side, which the photo's long side fills.

    Raises:
        PhotoError: an argument is no positive number, EXIF does not tell what was left out, or tells of a photo of
            another shape.
    """
    for name, value in (("focal_length_mm", focal_length_mm), ("sensor_width_mm", sensor_width_mm)):
        if value is not None and not _number(value):
            raise PhotoError(f"{name} must be a number of millimetres above 0, got {value!r}")
    tags = picture.getexif().get_ifd(ExifTags.IFD.Exif)
    taken = [_number(tags.get(tag)) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    told = _number(tags.get(ExifTags.Base.FocalLength))
    equivalent = _number(tags.get(ExifTags.Base.FocalLengthIn35mmFilm))
    long_side = max(picture.size)
    sensor = _sensor_width(tags)
    if (equivalent or (told and sensor)) and not (focal_length_mm and sensor_width_mm):
        if all(taken) and abs(math.log(max(taken) / min(taken) * min(picture.size) / long_side)) > CROPPED:
            raise PhotoError(
                "focal_length_mm and sensor_width_mm, of what is left, must be given: the photo has another shape than "
                f"the {taken[0]:g} x {taken[1]:g} pixels that its EXIF tells of"
            )
        # the camera's own; an argument mixed with EXIF's numbers would be of no view that the photo has
        own = equivalent / FULL_FRAME_DIAGONAL * math.hypot(*picture.size) if equivalent else told / sensor * long_side
        focal = focal_length_mm or (sensor_width_mm and own * sensor_width_mm / long_side) or told
        if not focal:
            raise PhotoError("focal_length_mm or sensor_width_mm must be given: the photo's EXIF tells neither")
        return Camera(own, focal)
    focal, sensor = focal_length_mm or told, sensor_width_mm or sensor
    if not focal:
        raise PhotoError("focal_length_mm must be given: the photo's EXIF does not tell it")
    if not sensor:
        raise PhotoError("sensor_width_mm must be given: the photo's EXIF does not tell it")
    return Camera(focal / sensor * long_side, focal)


@dataclass(frozen=True)
class Calibration:
    """What disparity means in a photo of `long_side` pixels: disparity = scale / metres + offset."""

    camera: Camera
    scale: float
    offset: float
    long_side: int

    def distance(self, disparity: float | np.ndarray) -> np.ndarray:
        """Metres, of the same shape; infinite at and beyond the disparity of infinity."""
        dioptres = (np.asarray(disparity, np.float64) - self.offset) / self.scale
        return np.where(dioptres > 0, 1 / np.where(dioptres > 0, dioptres, 1), np.inf)

    @property
    def dioptres(self) -> tuple[float, float]:
        """The inverse distances, in 1/m, of disparity 0 and 1."""
        return -self.offset / self.scale, (1 - self.offset) / self.scale

    def disparity(self, metres: float) -> float:
        """The disparity of what is so far away; outside [0, 1] where nothing in the photo is."""
        return self.scale / metres + self.offset

    def aperture(self, f_number: float) -> float:
        """`aperture` as everywhere else: radius in pixels of a 320-pixel long side, per unit disparity."""
        per_dioptre = pixels_per_dioptre(self.camera.focal_px, self.camera.focal_length_mm, f_number)
        return aperture_of_radius(per_dioptre / self.scale, (self.long_side, self.long_side))


def fit(known: Sequence[tuple[float, float]], farthest: float = math.inf) -> tuple[float, float]:
    """scale and offset from one or two pairs of disparity and metres.

    With one pair, disparity 0 is taken to be `farthest` metres away.

    Raises:
        PhotoError: a distance is not above 0, or the farther point is the nearer one in the depth map.
    """
    if not 1 <= len(known) <= 2:
        raise PhotoError(
            f"references must be one or two points with their distances, got {len(known)}; without any, the depth has "
            "to be in metres"
        )
    if not _positive(farthest):
        raise PhotoError(f"farthest must be a number of metres above 0, got {farthest!r}")
    if len(known) == 2 and farthest < math.inf:
        raise PhotoError("farthest goes with one reference: two say themselves how far the rest is")
    for _, metres in known:
        if not _number(metres):
            raise PhotoError(f"references must have distances in metres above 0, got {metres!r}")
    (near, metres), (far, others) = known[0], known[1] if len(known) == 2 else (0.0, farthest)
    dioptres = 1 / metres - 1 / others
    if not dioptres or near == far:
        raise PhotoError("references must be at two distances, and on things that the depth map tells apart")
    if dioptres * (near - far) <= 0:
        raise PhotoError(
            f"references must be nearer where the depth map is brighter: {metres:g} m has disparity {near:.3f}, "
            f"{others:g} m has {far:.3f}"
        )
    scale = (near - far) / dioptres
    return scale, near - scale / metres


def fit_metres(dioptres: tuple[float, float], known: Sequence[tuple[float, float]] = ()) -> tuple[float, float]:
    """scale and offset where disparity 0 and 1 are known in 1/m; one pair of disparity and metres corrects a factor.

    PhotoError: the distance is not above 0, or at a disparity of infinity.
    """
    far, near = dioptres
    for disparity, metres in known:
        told = far + disparity * (near - far)
        if not _number(metres):
            raise PhotoError(f"references must have distances in metres above 0, got {metres!r}")
        if told <= 0:
            raise PhotoError("references must be nearer than the depth map's infinity")
        far, near = (each / (metres * told) for each in dioptres)
    return 1 / (near - far), -far / (near - far)


def aperture_of(value: float | str, calibration: Calibration | None, widest: float) -> float | str:
    """An aperture as people give it, "f/1.8" or a number -> the number; whatever else comes back as it is.

    An f-number means that of the calibrated camera, up to the widest blur that can be rendered; without a calibration,
    the nominal aperture (`optics.aperture_of_f_number`), up to `widest`.

    Raises:
        PhotoError: the f-number asks for more blur than that; the message says how far it goes.
    """
    f_number = read_f_number(value) if isinstance(value, str) else None
    if f_number is None:
        if isinstance(value, str) and not _is_number(value):
            raise PhotoError(f"aperture must be a number from 0 to {widest:g} or like 'f/1.8', got {value!r}")
        return value
    if calibration is None:
        aperture, most, least = aperture_of_f_number(f_number), widest, f_number_of_aperture(widest)
    else:
        aperture, most = calibration.aperture(f_number), MAX_APERTURE
        least = calibration.aperture(1.0) / most
    if aperture > most * (1 + 1e-6):
        raise PhotoError(
            f"aperture must be f/{math.ceil(least * 100) / 100:g} or narrower for this photo, got {value!r}"
        )
    return min(aperture, most)


def _sensor_width(tags: dict) -> float | None:
    """The sensor's long side in mm, from EXIF's pixels per millimetre of the picture as it was taken."""
    resolution = _number(tags.get(ExifTags.Base.FocalPlaneXResolution))
    taken = max(_number(tags.get(tag)) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight))
    unit = MILLIMETRES.get(tags.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))
    return taken / resolution * unit if resolution and taken and unit else None


def _number(value: object) -> float:
    """The value; 0, which EXIF writes for unknown, for what is no finite number above it."""
    return float(value) if _positive(value) and math.isfinite(value) else 0.0


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _positive(value: object) -> bool:
    try:
        return not isinstance(value, str) and float(value) > 0
    except (TypeError, ValueError, ZeroDivisionError):
        return False
