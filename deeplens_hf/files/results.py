"""A result to keep: JPEG, PNG or 16-bit TIFF, with the photo's colour profile and EXIF and a note of the edit."""

import os

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from ..version import __version__
from . import exif
from .pictures import Picture
from .writing import check_target, replacing, save_picture

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "16-bit TIFF": ".tif"}
NOTE = f"deeplens_hf {__version__}: synthetic lens blur"


def save_result(rendered: np.ndarray, picture: Picture, path: str | os.PathLike, place: bool = False) -> None:
    """Write a rendered photo, of 8 bits a channel to .jpg (quality 95) and .png, of 16 to .tif.

    Args:
        rendered: (H, W, 3) in [0, 1], encoded as the photo is: what `Photo.render` returns.
        picture: the photo, whose ICC profile and EXIF are kept; EXIF's Software becomes a note of the edit.
        path: .jpg, .png or .tif.
        place: keep where the photo was taken.

    Raises:
        PhotoError: another suffix, or a folder that does not exist.
    """
    suffix = check_target(path, tuple(SUFFIXES.values()))
    told = noted_exif(picture, place)
    if suffix == ".tif":
        _write_tiff(rendered, told, picture.info.get("icc_profile"), path)
    else:
        pixels = Image.fromarray((rendered * 255).round().astype(np.uint8))
        save_picture(Picture.of(pixels, {**picture.info, "exif": told.tobytes()}), path)


def noted_exif(picture: Image.Image, place: bool) -> Image.Exif:
    """The photo's EXIF with a note of the edit, and the place it was taken at only if wanted."""
    told = picture.getexif()
    tags = {tag: told.get_ifd(tag) if tag in tuple(ExifTags.IFD) else value for tag, value in told.items()}
    tags[ExifTags.Base.Software] = NOTE
    if not place:
        tags.pop(ExifTags.IFD.GPSInfo, None)
    return exif.block(tags)


def _write_tiff(rendered: np.ndarray, told: Image.Exif, profile: bytes | None, path: str | os.PathLike) -> None:
    """Pillow has no picture of 3 x 16 bits, but writes the directory of such a file; the pixels go behind it."""
    pixels = (rendered * 65535).round().astype("<u2")  # (H, W, 3)
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    directory.update(told.items())
    directory[TiffImagePlugin.IMAGEWIDTH], directory[TiffImagePlugin.IMAGELENGTH] = pixels.shape[1], pixels.shape[0]
    directory[TiffImagePlugin.BITSPERSAMPLE], directory[TiffImagePlugin.SAMPLESPERPIXEL] = (16, 16, 16), 3
    directory[TiffImagePlugin.COMPRESSION], directory[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 1, 2  # none; RGB
    directory[TiffImagePlugin.ROWSPERSTRIP], directory[TiffImagePlugin.STRIPBYTECOUNTS] = len(pixels), pixels.nbytes
    directory[TiffImagePlugin.STRIPOFFSETS] = 0  # from the end of the directory; Pillow adds where that is
    if profile:
        directory[TiffImagePlugin.ICCPROFILE] = profile
    with replacing(path) as file:
        directory.save(file)
        file.write(pixels.data)
