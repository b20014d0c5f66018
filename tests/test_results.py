"""Files to keep: pixels, colour profile and EXIF in each format, and the place only if wanted."""

import io
from fractions import Fraction

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from deeplens_hf.files.pictures import PhotoError, read_photo
from deeplens_hf.files.results import save_result

GPS, EXIF = ExifTags.IFD.GPSInfo, ExifTags.IFD.Exif


@pytest.fixture
def picture():
    """A photo 64 x 96 with all that a camera writes, lying on its side in the file."""
    exif = Image.Exif()
    exif.update({ExifTags.Base.Make: "Maker", ExifTags.Base.Software: "Camera 1.0", ExifTags.Base.Orientation: 6})
    exif.get_ifd(EXIF).update({ExifTags.Base.FocalLength: 50.0, ExifTags.Base.DateTimeOriginal: "2024:05:01 10:00:00"})
    exif.get_ifd(GPS).update({ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (52.0, 30.0, 1.5)})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = io.BytesIO()
    Image.new("RGB", (64, 96), "teal").save(file, "JPEG", exif=exif, icc_profile=profile)
    file.seek(0)
    return read_photo(file)


@pytest.fixture
def light():
    """What a render may be, (64, 96, 3): smooth, with values between those of 8 bits."""
    ramp = np.linspace(0, 1, 64 * 96 * 3, dtype=np.float32)
    return ramp.reshape(64, 96, 3)


@pytest.mark.parametrize("place", [False, True], ids=["without place", "with place"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_profile_and_exif_are_kept(picture, light, tmp_path, suffix, place):
    path = tmp_path / f"result{suffix}"
    save_result(light, picture, path, place)
    with Image.open(path) as saved:
        exif = saved.getexif()
        assert saved.size == picture.size == (96, 64)
        assert ExifTags.Base.Orientation not in exif  # upright already
        assert saved.info["icc_profile"] == picture.info["icc_profile"]
        assert exif[ExifTags.Base.Make] == "Maker"
        assert "deeplens_hf" in exif[ExifTags.Base.Software]  # the note of the edit
        assert exif.get_ifd(EXIF)[ExifTags.Base.FocalLength] == Fraction(50)
        assert exif.get_ifd(EXIF)[ExifTags.Base.DateTimeOriginal] == "2024:05:01 10:00:00"
        assert dict(exif.get_ifd(GPS)) == ({1: "N", 2: (52.0, 30.0, 1.5)} if place else {})


def test_tiff_holds_16_bits(picture, light, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    save_result(light, picture, tmp_path / "result.tif")
    pixels = tifffile.imread(tmp_path / "result.tif")
    assert pixels.dtype == np.uint16
    assert np.abs(pixels / 65535 - light).max() < 1e-5
    with Image.open(tmp_path / "result.tif") as coarse:  # Pillow's own reading of it has the upper 8 bits
        assert np.abs(np.asarray(coarse) / 255 - light).max() < 1 / 200


def test_8_bits_are_the_nearest(picture, light, tmp_path):
    save_result(light, picture, tmp_path / "result.png")
    with Image.open(tmp_path / "result.png") as saved:
        assert np.abs(np.asarray(saved) / 255 - light).max() <= 0.501 / 255


def test_photo_without_any_exif_gets_the_note_alone(light, tmp_path):
    save_result(light, read_photo(np.zeros((64, 96, 3), np.uint8)), tmp_path / "result.png")
    with Image.open(tmp_path / "result.png") as saved:
        assert list(saved.getexif()) == [ExifTags.Base.Software]


def test_other_suffixes_are_refused_and_nothing_is_written(picture, light, tmp_path):
    with pytest.raises(PhotoError, match=r"\.jpg, \.png, \.tif"):
        save_result(light, picture, tmp_path / "result.gif")
    assert not list(tmp_path.iterdir())
