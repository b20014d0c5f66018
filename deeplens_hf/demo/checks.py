"""What comes from outside, judged before it waits for a GPU: no photo, too large a photo, values out of range."""

import inspect
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from PIL import ExifTags, Image, UnidentifiedImageError

from ..files.pictures import PhotoError, one_line, open_header
from ..inputs import check_point
from ..model import MAX_HIGHLIGHTS
from ..photo import WIDEST
from ..rack_focus import EASINGS, LONGEST
from .files import sentence

MOST = 50_000_000  # pixels of an upload
RANGES = {"aperture": (0.0, WIDEST), "highlights": (0.0, MAX_HIGHLIGHTS), "seconds": (0.5, LONGEST)}
POINTS = (("x", "y"), ("start_x", "start_y"), ("end_x", "end_y"))


def check_upload(path: str) -> tuple[int, int]:
    """(width, height) of the upright photo, by the file's header alone.

    PhotoError if it is no picture or has more than MOST pixels.
    """
    try:
        with open(path, "rb") as file:
            header = open_header(file, "photo")
            width, height = header.size
            if width * height > MOST:
                raise PhotoError(f"photo must have at most {MOST // 10**6} megapixels, this one has {width} x {height}")
            return (height, width) if _lies(header) else (width, height)
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise PhotoError(f"photo must be a picture (JPEG, PNG, TIFF, WebP, HEIC ...), {path} is none") from None
    except Exception as error:  # decoders raise nearly anything on a broken file
        raise PhotoError(f"photo must be a whole, readable picture: {one_line(error)}") from None


def _lies(header: Image.Image) -> bool:
    """Whether the EXIF turns it by a quarter; broken EXIF turns nothing, as in `pictures.read_photo`."""
    if header.format == "TIFF":  # whose size Pillow tells upright
        return False
    try:
        return header.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    except Exception:  # Pillow raises nearly anything on it
        return False


def check_file(file: dict | None) -> dict:
    """`gr.validate` of the upload box's file."""
    try:
        if file is not None:  # None: emptied just now
            check_upload(file["path"])
    except PhotoError as error:
        return gr.validate(False, sentence(error, file["path"], file["orig_name"] or "the file"))
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
