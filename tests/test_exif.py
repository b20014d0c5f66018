"""EXIF as cameras and editors write it: whatever is wrong with a tag, the photo comes out upright, with the rest."""

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import ExifTags, Image

from deeplens_hf.files.pictures import read_photo
from deeplens_hf.files.writing import save_picture

ON_ITS_SIDE = (0x112, 3, 1, struct.pack("<HH", 6, 0))


def jpeg(tags: list[tuple], inner: list[tuple] = ()) -> BytesIO:
    """A photo, 300 x 200 as stored, with these tags: (tag, type, count, four bytes or more)."""

    def directory(entries: list[tuple], start: int) -> bytes:
        table, beyond = struct.pack("<H", len(entries)), b""
        end = start + 2 + 12 * len(entries) + 4
        for tag, kind, count, value in sorted(entries):
            if len(value) > 4:
                table += struct.pack("<HHII", tag, kind, count, end + len(beyond))
                beyond += value + b"\0" * (len(value) % 2)
            else:
                table += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
        return table + struct.pack("<I", 0) + beyond

    if inner:
        size = len(directory([*tags, (0x8769, 4, 1, b"\0\0\0\0")], 8))
        tags = [*tags, (0x8769, 4, 1, struct.pack("<I", 8 + size))]
    block = b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory(tags, 8)
    if inner:
        block += directory(inner, len(block) - 6)
    file = BytesIO()
    Image.new("RGB", (300, 200), (90, 60, 30)).save(file, "JPEG", exif=block)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "broken",
    [
        (0x9204, 10, 1, struct.pack("<ii", -1, 0)),  # exposure bias, a division by 0
        (0x9203, 10, 1, struct.pack("<ii", -1, 0)),  # brightness
        (0xA432, 5, 1, struct.pack("<II", 7, 0)),  # lens specification
        (0x9286, 16, 1, struct.pack("<Q", 2**40)),  # of a type that EXIF has not
    ],
)
def test_a_tag_that_cannot_be_written_costs_itself_alone(broken):
    focal = (0x920A, 5, 1, struct.pack("<II", 50, 1))
    photo = read_photo(jpeg([ON_ITS_SIDE, (0x110, 2, 4, b"Box\0")], [broken, focal]))
    assert photo.size == (200, 300)
    told = photo.getexif()
    assert told[ExifTags.Base.Model] == "Box" and ExifTags.Base.Orientation not in told
    assert told.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLength] == 50


@pytest.mark.parametrize("turned", range(1, 9))
def test_every_orientation(turned):
    upright = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3
    stored = {  # by EXIF 2.3: where row 0 and column 0 of what is stored lie in the scene
        1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2), 6: lambda x: np.rot90(x, 1), 7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
        8: lambda x: np.rot90(x, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turned
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(stored[turned](upright))).save(file, "PNG", exif=exif)
    file.seek(0)
    assert np.array_equal(np.asarray(read_photo(file)), upright)


@pytest.mark.parametrize("turned", range(1, 9))
def test_sizes_are_those_of_the_turned_photo_and_nothing_points_into_the_old_file(turned, tmp_path):
    sizes = [(0xA002, 4, 1, struct.pack("<I", 300)), (0xA003, 3, 1, struct.pack("<HH", 200, 0))]
    interop = (0xA005, 4, 1, struct.pack("<I", 8))
    photo = read_photo(jpeg([(0x112, 3, 1, struct.pack("<HH", turned, 0))], [*sizes, interop]))
    save_picture(photo, tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as out:
        told = dict(out.getexif().get_ifd(ExifTags.IFD.Exif))
        assert told == {ExifTags.Base.ExifImageWidth: out.width, ExifTags.Base.ExifImageHeight: out.height}


@pytest.mark.parametrize("text", ["© 2024 Jörg Müller".encode(), "Jörg".encode("latin-1"), "上海".encode()])
def test_text_beyond_ascii_stays_as_it_was(text, tmp_path):
    file = jpeg([(0x8298, 2, len(text) + 1, text + b"\0")])
    save_picture(read_photo(file), tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as out:
        assert text + b"\0" in out.info["exif"]


def test_a_makers_long_note_goes_and_the_rest_stays():
    note, focal = (0x927C, 7, 65_000, b"x" * 65_000), (0x920A, 5, 1, struct.pack("<II", 50, 1))
    photo = read_photo(jpeg([(0x110, 2, 4, b"Box\0")], [note, focal]))
    assert photo.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLength] == 50, "short enough for a JPEG"
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "Box"
    exif.get_ifd(ExifTags.IFD.Exif).update({0x927C: b"x" * 70_000, ExifTags.Base.FocalLength: 50.0})
    file = BytesIO()
    Image.new("RGB", (80, 80)).save(file, "PNG", exif=exif)
    file.seek(0)
    told = read_photo(file).getexif()
    assert told[ExifTags.Base.Model] == "Box"
    assert told.get_ifd(ExifTags.IFD.Exif) == {ExifTags.Base.FocalLength: 50.0}


def test_what_is_too_long_for_a_jpeg_does_not_cost_the_result(tmp_path):
    exif, file = Image.Exif(), BytesIO()
    exif[ExifTags.Base.ImageDescription] = "x" * 70_000
    Image.new("RGB", (80, 80)).save(file, "PNG", exif=exif)
    file.seek(0)
    save_picture(read_photo(file), tmp_path / "out.jpg")
    assert Image.open(tmp_path / "out.jpg").size == (80, 80)


def test_titles_and_resolution_stay_and_turn_with_the_photo():
    """As Windows notes them, and as print shops read them."""
    title = "Möwe".encode("utf-16-le")
    tags = [ON_ITS_SIDE, (0x9C9B, 1, len(title), title), (0x128, 3, 1, struct.pack("<HH", 2, 0))]
    tags += [(tag, 5, 1, struct.pack("<II", dots, 1)) for tag, dots in ((0x11A, 300), (0x11B, 150))]
    told = Image.open(written(read_photo(jpeg(tags)))).getexif()
    assert bytes(told[ExifTags.Base.XPTitle]) == title
    assert (told[ExifTags.Base.XResolution], told[ExifTags.Base.YResolution]) == (150, 300)


def written(photo: Image.Image) -> BytesIO:
    file = BytesIO()
    photo.save(file, "JPEG")
    return file
