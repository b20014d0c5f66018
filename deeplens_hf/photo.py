"""A photo in, a refocused photo out: open once, predict depth once, refocus as often as you like.

What goes in may be rotated, grey, 16-bit, CMYK or tiny; what the model sees is an upright RGB
picture; what comes out has the photo's own size, colour profile and EXIF. `pictures` reads and writes the files.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from functools import cached_property
from numbers import Real

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .disparity.levels import Prepared, last_foreground, last_map
from .disparity.own_depth import Sense, read_own_depth
from .files.pictures import PhotoError, Picture, Source, read_photo
from .heap import give_back
from .inputs import check_number, check_point
from .lens import Calibration, aperture_of, fit, fit_metres, read_camera
from .model import MAX_HIGHLIGHTS, DeepLens
from .optics import DISC, MAX_APERTURE, ApertureShape
from .rendering.grain import MAX_GRAIN, Grain, grain_of, with_grain

WIDEST = 16.0  # the largest aperture offered; training goes no further
TOLERANCE = 0.02  # of a predicted disparity around the point, sharp with it
SUBJECT_DEPTH = 0.3  # the most of the disparity's range that is kept sharp for a subject
SAME_SURFACE = 0.05  # disparities this near to the point's belong to the surface that was pointed at
LEAST_SUBJECT = 0.005  # share of the photo that the foreground must cover to count as a subject


def open_photo(
    model: DeepLens, source: Source, disparity: Source | None = None, depth_is: Sense | None = None
) -> "Photo":
    """Decode a photo and, if given, its depth; the model runs later, when first needed.

    Args:
        model: predicts depth and renders.
        source: a path, a PIL image, a binary file object, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of
            uint8, uint16 or floats in [0, 1]. The EXIF orientation is applied.
        disparity: your own depth in place of the predicted one, 1 or white = nearest: a path to an 8- or 16-bit grey
            picture or to a `.npy` file, a PIL image, or an array (H, W). It is resized to the photo. uint8, uint16 and
            floats within [0, 1] keep their scale; any other range is stretched to [0, 1]. Or "embedded": what the
            phone stored in the photo (a path or a file then). Or a Hub id or folder of a depth-estimation model.
            If all its edges lie some pixels beside the photo's, it is moved (`registration`).
        depth_is: what your own depth counts in, "disparity", "inverted" or "depth": see `own_depth.read_own_depth`.

    Raises:
        PhotoError: what was given cannot be read, or is out of range; the message says what is accepted.
    """
    picture = read_photo(source)
    if disparity is None:
        if depth_is is not None:
            raise PhotoError("depth_is goes with disparity")
        return Photo(model, picture)
    return Photo(model, picture, *read_own_depth(disparity, picture, source, depth_is, model.device))


class Photo:
    """An opened photo; made by `open_photo` or `DeepLens.open`.

    Attributes:
        picture: the photo as a PIL image, upright RGB, with its ICC profile and EXIF in `info`; not to be drawn into.
        calibration: what disparity means in metres, once `calibrate` has found out.
    """

    def __init__(
        self,
        model: DeepLens,
        picture: Picture,
        disparity: np.ndarray | None = None,
        dioptres: tuple[float, float] | None = None,
    ):
        self.model, self.picture, self._own_disparity, self._dioptres = model, picture, disparity, dioptres
        self.calibration: Calibration | None = None
        self._prepared: tuple[list[np.ndarray], list[np.ndarray], tuple] | None = None  # see `_prepare`
        give_back()  # of the photos before

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright photo in pixels."""
        return self.picture.size

    @property
    def dioptres(self) -> tuple[float, float] | None:
        """The inverse distances, in 1/m, of disparity 0 and 1: as calibrated, else as your own depth told."""
        return self.calibration.dioptres if self.calibration else self._dioptres

    @property
    def disparity(self) -> np.ndarray:
        """(H, W) float32 in [0, 1], 1 = nearest: your own, or predicted on first use."""
        return self._prediction[0] if self._own_disparity is None else self._own_disparity

    @property
    def foreground(self) -> np.ndarray:
        """(H, W) float32, probability of the main subject, predicted on first use."""
        return self._prediction[1]

    def refocus(
        self,
        point: tuple[float, float] | None = None,
        aperture: float | str = 8.0,
        focus: float | tuple[float, float] | None = None,
        shape: ApertureShape = DISC,
        highlights: float = 1.0,
        grain: float = 0.0,
    ) -> Picture:
        """The photo through a lens, at full resolution.

        Args:
            point: (x, y) of what shall be sharp, in pixels of the upright photo. Without a point, the main subject
                (`subject_range`).
            aperture: 0 (all in focus) to 16: the blur-disc radius, in pixels of a 320-pixel-long-side photo, of a point
                whose disparity differs from the focus by 1. Or an f-number, "f/1.8": after `calibrate` that of the
                real lens, before it a nominal one (`optics.aperture_of_f_number`: f/1.4 is 16). A map in
                metres does not calibrate by itself, since the lens is not known.
            focus: the disparity that is sharp, 0 to 1, or a pair of them: all between is sharp. Overrides the point.
            shape: of the aperture: blades, ring, cat's eye.
            highlights: 0 to 2: how much of the light that clipped lamps have lost is given back; 1 = as predicted.
            grain: 0 to 2: how much of the photo's own grain, which blur averages away, is given back to what is
                blurred; 1 = as much as is in what is sharp. It is measured where the photo is flattest.

        Returns:
            An RGB image, as large as the photo; its `save`, and `save_picture`, keep the photo's ICC profile and EXIF.

        Raises:
            PhotoError: an argument is out of its range.
        """
        pixels = self._rendered(point, aperture, focus, shape, highlights, grain).mul(255).round().byte()  # (3, H, W)
        return Picture.of(Image.fromarray(pixels.permute(1, 2, 0).cpu().contiguous().numpy()), self.picture.info)

    def render(
        self,
        point: tuple[float, float] | None = None,
        aperture: float | str = 8.0,
        focus: float | tuple[float, float] | None = None,
        shape: ApertureShape = DISC,
        highlights: float = 1.0,
        grain: float = 0.0,
    ) -> np.ndarray:
        """`refocus` without rounding: (H, W, 3) float32 in [0, 1], encoded as the photo is; arguments as there."""
        rendered = self._rendered(point, aperture, focus, shape, highlights, grain)
        return rendered.permute(1, 2, 0).float().cpu().contiguous().numpy()

    def _rendered(
        self,
        point: tuple[float, float] | None,
        aperture: float | str,
        focus: float | tuple[float, float] | None,
        shape: ApertureShape,
        highlights: float,
        grain: float,
    ) -> Tensor:
        """As `render`, (3, H, W) on the model's device."""
        if not isinstance(shape, ApertureShape):
            raise PhotoError(f"shape must be an ApertureShape, got {shape!r}")
        widest = WIDEST if self.calibration is None or not isinstance(aperture, str) else MAX_APERTURE
        aperture = check_number("aperture", aperture_of(aperture, self.calibration, WIDEST), 0, widest)
        if point is not None:
            check_point(point, self.size)
        highlights = check_number("highlights", highlights, 0, MAX_HIGHLIGHTS)
        grain = check_number("grain", grain, 0, MAX_GRAIN)
        if focus is None:
            focus = self.focus_range(point)
        elif np.ndim(focus) == 1 and len(focus) == 2:
            focus = (check_number("focus", focus[0], 0, 1), check_number("focus", focus[1], 0, 1))
        else:
            focus = check_number("focus", focus, 0, 1)
        image, disparity = self._image(), self._map(self.disparity)
        # the subject helps where its disparity was predicted with it; beside your own depth it would only cost a pass
        foreground = self._map(self.foreground) if self._own_disparity is None else None
        with torch.inference_mode():
            prepared = self._prepare(image, disparity, foreground)
            out = self.model.render(image, disparity, focus, aperture, foreground, shape, highlights, prepared)
            if _grey(image):  # each channel is blurred by itself, and grey stays grey
                out = out.mean(1, keepdim=True).expand_as(out)
            if grain and (own := self._grain):
                out = with_grain(out.float(), image.float(), own, grain)
        return out[0]

    def _prepare(self, image: Tensor, disparity: Tensor, foreground: Tensor | None) -> Prepared:
        """What pictures of this photo have in common: kept, unless somebody has written into the maps."""
        halvings = self.model.halvings(image)
        used = [last_map(disparity, halvings)]  # what `prepare` sees of both
        if foreground is not None:
            used.append(last_foreground(foreground, used))
        seen = [each.cpu().numpy() for each in used]
        if self._prepared is not None and all(map(np.array_equal, seen, self._prepared[0])):
            _, (mended, light), told = self._prepared
            mended, light = (torch.from_numpy(each).to(image) for each in (mended, light))
            return Prepared(mended, *told, light)
        prepared = self.model.prepare(image, disparity, foreground)
        found = [each.cpu().numpy() for each in (prepared.disparity, prepared.light)]
        self._prepared = [each.copy() for each in seen], found, (prepared.misfits, prepared.plateaus)
        return prepared

    def calibrate(
        self,
        references: Sequence[tuple[tuple[float, float], float]] = (),
        focal_length_mm: float | None = None,
        sensor_width_mm: float | None = None,
        farthest: float = math.inf,
    ) -> Calibration:
        """Find out what disparity means in metres, so that an f-number means that of a real lens.

        Args:
            references: one or two of ((x, y), metres): points of the upright photo and how far they are from the
                camera. None are needed where your own depth came in metres, as that of some models and phones does;
                one says there how far these metres are off, by a factor.
            focal_length_mm, sensor_width_mm: of the lens, real, and of the sensor's long side; if not given, by the
                EXIF (`lens.read_camera`); `sensor_width_mm=36` alone makes a full-frame camera of a phone.
            farthest: metres of the farthest thing in the photo, for one reference and depth without metres; indoors it
                is worth telling.

        Returns:
            The calibration, kept for `refocus`; its `distance` turns disparity into metres.

        Raises:
            PhotoError: points or distances that cannot be, or a lens that EXIF does not tell.
        """
        camera = read_camera(self.picture, focal_length_mm, sensor_width_mm)
        known = [(self.focus_at(point), metres) for point, metres in _references(references)]
        if self._dioptres is None or len(known) > 1:
            scale, offset = fit(known, farthest)
        elif farthest < math.inf:
            raise PhotoError("farthest is for depth that does not tell metres itself, as this one does")
        else:
            scale, offset = fit_metres(self._dioptres, known)
        self.calibration = Calibration(camera, scale, offset, max(self.size))
        return self.calibration

    def focus_at(self, point: tuple[float, float]) -> float:
        """The disparity of the surface at (x, y): the median of the pixels around the point that are level with it."""
        x, y = check_point(point, self.size)
        reach = max(1, max(self.size) // 200)
        around = self.disparity[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        level = np.abs(around - self.disparity[y, x]) <= SAME_SURFACE
        return float(np.median(around[level]))

    def focus_range(self, point: tuple[float, float] | None = None) -> tuple[float, float]:
        """The disparities, far and near, between which all is sharp: around (x, y), or without it the main subject."""
        if point is None:
            return self.subject_range()
        focus = self.focus_at(point)
        slack = TOLERANCE if self._own_disparity is None else 0.0  # what is predicted wavers over one surface
        return max(focus - slack, 0.0), min(focus + slack, 1.0)

    def reduced(self, long_side: int) -> "Photo":
        """A copy of at most so many pixels a side: the same aperture and focus give the same picture, sooner.

        PhotoError below 1 pixel.
        """
        if not (isinstance(long_side, Real) and long_side >= 1):
            raise PhotoError(f"long_side must be at least 1 pixel, got {long_side!r}")
        long_side = int(min(long_side, max(self.size)))
        small = self.picture.copy()
        small.thumbnail((long_side, long_side))

        def shrink(values: np.ndarray) -> np.ndarray:  # (H, W) -> (h, w)
            return np.array(Image.fromarray(values).resize(small.size, Image.Resampling.BOX))

        copy = Photo(self.model, Picture.of(small, self.picture.info))
        return copy._with_depth_of(self, shrink(self.disparity), shrink)

    def corrected(self, disparity: np.ndarray) -> "Photo":
        """A copy with its disparity retouched, (H, W) in [0, 1]; all else stays. PhotoError if it is no such map."""
        try:
            retouched = np.array(disparity, np.float32, order="C")
        except (TypeError, ValueError):
            retouched = np.empty(0)
        if retouched.shape != self.size[::-1] or not (retouched.min() >= 0 and retouched.max() <= 1):  # nan neither
            raise PhotoError(f"disparity must be an array {self.size[::-1]} in [0, 1], got {retouched.shape}")
        return Photo(self.model, self.picture)._with_depth_of(self, retouched, lambda values: values)

    def _with_depth_of(self, other: "Photo", disparity: np.ndarray, fit: Callable) -> "Photo":
        self.calibration, self._dioptres = other.calibration, other._dioptres
        if other._own_disparity is None:
            self._prediction = disparity, fit(other.foreground)
        else:
            self._own_disparity = disparity
        return self

    def __copy__(self) -> "Photo":
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)
        return copy

    def __deepcopy__(self, memo: dict) -> "Photo":
        memo[id(self.model)] = self.model  # all photos share it
        copy = self.__copy__()
        copy.__dict__ = deepcopy(self.__dict__, memo)
        return copy

    def __getstate__(self) -> dict:
        """What goes to another process: all but the model, which is there already; set `model` again."""
        return {**self.__dict__, "model": None}

    def subject_focus(self) -> float:
        """The disparity of the main subject: the median of the foreground, weighted by its probability.

        Where the model sees hardly any foreground (a landscape, a wall): the nearer part, its upper quartile, of the
        middle of the photo.
        """
        return self._subject_quantiles(0.5)[0]

    def subject_range(self) -> tuple[float, float]:
        """The disparities, far and near, that hold the main subject but for a tenth of it at either end.

        A subject deeper than SUBJECT_DEPTH is cut at its far end: faces are in front of bodies.
        """
        far, near = self._subject_quantiles(0.1, 0.9)
        return max(far, near - SUBJECT_DEPTH), near

    def _subject_quantiles(self, *shares: float) -> list[float]:
        step = max(1, max(self.size) // 512)  # a quantile needs no more pixels
        disparity, foreground = self.disparity[::step, ::step], self.foreground[::step, ::step]
        weight = np.where(foreground > 0.5, foreground, 0)
        if weight.mean() < LEAST_SUBJECT:
            height, width = disparity.shape
            middle = disparity[height // 4 : -(-height * 3 // 4), width // 4 : -(-width * 3 // 4)]
            return [float(np.quantile(middle, 0.75))] * len(shares)
        order = disparity.argsort(axis=None)
        reached = weight.ravel()[order].cumsum()
        return [float(disparity.ravel()[order[np.searchsorted(reached, reached[-1] * share)]]) for share in shares]

    @cached_property
    def _prediction(self) -> tuple[np.ndarray, np.ndarray]:
        """Disparity and foreground, (H, W) each: the photo's one pass through depth prediction."""
        with torch.inference_mode():
            prediction = self.model.predict_depth(self._image())
        disparity, foreground = (
            maps[0, 0].float().cpu().contiguous().numpy() for maps in (prediction.disparity, prediction.foreground)
        )
        return disparity, foreground

    @cached_property
    def _grain(self) -> Grain | None:
        return grain_of(self._image().float())

    def _image(self) -> Tensor:
        """What the model sees, (1, 3, H, W) in [0, 1]."""
        pixels = torch.from_numpy(np.array(self.picture)).to(self.model.device)
        return pixels.permute(2, 0, 1)[None].contiguous().to(self.model.dtype).div_(255)

    def _map(self, values: np.ndarray) -> Tensor:
        """Disparity or foreground as the model takes it: (H, W) -> (1, 1, H, W)."""
        return torch.from_numpy(values)[None, None].to(self.model.device, self.model.dtype)


def _references(given: Iterable | None) -> list[tuple[tuple[float, float], float]]:
    try:
        return [(point, metres) for point, metres in given or ()]
    except (TypeError, ValueError):
        raise PhotoError(f"references must be like [((x, y), metres)], got {given!r}") from None


def _grey(image: Tensor) -> bool:
    """Whether all channels of (1, 3, H, W) are the same: a few pixels tell of most photos that they are not."""
    return all(bool((each == each[:, :1]).all()) for each in (image[..., ::61, ::61], image))
