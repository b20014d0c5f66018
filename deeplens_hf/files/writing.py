"""Pictures and disparities into files, whole or not at all; of 8 bits, disparities of 16."""

import os
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from hashlib import sha256
from numbers import Integral
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, PngImagePlugin

from .pictures import BEST, MAX_PIXELS, PhotoError, Picture

LONGEST_NAME = 200  # bytes of a file's name that it keeps while it is written; disks allow 255 in all
FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP",
}  # fmt: skip
LONGEST_SIDES = {"JPEG": 65_500, "WEBP": 16_383}  # pixels that a file of these can have
DIOPTRES = "Dioptres"  # a disparity .png's text: the inverse distances, in 1/m, of values 0 and 65535
DISPARITY_SUFFIXES = (".png", ".npy")

# inferno (Smith and van der Walt, CC0): a fit of degree 6 in t, a row a power of t, columns red, green, blue
INFERNO = np.array(
    [
        [0.00021894, 0.00165100, -0.01948090],
        [0.10651342, 0.56395644, 3.93271239],
        [11.60249308, -3.97285397, -15.94239411],
        [-41.70399613, 17.43639888, 44.35414520],
        [77.16293570, -33.40235894, -81.80730926],
        [-71.31942824, 32.62606426, 73.20951986],
        [25.13112622, -12.24266895, -23.07032500],
    ]
)


def save_picture(picture: Image.Image, path: str | os.PathLike, quality: int = 95) -> None:
    """Write `picture` to `path` with the ICC profile and EXIF in its `info`: .jpg, .png, .tif or .webp, by the suffix.

    The file appears whole or not at all. PhotoError for another suffix, a folder that does not exist, a quality outside
    1 to 100, or sides longer than such a file can have; OSError if the disk refuses.
    """
    suffix = check_target(path, FORMATS)
    if not (isinstance(quality, Integral) and 1 <= quality <= 100):
        raise PhotoError(f"quality must be from 1 to 100, a whole number, got {quality!r}")
    if max(picture.size) > (longest := LONGEST_SIDES.get(FORMATS[suffix], MAX_PIXELS)):
        raise PhotoError(f"path must not end in {suffix}: it holds at most {longest} pixels a side, not {picture.size}")
    extra: dict = {}
    if FORMATS[suffix] in ("JPEG", "WEBP"):
        extra["quality"] = quality
    if FORMATS[suffix] == "JPEG" and quality >= 90:
        extra["subsampling"] = BEST["subsampling"]
    with replacing(path) as file:
        Picture.of(picture, picture.info).save(file, FORMATS[suffix], **extra)


def save_disparity(disparity: np.ndarray, path: str | os.PathLike, dioptres: tuple[float, float] | None = None) -> None:
    """Write disparity (H, W) in [0, 1] as a 16-bit grey .png, its text saying what it means, or as a float32 .npy.

    dioptres: the inverse distances, in 1/m, of disparity 0 and 1, if known; the .png tells them. The file appears whole
    or not at all. PhotoError for another suffix, a folder that does not exist, or what is no map of finite numbers.
    """
    disparity = np.asarray(disparity)
    if disparity.ndim != 2 or disparity.dtype.kind != "f" or not np.isfinite(disparity).all():
        raise PhotoError(f"disparity must be an array (H, W) of finite floats, got {disparity.dtype} {disparity.shape}")
    disparity = disparity.astype(np.float32)  # half precision knows no 65535
    if check_target(path, DISPARITY_SUFFIXES) == ".npy":
        with replacing(path) as file:
            np.save(file, disparity)
    else:
        text = PngImagePlugin.PngInfo()
        text.add_text("Title", "Disparity (relative inverse depth)")
        text.add_text("Description", "value / 65535 is the disparity in [0, 1]: 65535 = nearest, 0 = farthest")
        text.add_text("Software", "deeplens_hf")
        if dioptres is not None:
            text.add_text(DIOPTRES, f"{dioptres[0]:.9g} {dioptres[1]:.9g}")
        levels = Image.fromarray((disparity.clip(0, 1) * 65535).round().astype(np.uint16))
        with replacing(path) as file:
            levels.save(file, "PNG", pnginfo=text)


def check_target(path: str | os.PathLike, suffixes: Collection[str]) -> str:
    """The suffix of a file to be written; PhotoError unless it is one of these, no folder, and its folder exists."""
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise PhotoError(f"path must end in {', '.join(suffixes)}, got {str(path)!r}")
    if path.is_dir():
        raise PhotoError(f"path must be a file, {str(path)!r} is a folder")
    if not path.parent.is_dir():
        raise PhotoError(f"path must lie in an existing folder, got {str(path)!r}")
    if not os.access(path.parent, os.W_OK):
        raise PhotoError(f"path must lie in a folder that may be written to, got {str(path)!r}")
    return path.suffix.lower()


def colour_disparity(disparity: np.ndarray) -> Image.Image:
    """Disparity (H, W) in [0, 1] as a picture to look at: dark = far, bright = near, in even perceptual steps."""
    powers = np.linspace(0, 1, 256)[:, None] ** np.arange(len(INFERNO))  # (256, 7)
    table = ((powers @ INFERNO).clip(0, 1) * 255).round().astype(np.uint8)  # (256, 3)
    return Image.fromarray(table[(disparity.clip(0, 1) * 255).round().astype(np.uint8)])


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A file to write, beside the target under another name, then renamed: nobody sees half a file.

    What is replaced keeps its permissions; a link goes on leading to the file.
    """
    path = Path(os.path.realpath(path))
    part = path.with_name(part_name(path.name, uuid.uuid4().hex[:8]))
    try:
        with part.open("xb") as file:
            yield file
        if path.exists():
            shutil.copymode(path, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def part_name(name: str, mark: str) -> str:
    """What a file of this name is called while it is written: no longer than disks allow where the name itself is."""
    if len(encoded := os.fsencode(name)) > LONGEST_NAME:
        name = encoded[:LONGEST_NAME].decode(errors="ignore") + sha256(encoded).hexdigest()[:8]
    return f".{name}.{mark}.part"
