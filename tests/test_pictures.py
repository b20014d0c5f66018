"""Picture files of every kind in: upright RGB, whatever the rotation, depth, colours or size."""

import io
import os
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import ExifTags, Image

from deeplens_hf.files.pictures import PhotoError, read_photo
from deeplens_hf.files.writing import save_picture
from deeplens_hf.photo import Photo

STORED = {  # EXIF 2.32, tag 274: where the stored row 0 and column 0 lie in the upright picture
    1: lambda a: a,  # top, left
    2: lambda a: a[:, ::-1],  # top, right
    3: lambda a: a[::-1, ::-1],  # bottom, right
    4: lambda a: a[::-1],  # bottom, left
    5: lambda a: a.swapaxes(0, 1),  # left, top
    6: lambda a: a[:, ::-1].swapaxes(0, 1),  # right, top
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda a: a[::-1].swapaxes(0, 1),  # left, bottom
}


def near(picture: Image.Image, expected: np.ndarray, within: float = 1) -> bool:
    got = np.asarray(picture).astype(float)
    return got.shape == expected.shape and np.abs(got - expected).max() <= within


def reopened(picture: Image.Image, suffix: str, **options) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, suffix, **options)
    return Image.open(file)


def profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile (ICC.1:2001) from its parts."""
    at, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"\0" * 4, 0x02400000, b"scnr", space, connection)
    head += struct.pack(">6H4s", 2020, 1, 1, 0, 0, 0, b"acsp") + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation(model, pixels, planes, orientation):
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](pixels)))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photo = model.open(reopened(stored, "PNG", exif=exif), disparity=planes)
    assert photo.size == (128, 96)
    result = photo.refocus(point=(100, 10), aperture=0)
    assert near(result, pixels)  # upright
    assert result.getexif().get(ExifTags.Base.Orientation, 1) == 1  # and not turned again by a viewer
    assert photo.focus_at((100, 10)) == pytest.approx(0.8)  # the point is one of the upright photo
    assert photo.focus_at((10, 90)) == pytest.approx(0.2)


def test_path_file_picture_and_array_are_the_same_photo(model, photo_file, pixels):
    with photo_file.open("rb") as file:
        opened = [model.open(source) for source in (photo_file, str(photo_file), file, Image.open(photo_file), pixels)]
    for photo in opened:
        assert isinstance(photo, Photo)
        assert near(photo.picture, pixels, 0)


def test_a_picture_that_is_given_stays_as_it_was(pixels):
    picture, exif = Image.fromarray(pixels), Image.Exif()
    exif[ExifTags.Base.ImageWidth] = 128
    picture.info["exif"] = exif.tobytes()
    before = dict(picture.info)
    read_photo(picture)
    assert picture.info == before and np.array_equal(picture, pixels)


@pytest.mark.parametrize("dtype, full", [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1), (np.float64, 1)])
def test_arrays_of_every_kind(pixels, dtype, full):
    levels = (pixels / 255 * full).astype(dtype) if full != 255 else pixels
    assert near(read_photo(levels), pixels)
    grey = levels[..., 0]
    expected = pixels[..., :1].repeat(3, 2)
    assert near(read_photo(grey), expected)
    assert near(read_photo(grey[..., None]), expected)


def test_floats_are_rounded_to_the_nearest_level():
    levels = np.linspace(0, 1, 96 * 128 * 3, dtype=np.float32).reshape(96, 128, 3)
    assert near(read_photo(levels), levels * 255, 0.501)


def test_16_bit_grey(model, pixels, tmp_path):
    grey = pixels[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert Image.open(tmp_path / "grey.png").mode == "I;16"
    expected = pixels[..., :1].repeat(3, 2)
    assert near(model.open(tmp_path / "grey.png").refocus(aperture=0), expected)
    assert near(read_photo(Image.fromarray(grey.astype(np.int32))), expected)  # mode I
    assert near(read_photo(Image.fromarray(grey / np.float32(65535))), expected)  # mode F


@pytest.mark.parametrize("mode", ["L", "P", "1", "YCbCr", "HSV", "CMYK"])
def test_other_modes(model, pixels, mode):
    picture = Image.fromarray(pixels).convert(mode)
    photo = model.open(picture)
    assert near(photo.refocus(aperture=0), np.asarray(picture.convert("RGB")).astype(float))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_becomes_white(model, pixels, mode):
    picture = Image.fromarray(pixels)
    if mode != "RGBA":
        picture = picture.convert("L")
    alpha = np.full((96, 128), 255, np.uint8)
    alpha[:, :40], alpha[:, 40:50] = 0, 128
    expected = np.asarray(picture.convert("RGB")).astype(float)
    expected[:, :40] = 255
    expected[:, 40:50] = 255 + (expected[:, 40:50] - 255) * 128 / 255
    picture.putalpha(Image.fromarray(alpha))
    assert picture.mode == mode
    result = model.open(picture).refocus(aperture=0)
    assert result.mode == "RGB"
    assert near(result, expected, 2)


def test_palette_with_a_transparent_entry():
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 200, 0, 0])
    picture.putpixel((0, 0), 0)
    opened = read_photo(reopened(picture, "PNG", transparency=0))
    assert opened.getpixel((0, 0)) == (255, 255, 255)
    assert opened.getpixel((1, 1)) == (200, 0, 0)


def test_cmyk_goes_through_its_profile():
    # a press that prints black alone: L* = 100 (1 - K), whatever the other inks; no formula would give that
    ramp = bytes(range(256))
    corners = b"".join(bytes([0 if k else 255, 128, 128]) for _ in range(8) for k in (0, 1))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + b"\0" * 4 + bytes([4, 3, 2, 0]) + identity + ramp * 4 + corners + ramp * 3
    icc = profile(b"CMYK", b"Lab ", {b"A2B0": table})
    picture = Image.new("CMYK", (80, 80), (255, 0, 0, 0))  # cyan
    opened = read_photo(reopened(picture, "TIFF", icc_profile=icc))
    assert min(opened.getpixel((5, 5))) >= 253  # this press leaves it white
    assert read_photo(reopened(picture, "TIFF")).getpixel((5, 5)) == (0, 255, 255)
    assert "icc_profile" not in opened.info  # it describes inks; the result has none


@pytest.mark.parametrize("mode", ["L", "LA", "P"])
def test_grey_goes_through_its_profile(mode):
    white = b"XYZ " + b"\0" * 4 + struct.pack(">3i", 63190, 65536, 54061)
    linear = b"curv" + b"\0" * 4 + struct.pack(">I", 0)
    icc = profile(b"GRAY", b"XYZ ", {b"wtpt": white, b"kTRC": linear})
    stored = Image.new("L", (80, 80), 55).convert(mode)
    opened = read_photo(reopened(stored, "PNG", icc_profile=icc))
    assert opened.getpixel((5, 5)) == pytest.approx((128,) * 3, abs=2)  # 55 / 255 of the light is sRGB 128
    if mode == "LA":
        clear = Image.merge("LA", [stored.getchannel("L"), Image.new("L", (80, 80))])
        assert read_photo(reopened(clear, "PNG", icc_profile=icc)).getpixel((5, 5)) == (255, 255, 255)
    assert "icc_profile" not in opened.info


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_profile_or_exif_does_not_cost_the_photo(pixels):
    picture = Image.fromarray(pixels)
    for exif in (
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03\0\0\0\x09",
        b"rubbish",
    ):
        assert near(read_photo(reopened(picture, "PNG", exif=exif, icc_profile=b"no profile")), pixels, 0)
    cmyk = picture.convert("CMYK")
    assert read_photo(reopened(cmyk, "TIFF", icc_profile=b"no profile")).mode == "RGB"


@pytest.mark.parametrize("size", [(1, 1), (200, 1), (1, 90), (63, 64), (65, 40)])
def test_tiny_pictures(model, size):
    width, height = size
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    photo = model.open(pixels)
    assert photo.disparity.shape == photo.foreground.shape == (height, width)
    assert near(photo.refocus(aperture=0), pixels)
    assert photo.refocus(point=(width - 1, height - 1), aperture=12).size == size


def test_heic(model, pixels, tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # pillow-heif turns the pixels itself; once is enough
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](pixels)))
    pillow_heif.from_pillow(stored).save(tmp_path / "photo.heic", quality=-1, chroma=444, exif=exif.tobytes())
    opened = model.open(tmp_path / "photo.heic")
    assert near(opened.picture, pixels, 6)
    assert opened.picture.getexif().get(ExifTags.Base.Orientation, 1) == 1


def test_heic_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match="pip install pillow-heif"):
        read_photo(io.BytesIO(b"\0\0\0\x18ftypheic" + b"\0" * 100))


def test_pillows_own_limit_is_left_as_it_was(photo_file):
    before = Image.MAX_IMAGE_PIXELS
    threads = [threading.Thread(target=read_photo, args=(photo_file,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Image.MAX_IMAGE_PIXELS == before


class Pipe(io.RawIOBase):
    """What can be read once, from front to back, as the network and a shell's pipes give it."""

    def __init__(self, content: bytes):
        self.inner = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self.inner.readinto(buffer)


