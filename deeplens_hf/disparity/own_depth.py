"""Your own depth in place of the predicted one: read, turned into disparity, resized, normalised and fitted once."""

import os
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from PIL import Image

from ..files.pictures import PhotoError, Source, check_same_orientation, decoded, full_scale, grey_levels, one_line
from ..files.writing import DIOPTRES
from ..optics import srgb_to_linear
from ..sharing.weights import HUB_NAME
from .levels import halvings_until, last_map
from .phone_depth import read_embedded
from .registration import fitted, misfit
from .unstepping import unstepped

EMBEDDED = "embedded"
# these are files, and no models
FILES = tuple(f".{kind}" for kind in "npy npz png jpg jpeg tif tiff webp heic avif bmp gif exr pgm pfm".split())

NEAREST = 1e6  # dioptres that a map may tell of, a micrometre
FITTED_AT = 768  # pixels of the long side

Sense = Literal["disparity", "depth", "inverted"]


class OwnDepth(NamedTuple):
    """disparity (H, W) float32 in [0, 1], 1 = nearest; dioptres: the inverse distance, in 1/m, that 0 and 1 stand for,
    where the source tells."""

    disparity: np.ndarray
    dioptres: tuple[float, float] | None = None


def read_own_depth(
    source: Source,
    picture: Image.Image,
    photo: Source | None = None,
    depth_is: Sense | None = None,
    device: str | torch.device = "cpu",
) -> OwnDepth:
    """Depth of your own for an opened photo.

    Args:
        source: a path to an 8- or 16-bit grey picture or to a `.npy` file, a PIL image or an array (H, W);
            "embedded": what the phone stored in the photo; or the id or the folder of a depth-estimation model that
            transformers loads.
        picture: the photo, upright RGB: what the depth is resized to and what a model looks at.
        photo: the file that `picture` came from; only "embedded" needs it.
        depth_is: "disparity" (inverse distance, larger = nearer), "inverted" (the same, larger = farther) or "depth"
            (distance, larger = farther; floats are metres; 0 is unknown). If not given: as the model's family tells;
            disparity for pictures and arrays. A phone's metadata tells in any case.
        device: where a model runs.

    Raises:
        PhotoError: what was given cannot be read or does not say what it counts in.
    """
    own = _read(source, picture, photo, depth_is, device)
    return own._replace(disparity=_fitted(own.disparity, picture))


def _read(
    source: Source, picture: Image.Image, photo: Source | None, depth_is: Sense | None, device: str | torch.device
) -> OwnDepth:
    if depth_is not in (None, *get_args(Sense)):
        raise PhotoError(f"depth_is must be 'disparity' or 'depth', got {depth_is!r} ('inverted': black is near)")
    if isinstance(source, str) and source == EMBEDDED:
        values, metric = read_embedded(photo)
        return _normalised(values, picture.size, metric)
    if is_model(source):
        from .depth_models import predict

        values, sense, metric = predict(str(source), picture, device)
        if depth_is is None and sense is None:
            raise PhotoError(
                f"depth_is must be given, 'disparity' or 'depth': {str(source)!r} does not tell which it predicts"
            )
        metric = metric and depth_is in (None, sense)
        told = {"depth": _inverse, "inverted": np.negative}.get(depth_is or sense, np.asarray)
        return _normalised(told(values), picture.size, metric)
    if depth_is == "depth":
        values, _ = _read_map(source, picture.size)
        return _normalised(_inverse(values), picture.size, metric=values.dtype.kind == "f")
    if depth_is == "inverted":
        return OwnDepth(1 - read_disparity(source, picture.size).disparity)
    return read_disparity(source, picture.size)


def is_model(source: Source) -> bool:
    """Whether this names a model: a folder, or an id such as owner/name where there is no such file."""
    if not isinstance(source, (str, os.PathLike)):
        return False
    path = Path(source)
    named = HUB_NAME.fullmatch(str(source)) and path.suffix.lower() not in FILES
    return path.is_dir() or bool(named and not path.exists())


