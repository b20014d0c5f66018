"""Picture files: whatever people have, read into upright RGB.

Colour: an RGB photo is processed in its own encoded values and keeps its ICC profile (Display P3 has sRGB's curve,
Adobe RGB nearly so). CMYK and grey go to sRGB, through their profile where they carry one.
"""

import contextlib
import math
import mmap
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from . import exif

MAX_PIXELS = 200_000_000
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
DNG_VERSION, BITS, PHOTOMETRIC, PLANAR, SAMPLES = 50706, 258, 262, 284, 339  # TIFF tags
HALVED = "8 of 16 bits"  # in the `info` of a picture that was decoded so
SCANS = 100  # that a JPEG's pixels come in: cameras and programs write one to a dozen; each takes the time of a photo
START_OF_SCAN = b"\xff\xda"
UNREAD = (".tif", ".tiff", ".exr", ".npz")  # that may hold numbers as no reader here knows them
BEST = {"quality": 95, "subsampling": 0}  # of a JPEG, unless another quality is asked for

Source = str | os.PathLike | IO[bytes] | Image.Image | np.ndarray

_opening = threading.Lock()


def _open_again() -> None:
    """A process forked while another thread had the lock would wait for ever."""
    global _opening
    _opening = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_again)


class PhotoError(ValueError):
    """A photo, depth map or setting that cannot be used; the message names the argument and what it accepts."""


class Picture(Image.Image):
    """A PIL image that `save` writes with the ICC profile and EXIF in its `info`, which Pillow's own loses in JPEG, and
    at quality 95 there, not 75; in WebP, too, not 80.
    """

    @classmethod
    def of(cls, image: Image.Image, info: dict) -> "Picture":
        """The same pixels, not copied, with another `info`."""
        picture = cls()
        picture.__dict__.update(image.__dict__, info=dict(info))
        return picture

    def save(self, fp: str | os.PathLike | IO[bytes], format: str | None = None, **params) -> None:
        kept = {name: self.info[name] for name in ("icc_profile", "exif") if name in self.info}
        name = getattr(fp, "name", "") if hasattr(fp, "write") else fp
        suffix = Path(name).suffix.lower() if isinstance(name, str | os.PathLike) else ""
        format_told = format or Image.registered_extensions().get(suffix, "")
        if format_told.upper() in ("JPEG", "JPG", "WEBP") and "quality" not in params:
            kept |= BEST  # WebP has one subsampling, and takes no notice of it
        if format_told.upper() not in ("JPEG", "JPG", "TIFF"):
            return super().save(fp, format, **(kept | params))
        whole = BytesIO()  # on a full disk these encoders of Pillow write half a file without a word
        super().save(whole, format_told, **(kept | params))
        with contextlib.nullcontext(fp) if hasattr(fp, "write") else open(fp, "wb") as file:
            file.write(whole.getbuffer())


def read_photo(source: Source) -> Picture:
    """Any picture as upright RGB, 8 bits a channel, over white where it is transparent.

    A profile of RGB colours stays in `info["icc_profile"]`, what the camera told of the shot in `info["exif"]` (no
    orientation, no thumbnail). An animation gives its first frame. PhotoError if it cannot be read.
    """
    if isinstance(source, np.ndarray):
        return _rgb(_from_array(source))
    with decoded(source, "source") as picture:
        return _rgb(picture)


@contextmanager
def decoded(source: Source, name: str) -> Iterator[Image.Image]:
    """A file's picture, decoded and upright; what goes wrong with it becomes a PhotoError about the argument `name`."""
    if not isinstance(source, (str, os.PathLike, Image.Image)) and not hasattr(source, "read"):
        raise PhotoError(f"{name} must be a path, a PIL image, an array or a binary file, got {type(source).__name__}")
    try:
        if isinstance(source, (str, os.PathLike)):
            with open(source, "rb") as file:
                yield _decode(open_header(file, name), name)
        else:
            yield _decode(source if isinstance(source, Image.Image) else open_header(source, name), name)
    except PhotoError:
        raise
    except UnidentifiedImageError:
        wanted = "a picture (JPEG, PNG, TIFF, WebP, HEIC ...)"
        if isinstance(source, (str, os.PathLike)) and Path(source).suffix.lower() in UNREAD:
            wanted += " that can be read: 8 or 16 bits, grey floats of 32, or .npy for depth"
        raise PhotoError(f"{name} must be {wanted}, {source!s} is none") from None
    except FileNotFoundError:
        raise PhotoError(f"{name} must be an existing file, got {str(source)!r}") from None
    except Exception as error:  # decoders raise nearly anything on a broken file
        raise PhotoError(f"{name} must be a whole, readable picture: {one_line(error)}") from None