@pytest.mark.parametrize("format", ["PNG", "HEIF"])
def test_a_file_at_its_end_and_one_that_cannot_go_back(pixels, format, tmp_path):
    if format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    at_its_end = io.BytesIO()
    Image.fromarray(pixels).save(at_its_end, format)
    encoded = at_its_end.getvalue()
    (tmp_path / "photo").write_bytes(encoded)
    code = "import sys; from deeplens_hf.files.pictures import read_photo; print(read_photo(sys.stdin.buffer).size)"
    piped = subprocess.run([sys.executable, "-c", code], input=encoded, capture_output=True)
    assert piped.stdout.decode().strip() == "(128, 96)", "nor has that process seen such a file before"
    whole = read_photo(tmp_path / "photo").tobytes()
    assert read_photo(at_its_end).tobytes() == read_photo(Pipe(encoded)).tobytes() == whole


def test_what_is_replaced_keeps_its_permissions_and_a_link_leads_on(pixels, tmp_path):
    real, link = tmp_path / "real.png", tmp_path / "link.png"
    real.write_bytes(b"old")
    real.chmod(0o600)
    link.symlink_to(real)
    save_picture(Image.fromarray(pixels), link)
    assert link.is_symlink() and real.stat().st_mode & 0o777 == 0o600
    assert Image.open(real).size == (128, 96)