def read_disparity(source: Source, size: tuple[int, int]) -> OwnDepth:
    """A depth map, 1 or white = nearest, resized to `size` (width, height); with its dioptres, if a .png tells them.

    uint8, uint16 and floats within [0, 1] keep their scale; any other range is stretched to [0, 1]. PhotoError if it
    cannot be read, has another rank than 2, or holds values that are not finite.
    """
    values, told = _read_map(source, size)
    disparity = values.astype(np.float32) / np.float32(full_scale(values))
    if not np.isfinite(disparity).all():
        raise PhotoError("disparity must hold finite numbers only, got nan or infinity: give them the farthest value")
    if disparity.min() < 0 or disparity.max() > 1:
        return _normalised(disparity, size)
    return OwnDepth(_resized(disparity, size), _dioptres(told))


def _dioptres(told: str) -> tuple[float, float] | None:
    """What a .png of `writing.save_disparity` says of its range."""
    try:
        low, high = (float(value) for value in told.split())
    except ValueError:
        return None
    return (low, high) if -NEAREST < low < high < NEAREST else None  # no infinity, nor NaN


def _read_map(source: Source, size: tuple[int, int]) -> tuple[np.ndarray, str]:
    """The numbers (h, w) of a picture, a `.npy` file or an array, on the scale they have; what it tells of DIOPTRES.

    PhotoError also for a map that is upright where the photo of `size` (width, height) lies, or the other way round.
    """
    told = ""
    if isinstance(source, (str, os.PathLike)) and Path(source).suffix.lower() == ".npy":
        try:
            values = np.load(source, allow_pickle=False)
        except Exception as error:  # numpy raises nearly anything on a broken file
            raise PhotoError(f"disparity must be a readable .npy file of numbers: {one_line(error)}") from None
        if not isinstance(values, np.ndarray):
            raise PhotoError("disparity must be a readable .npy file of numbers: this is an archive of them (.npz)")
    elif isinstance(source, np.ndarray):
        values = source
        if np.ma.is_masked(source):  # what is not known
            values = source.astype(np.float32).filled(np.nan)
    else:
        with decoded(source, "disparity") as picture:
            values, told = grey_levels(picture), str(picture.info.get(DIOPTRES, ""))
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "uif":
        raise PhotoError(f"disparity must be an array (H, W) of numbers, got {values.dtype} {values.shape}")
    check_same_orientation(values, size, "disparity")
    return values.astype(values.dtype.newbyteorder("="), copy=False), told


def _inverse(distance: np.ndarray) -> np.ndarray:
    """Distances (h, w) -> inverse distances; infinity -> 0; 0, less and nan mean unknown and become the farthest."""
    distance = distance.astype(np.float64)
    known = distance > 0  # nan is not
    if not known.any():
        raise PhotoError("disparity, given as depth, must hold distances above 0; this holds none")
    return np.where(known, 1 / np.where(known, distance, 1), 1 / distance[known].max()).astype(np.float32)


def _normalised(values: np.ndarray, size: tuple[int, int], metric: bool = False) -> OwnDepth:
    """Any scale (h, w), larger = nearer -> [0, 1] at `size`; a flat map becomes 0.5."""
    if not np.isfinite(values).all():
        raise PhotoError("disparity must hold finite numbers only, got nan or infinity")
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return OwnDepth(np.full(size[::-1], 0.5, np.float32))
    return OwnDepth(_resized((values - low) / (high - low), size), (low, high) if metric else None)


def _fitted(disparity: np.ndarray, picture: Image.Image) -> np.ndarray:
    """(H, W) brought where the photo has its edges, if they all lie off: then it is shown and clicked as it is used."""
    halvings = halvings_until(max(picture.size), FITTED_AT)
    pixels = torch.from_numpy(np.array(picture.reduce(2**halvings))).permute(2, 0, 1)[None] / 255
    map = torch.from_numpy(disparity)[None, None]
    off = misfit(srgb_to_linear(pixels), last_map(map, halvings))
    return fitted(map, [off], 2**halvings)[0, 0].numpy()


def _resized(disparity: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if disparity.shape != size[::-1]:
        disparity = unstepped(torch.from_numpy(disparity)[None, None])[0, 0].numpy()  # resized, its steps are not even
        # bilinear: for true maps four times smaller than the photo, `edges.refine` costs 0.9 dB of the rendering
        disparity = np.array(Image.fromarray(disparity).resize(size, Image.Resampling.BILINEAR))
    return disparity.clip(0, 1)