def open_header(file: IO[bytes], name: str) -> Image.Image:
    """Read the header alone; too large a picture stops here, before its pixels take memory."""
    if not (hasattr(file, "seekable") and file.seekable()):  # a pipe, or an answer from the network
        file = BytesIO(file.read())
    file.seek(0)  # as Pillow does
    head = file.read(12)
    file.seek(0)
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS:
        try:
            from pillow_heif import register_heif_opener
        except ModuleNotFoundError:
            raise PhotoError(f"{name} is a HEIC picture; to read it: pip install pillow-heif") from None
        register_heif_opener()
    # Pillow's own limit is lower and a global: ours stands in for it while the header is read
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS
        try:
            picture = Image.open(file)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise PhotoError(f"{name} must have at most {MAX_PIXELS // 10**6} megapixels; it claims more") from None
        finally:
            Image.MAX_IMAGE_PIXELS = pillow_limit
    if picture.format == "TIFF" and DNG_VERSION in picture.tag_v2:  # Pillow would open the thumbnail in it
        raise PhotoError(f"{name} must be a developed picture; this is a raw one (DNG)")
    if picture.format == "TIFF" and picture.tag_v2.get(PLANAR) == 2:
        bits = picture.tag_v2.get(BITS, (8,))
        if len(bits) > 1 and max(bits) > 8:  # Pillow would take bytes of them for levels
            raise PhotoError(f"{name} must have its channels interleaved, or 8 bits: planes of {max(bits)} are misread")
    if picture.format == "EPS":  # a program, which Pillow would have Ghostscript run
        raise PhotoError(f"{name} must be a picture of pixels; this is a drawing (EPS)")
    return picture


def _decode(picture: Image.Image, name: str) -> Image.Image:
    """Load the pixels and turn them upright; `info["exif"]` becomes what is worth keeping of it."""
    if picture.width * picture.height > MAX_PIXELS:
        raise PhotoError(f"{name} must have at most {MAX_PIXELS // 10**6} megapixels, got {picture.size}")
    halved = _halved(picture)
    picture.load()
    upright = exif.upright(_as_told(picture), picture)
    if halved:
        upright.info[HALVED] = True
    upright.info["exif"] = exif.kept(picture)
    return upright


def _as_told(picture: Image.Image) -> Image.Image:
    """Whole numbers of a TIFF as its tags tell them, where Pillow does not: 32 bits without a sign, 0 for white."""
    if picture.format != "TIFF":
        return picture
    if picture.mode == "I" and picture.tag_v2.get(SAMPLES, (1,)) == (1,) and picture.getextrema()[0] < 0:
        values = (np.array(picture).view(np.uint32) >> 1).astype(np.int32)  # their scale is any
    elif picture.mode.startswith("I;16") and picture.tag_v2.get(PHOTOMETRIC) == 0:
        values = 65535 - np.array(picture)
    else:
        return picture
    told = Image.fromarray(values)
    told.info = picture.info
    return told


def _rgb(picture: Image.Image) -> Picture:
    """Upright RGB with the profile and the EXIF that fit it."""
    profile, told = picture.info.get("icc_profile"), picture.info.get("exif")
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        picture = _from_array(grey_levels(picture))
    if profile and profile[16:20] == b"GRAY":
        alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
        picture = in_srgb(picture.convert("L"), profile)
        if alpha:
            picture.putalpha(alpha)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    if picture.mode == "CMYK":
        picture = in_srgb(picture, profile)
    info = {"icc_profile": profile} if profile and profile[16:20] == b"RGB " else {}
    return Picture.of(picture.convert("RGB"), info | ({"exif": told} if told else {}))