def test_a_name_as_long_as_disks_allow(pixels, tmp_path):
    name = "照" * 83 + ".png"  # 253 bytes
    save_picture(Image.fromarray(pixels), tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("suffix", "longest"), [(".jpg", 65500), (".webp", 16383)])
def test_a_side_longer_than_the_format_has_is_told(tmp_path, suffix, longest):
    with pytest.raises(PhotoError, match=f"holds at most {longest} pixels a side"):
        save_picture(Image.new("RGB", (longest + 1, 1)), tmp_path / f"line{suffix}")
    assert not list(tmp_path.iterdir())
    save_picture(Image.new("RGB", (longest, 1)), tmp_path / f"line{suffix}")


def test_webp_has_the_quality_asked_for(pixels, tmp_path):
    for quality in (20, 95):
        save_picture(Image.fromarray(pixels), tmp_path / f"{quality}.webp", quality=quality)
    assert (tmp_path / "20.webp").stat().st_size < (tmp_path / "95.webp").stat().st_size / 2


def test_a_drawing_is_not_run(tmp_path, monkeypatch):
    """Pillow hands an EPS over to Ghostscript, whatever the file is called."""
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("run"))
    Image.new("RGB", (8, 8)).save(tmp_path / "drawing.eps")
    (tmp_path / "drawing.eps").rename(tmp_path / "drawing.jpg")
    with pytest.raises(PhotoError, match="EPS"):
        read_photo(tmp_path / "drawing.jpg")


FULL = """
import os, resource, sys
import numpy as np
from PIL import Image
from deeplens_hf import save_picture
from deeplens_hf.files.pictures import Picture

noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for write in (lambda: save_picture(noise, sys.argv[1]), lambda: Picture.of(noise, {}).save(sys.argv[1])):
    try:
        write()
    except OSError:
        print("told", end=" ")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_half_a_file_on_a_full_disk_is_told(tmp_path, suffix):
    """Pillow's encoders of JPEG and TIFF alone say nothing of it."""
    path = tmp_path / f"full{suffix}"
    done = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True)
    assert done.stdout.split() == ["told", "told"], done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks there")
def test_a_process_forked_while_a_photo_is_opened_opens_photos_too(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    code = f"""
import os, signal
from deeplens_hf.files import pictures

with pictures._opening:  # as another thread has it
    child = os.fork()
    if not child:
        signal.alarm(20)
        pictures.read_photo({str(tmp_path / "photo.png")!r})
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["0"], done.stderr
