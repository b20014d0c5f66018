"""What comes from outside, judged before it waits for a GPU: no photo, too large a photo, values out of range."""

import inspect
import mmap
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder
from PIL import ExifTags, Image, UnidentifiedImageError

from ..files.pictures import PhotoError, check_scans, one_line, open_header
from ..files.writing import LONGEST_SIDES
from ..inputs import check_point
from ..model import MAX_HIGHLIGHTS
from ..photo import WIDEST
from ..rack_focus import EASINGS
from ..rack_focus import LONGEST as LONGEST_FILM
from .files import sentence

MOST = 50_000_000  # pixels of an upload
LONGEST = LONGEST_SIDES["JPEG"]  # pixels of a side: our results are some
RANGES = {"aperture": (0.0, WIDEST), "highlights": (0.0, MAX_HIGHLIGHTS), "seconds": (0.5, LONGEST_FILM)}
POINTS = (("x", "y"), ("start_x", "start_y"), ("end_x", "end_y"))


def check_upload(path: str, name: str = "photo") -> tuple[int, int]:
    """(width, height) of the upright picture, by the file's header alone.

    PhotoError, of `name`, if nobody uploaded it, if it is no picture, or if it is larger than MOST pixels, LONGEST on a
    side, or `pictures.SCANS`.
    """
    _check_uploaded(path, name)
    try:
        with open(path, "rb") as file:
            header = open_header(file, name)
            width, height = header.size
            size = f"this one has {width} x {height}"
            if width * height > MOST:
                raise PhotoError(f"{name} must have at most {MOST // 10**6} megapixels, {size}")
            if max(width, height) > LONGEST:
                raise PhotoError(f"{name} must have sides of at most {LONGEST} pixels, {size}")
            if header.info.get("progressive"):
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    check_scans(content, name)
            return (height, width) if _on_its_side(header) else (width, height)
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise PhotoError(f"{name} must be a picture (JPEG, PNG, TIFF, WebP, HEIC ...), {path} is none") from None
    except Exception as error:  # decoders raise nearly anything on a broken file
        raise PhotoError(f"{name} must be a whole, readable picture: {one_line(error)}") from None


def check_map(path: str) -> None:
    """PhotoError if somebody's own depth map would be refused as a photo; a .npy by the number of its numbers."""
    if Path(path).suffix.lower() != ".npy":
        check_upload(path, "disparity")
        return
    _check_uploaded(path, "disparity")
    try:
        size = np.load(path, mmap_mode="r", allow_pickle=False).size
    except Exception:  # numpy raises nearly anything on a broken file
        return  # who reads it says what is wrong
    if size > MOST:
        raise PhotoError(f"disparity must have at most {MOST // 10**6} megapixels")


def _check_uploaded(path: str, name: str) -> None:
    """Gradio asks it of what says that it is a file; whoever calls a listener by hand may leave that out."""
    folder = Path(get_upload_folder()).resolve()
    if not (isinstance(path, str) and Path(path).resolve().is_relative_to(folder) and Path(path).is_file()):
        raise PhotoError(f"{name} must be uploaded first")


def _on_its_side(header: Image.Image) -> bool:
    """Whether the EXIF turns it by a quarter; broken EXIF turns nothing, as in `pictures.read_photo`."""
    if header.format == "TIFF":  # whose size Pillow tells upright
        return False
    try:
        return header.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    except Exception:  # Pillow raises nearly anything on it
        return False


def check_file(file: dict | None) -> dict:
    """`gr.validate` of the upload box's file."""
    if file is None:  # emptied just now
        return gr.validate(True, "")
    path, name = file.get("path"), file.get("orig_name")
    try:
        check_upload(path)
    except PhotoError as error:
        return gr.validate(False, sentence(error, path, name or "the file"))
    return gr.validate(True, "")


def check_opening(file: dict | None, _: object) -> list[dict]:
    """The same for the listener that opens it, which takes the flag of a film besides."""
    return [check_file(file), gr.validate(True, "")]


def validator_of(function: Callable) -> Callable:
    """Judges a call of one of the published functions, an answer of `gr.validate` for each of its arguments."""
    names = list(inspect.signature(function).parameters)

    def validate(*values: object) -> list[dict] | dict:
        told = faults(dict(zip(names, values, strict=True)))
        answers = [gr.validate(name not in told, told.get(name, "")) for name in names]
        return answers if len(answers) > 1 else answers[0]

    return validate


def faults(call: dict) -> dict[str, str]:
    """What is wrong with a call, a sentence for each argument that is."""
    photo = call["photo"]
    if photo is None:
        return {"photo": "photo must be a file"}
    try:
        size = check_upload(photo)
    except PhotoError as error:
        return {"photo": sentence(error, photo, Path(photo).name)}
    told = {}
    for name, (low, high) in RANGES.items():
        value = call.get(name, low)
        if not (isinstance(value, (int, float)) and low <= value <= high):
            told[name] = f"{name} must be a number from {low:g} to {high:g}, got {value!r}"
    if call.get("easing", "smooth") not in EASINGS:
        told["easing"] = f"easing must be one of {', '.join(EASINGS)}, got {call['easing']!r}"
    for names in POINTS:
        point = tuple(call.get(name) for name in names)
        if names[0] not in call or (names == ("x", "y") and point == (None, None)):  # the main subject
            continue
        try:
            check_point(point, size)
        except PhotoError as error:
            told[names[0]] = str(error)
    return told