def in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture in sRGB, by the profile that it came with, if that is any good; it has none then."""
    if profile:
        try:
            embedded, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
            picture = ImageCms.profileToProfile(picture, embedded, srgb, outputMode="RGB")
            picture.info.pop("icc_profile", None)  # Pillow's own, of sRGB: converted again it would only take its time
        except (ImageCms.PyCMSError, OSError):  # a broken profile says nothing
            pass
    return picture.convert("RGB")


def grey_levels(picture: Image.Image, name: str = "disparity") -> np.ndarray:
    """One channel (H, W): uint8, uint16, int32 or float, on the scale it had.

    PhotoError, of `name`, if it has colours, or had 16 bits in more than one channel, of which Pillow reads 8.
    """
    if picture.mode == "I":  # 16 bits in a wider type
        values = np.array(picture)
        return values.astype(np.uint16) if values.min() >= 0 and values.max() <= 65535 else values
    if picture.mode == "F" or picture.mode.startswith("I;16"):
        return np.array(picture)
    if picture.info.get(HALVED) or _halved(picture):
        raise PhotoError(f"{name} of 16 bits must be grey, without colours and transparency, or 8 of them are lost")
    rgb = np.array(picture.convert("RGB"))  # (H, W, 3)
    if np.ptp(rgb, axis=2).max() > 24:  # what JPEG may add to grey
        raise PhotoError(f"{name} must be a grey picture; this one has colours")
    return rgb[..., 1]


def _halved(picture: Image.Image) -> bool:
    """Whether Pillow reads 8 of 16 bits of this file; one that is loaded already does not tell."""
    told = (tile.args for tile in getattr(picture, "tile", []))
    raw = (args if isinstance(args, str) else str(args[0] if args else "") for args in told)
    return picture.mode in ("RGB", "RGBA", "LA") and any(";16" in mode for mode in raw)


def check_scans(jpeg: bytes | mmap.mmap, name: str) -> None:
    """PhotoError, of `name`, for a progressive JPEG file of more than SCANS; within their data the marker never is."""
    found, at = 0, jpeg.find(START_OF_SCAN)
    while at >= 0 and found <= SCANS:
        found, at = found + 1, jpeg.find(START_OF_SCAN, at + 2)
    if found > SCANS:
        raise PhotoError(f"{name} must be a JPEG of at most {SCANS} scans; please save it anew")


def full_scale(levels: np.ndarray) -> int:
    """What stands for 1 in a map: white, of 8 and 16 bits; 1 of other numbers."""
    return int(np.iinfo(levels.dtype).max) if levels.dtype in (np.uint8, np.uint16) else 1


def check_same_orientation(levels: np.ndarray, size: tuple[int, int], name: str) -> None:
    """PhotoError, of `name`, for a map (H, W) that is upright where the photo of `size` (width, height) lies, or the
    other way round.
    """
    (height, width), (across, down) = levels.shape, size
    if (width - height) * (across - down) < 0 and abs(math.log(width * down / (height * across))) > 0.2:
        raise PhotoError(f"{name} must lie as the upright photo, {across} x {down}; this one is {width} x {height}")


def _from_array(array: np.ndarray) -> Image.Image:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16 or floats in [0, 1] -> L, RGB or RGBA."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    pixels = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise PhotoError(f"source must be an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {array.shape}")
    if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        raise PhotoError(f"source must have at most {MAX_PIXELS // 10**6} megapixels, got {array.shape}")
    if pixels.dtype == np.uint16:
        pixels = (pixels / np.float32(257)).round()
    elif pixels.dtype.kind == "f":
        if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
            raise PhotoError("source must hold floats from 0 to 1, or uint8, or uint16")
        pixels = (pixels * 255).round()
    elif pixels.dtype != np.uint8:
        raise PhotoError(f"source must be uint8, uint16 or floats from 0 to 1, got {pixels.dtype}")
    return Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8)))


def one_line(error: BaseException) -> str:
    """What an error says, without its line breaks; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
