"""What a photo's EXIF tells: which way up it was taken, and what of it goes on into the result.

Cameras and editors write tags that Pillow reads and cannot write again. Such a tag is left out; the rest, and above
all the orientation, still holds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

LARGEST = 65_533  # bytes: the largest EXIF block that a JPEG can hold
KEPT = (
    ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software,
    ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.Copyright, ExifTags.Base.Rating,
    ExifTags.Base.DocumentName, ExifTags.Base.XPTitle, ExifTags.Base.XPComment, ExifTags.Base.XPAuthor,
    ExifTags.Base.XPKeywords, ExifTags.Base.XPSubject, ExifTags.Base.RatingPercent, ExifTags.Base.XResolution,
    ExifTags.Base.YResolution, ExifTags.Base.ResolutionUnit, ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo,
)  # fmt: skip
IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
ON_ITS_SIDE = (5, 6, 7, 8)  # orientations whose turn swaps width and height
OTHER_SIDE = {
    ExifTags.Base.XResolution: ExifTags.Base.YResolution,
    ExifTags.Base.YResolution: ExifTags.Base.XResolution,
    ExifTags.Base.ExifImageWidth: ExifTags.Base.ExifImageHeight,
    ExifTags.Base.ExifImageHeight: ExifTags.Base.ExifImageWidth,
}


def upright(picture: Image.Image, told_by: Image.Image | None = None) -> Image.Image:
    """A copy that lies as its EXIF, or that of the photo beside which it is stored, says it was taken."""
    turn = _turn(told_by or picture)
    return picture.copy() if turn is None else picture.transpose(turn)


def upright_rgb(file: Path) -> Image.Image:
    """A photo of a data set, upright, in RGB; `pictures.read_photo` is for what people bring, and is slower."""
    with Image.open(file) as picture:
        rgb, turn = picture.convert("RGB"), _turn(picture)
    return rgb if turn is None else rgb.transpose(turn)


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """What lays a picture as it was taken; None where it lies so."""
    try:
        return TURNS.get(picture.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # Pillow raises nearly anything on broken EXIF; the pixels are whole
        return None


def kept(picture: Image.Image) -> bytes:
    """The camera's account of the shot, without the tags that describe the old file; empty if there is none."""
    try:
        old = picture.getexif()
        told = {tag: old.get_ifd(tag) if tag in IFDS else old[tag] for tag in KEPT if tag in old}
        lay = old.get(ExifTags.Base.Orientation)
        told = _of_the_result(told, lay)
        told[ExifTags.IFD.Exif] = _of_the_result(told.get(ExifTags.IFD.Exif, {}), lay)
    except Exception:
        return b""
    written = encoded(told)
    if len(written) > LARGEST:  # what the maker noted for itself is what takes the room
        told[ExifTags.IFD.Exif] = {
            tag: value for tag, value in told[ExifTags.IFD.Exif].items() if tag != ExifTags.Base.MakerNote
        }
        written = encoded(told)
    return written if len(written) <= LARGEST else b""


def _of_the_result(tags: Mapping[int, Any], orientation: Any) -> dict[int, Any]:
    """Tags of a photo that was turned upright; Interop tells only where something lay in the old file."""
    turned = OTHER_SIDE if orientation in ON_ITS_SIDE else {}
    return {turned.get(tag, tag): value for tag, value in tags.items() if tag != ExifTags.IFD.Interop}


def encoded(tags: Mapping[int, Any]) -> bytes:
    """Tags, those of an IFD as a mapping of their own, as an EXIF block; what cannot be written is left out."""
    exif = block(tags)
    try:
        return exif.tobytes() if len(exif) else b""
    except Exception:
        sound = {}
        for tag, value in tags.items():
            if isinstance(value, Mapping):
                sound[tag] = {each: told for each, told in value.items() if _can_be_written({tag: {each: told}})}
            elif _can_be_written({tag: value}):
                sound[tag] = value
        return block(sound).tobytes() if any(sound.values()) else b""


def block(tags: Mapping[int, Any]) -> Image.Exif:
    """Tags as Pillow wants them, text as it was in the file."""
    exif = Image.Exif()
    for tag, value in tags.items():
        if isinstance(value, Mapping):
            if value:
                exif[tag] = {each: _as_it_was(told) for each, told in value.items()}
        else:
            exif[tag] = _as_it_was(value)
    return exif


def _as_it_was(value: Any) -> Any:
    """Text beyond ASCII as the bytes that Pillow read as Latin-1: it would write question marks."""
    return value.encode("latin-1", "replace") if isinstance(value, str) and not value.isascii() else value


def _can_be_written(tags: Mapping[int, Any]) -> bool:
    try:
        block(tags).tobytes()
    except Exception:
        return False
    return True
