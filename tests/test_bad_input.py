"""Whatever is wrong with the input: one sentence naming the argument and what it accepts, and no file left behind."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from deeplens_hf.files import pictures
from deeplens_hf.files.pictures import MAX_PIXELS, PhotoError, read_photo
from deeplens_hf.files.writing import save_disparity, save_picture


def png_header(width: int, height: int, kind: int = 2, bits: int = 8, rows: bytes = b"\0" * 100) -> bytes:
    """A PNG that claims a size and holds next to nothing, or the rows given; kind 2 is RGB, 4 grey with alpha."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def npy_header(shape: str) -> bytes:
    told = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\0" + len(told).to_bytes(2, "little") + told.encode() + bytes(64)


def whole(pixels: np.ndarray, suffix: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, suffix)
    return file.getvalue()


def raw(pixels: np.ndarray) -> bytes:
    """A TIFF as cameras write raw photos: what a program for pictures finds first is a thumbnail."""
    file, tags = io.BytesIO(), TiffImagePlugin.ImageFileDirectory_v2()
    tags[254], tags[50706] = 1, b"\1\4\0\0"  # NewSubfileType, DNGVersion
    Image.fromarray(pixels).resize((32, 24)).save(file, "TIFF", tiffinfo=tags)
    return file.getvalue()


@pytest.fixture
def bad_files(tmp_path: Path, pixels: np.ndarray) -> Path:
    folder = tmp_path / "bad"
    folder.mkdir()
    contents = {
        "notes.jpg": b"Dear diary, this is no picture.\n" * 20,
        "empty.jpg": b"",
        "cut.jpg": whole(pixels, "JPEG")[:3000],
        "cut.png": whole(pixels, "PNG")[:3000],
        "cut.tif": whole(pixels, "TIFF")[:3000],
        "cut.webp": whole(pixels, "WEBP")[:3000],
        "huge.png": png_header(30000, 30000),
        "huge.ppm": b"P6 30000 30000 255\n" + b"\0" * 1000,
        "big.png": png_header(20000, 10001),  # just above the limit
        "no.npy": b"\x93NUMPY but not quite",
        "vast.npy": npy_header("1000000, 1000000"),
        "beyond.npy": npy_header("99999999999999999999, 4"),
        "zip.npy": b"PK\x03\x04 is how archives begin",
        "open.npy": npy_header("4, 4").replace(b"}", b" "),
        "raw.dng": raw(pixels),
        "deep.png": png_header(8, 8, kind=2, bits=16, rows=bytes(8 * (1 + 8 * 6))),
        "deep_alpha.png": png_header(8, 8, kind=4, bits=16, rows=bytes(8 * (1 + 8 * 4))),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    np.save(folder / "rank3.npy", np.zeros((4, 4, 3)))
    np.savez(folder / "archive", np.zeros((4, 4)))
    (folder / "archive.npz").rename(folder / "archive.npy")
    np.save(folder / "nan.npy", np.array([[0.5, np.nan]]))
    np.save(folder / "objects.npy", np.array([[{}]]), allow_pickle=True)
    Image.fromarray(pixels).save(folder / "colours.png")
    return folder


NO_PHOTO = {  # file: what the message must say
    "notes.jpg": "must be a picture",
    "empty.jpg": "must be a picture",
    "cut.jpg": "whole",
    "cut.png": "whole",
    "cut.tif": "whole",
    "cut.webp": "",
    "huge.png": "at most 200 megapixels",
    "huge.ppm": "at most 200 megapixels",
    "big.png": "at most 200 megapixels",
    "missing.jpg": "must be an existing file",
    "folder": "",
    "raw.dng": "must be a developed picture; this is a raw one",
}
NO_DISPARITY = {
    "notes.jpg": "must be a picture",
    "cut.png": "whole",
    "huge.png": "at most 200 megapixels",
    "missing.png": "must be an existing",
    "missing.npy": "",
    "no.npy": "",
    "archive.npy": "readable .npy file",
    "zip.npy": "readable .npy file",
    "open.npy": "readable .npy file",
    "vast.npy": "readable .npy file",
    "beyond.npy": "readable .npy file",
    "rank3.npy": r"array \(H, W\)",
    "nan.npy": "finite",
    "objects.npy": "",
    "colours.png": "grey",
    "deep.png": "of 16 bits must be grey, without colours",  # Pillow would read eight of them
    "deep_alpha.png": "of 16 bits must be grey, without colours",
}


def test_eight_bits_with_sixteen_in_their_header_are_read(tmp_path):
    """A BMP of 540 pixels has rows of 1620 bytes, which a header tells beside the kind of pixel."""
    grey = np.arange(540 * 4).reshape(4, 540) % 256
    Image.fromarray(grey.astype(np.uint8)).convert("RGB").save(tmp_path / "map.bmp")
    with pictures.decoded(tmp_path / "map.bmp", "disparity") as picture:
        np.testing.assert_array_equal(pictures.grey_levels(picture), grey)


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name, says", NO_PHOTO.items())
def test_no_photo(bad_files, name, says):
    with pytest.raises(PhotoError, match=f"source .*{says}"):
        read_photo(bad_files / name)
    if (bad_files / name).is_file():
        with (bad_files / name).open("rb") as file, pytest.raises(PhotoError, match=f"source .*{says}"):
            read_photo(file)


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_a_header_below_the_limit_but_above_pillows_warning_is_not_refused_for_its_size(tmp_path):
    width = Image.MAX_IMAGE_PIXELS // 10_000 + 1
    assert width * 10_000 < MAX_PIXELS
    (tmp_path / "large.png").write_bytes(png_header(width, 10_000))
    with pytest.raises(PhotoError, match="whole"):  # its pixels are missing
        read_photo(tmp_path / "large.png")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((1, 3, 4, 4), np.float32),
        np.zeros(7, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((4, 4, 3), bool),
        np.full((4, 4, 3), 200.0),
        np.full((4, 4, 3), -0.1),
        np.full((4, 4, 3), np.nan),
        np.broadcast_to(np.uint8(0), (20_000, 10_001)),
    ],
)
def test_no_image_array(array):
    with pytest.raises(PhotoError, match="source must"):
        read_photo(array)


def test_a_picture_in_memory_may_be_too_large_as_well(pixels, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 128 * 96 - 1)
    with pytest.raises(PhotoError, match="source must have at most 0 megapixels"):
        read_photo(Image.fromarray(pixels))


@pytest.mark.parametrize("source", [None, 7, ["a.jpg"], 3.5])
def test_no_source_at_all(model, source):
    with pytest.raises(PhotoError, match="source must be a path, a PIL image, an array or a binary file"):
        model.open(source)


@pytest.mark.parametrize("name, says", NO_DISPARITY.items())
def test_no_disparity(model, pixels, bad_files, name, says):
    with pytest.raises(PhotoError, match=f"disparity .*{says}"):
        model.open(pixels, disparity=bad_files / name)


@pytest.mark.parametrize(
    "disparity",
    [
        np.zeros((4, 4, 1)),
        np.zeros(4),
        np.zeros((0, 4)),
        np.array([[0, np.inf]]),
        np.array([["a"]]),
        np.zeros((2, 2), complex),
    ],
)
def test_no_disparity_array(model, pixels, disparity):
    with pytest.raises(PhotoError, match="disparity must"):
        model.open(pixels, disparity=disparity)


@pytest.mark.parametrize("disparity", ["somebody/depth-model", 5])
def test_what_disparity_accepts_is_said(model, pixels, disparity, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PhotoError, match="disparity must be"):
        model.open(pixels, disparity=disparity)


@pytest.mark.parametrize(
    "point",
    [(-1, 5), (5, -1), (128, 5), (5, 96), (np.nan, 5), (5, np.inf), (5,), (1, 2, 3), "5,6,7", 5, (None, 5), ("a", "b")],
)
def test_no_point(model, pixels, point):
    with pytest.raises(PhotoError, match=r"point must be \(x, y\) with 0 <= x < 128 and 0 <= y < 96"):
        model.open(pixels).refocus(point=point)


@pytest.mark.parametrize("aperture", [-0.1, 16.01, np.nan, np.inf, "wide", None])
def test_no_aperture(model, pixels, aperture):
    with pytest.raises(PhotoError, match="aperture must be a number from 0 to 16"):
        model.open(pixels).refocus(point=(1, 1), aperture=aperture)


@pytest.mark.parametrize("aperture", ["f/1,8", "1:1.8", "f/0"])
def test_an_f_number_is_written_one_way(model, pixels, aperture):
    with pytest.raises(PhotoError, match="or like 'f/1.8', got"):
        model.open(pixels).refocus(point=(1, 1), aperture=aperture)


@pytest.mark.parametrize("focus", [-0.01, 1.01, np.nan, "near"])
def test_no_focus(model, pixels, focus):
    with pytest.raises(PhotoError, match="focus must be a number from 0 to 1"):
        model.open(pixels).refocus(focus=focus)


def test_bad_settings_cost_no_depth_pass(model, pixels, monkeypatch):
    monkeypatch.setattr(model, "predict_depth", lambda image: pytest.fail("predicted"))
    for settings in ({"aperture": -1}, {"point": (500, 5)}, {"focus": 2}):
        with pytest.raises(PhotoError):
            model.open(pixels).refocus(**settings)


@pytest.mark.parametrize("retouched", [np.zeros((128, 96)), np.full((96, 128), 2.0), np.full((96, 128), np.nan)])
def test_no_retouched_disparity(model, pixels, planes, retouched):
    with pytest.raises(PhotoError, match=r"disparity must be an array \(96, 128\) in \[0, 1\]"):
        model.open(pixels, disparity=planes).corrected(retouched)


@pytest.mark.parametrize("name", ["out.gif", "out", "out.jpg.txt", "nowhere/out.jpg", "folder.png"])
def test_no_target(pixels, tmp_path, name):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(PhotoError, match="path must"):
        save_picture(Image.fromarray(pixels), tmp_path / name)
    with pytest.raises(PhotoError, match="path must"):
        save_disparity(np.zeros((4, 4)), tmp_path / name)
    assert os.listdir(tmp_path) == ["folder.png"] and os.listdir(tmp_path / "folder.png") == []


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_no_quality(pixels, tmp_path, quality):
    with pytest.raises(PhotoError, match="quality must be from 1 to 100"):
        save_picture(Image.fromarray(pixels), tmp_path / "out.jpg", quality)


# ---- the same through the command line


def refused(done, says: str, folder: Path, before: list[str]) -> None:
    """Status 2, one line and no more, nothing written."""
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("weights: ")]
    assert len(lines) == 1 and lines[0].startswith("deeplens: error: ") and says in lines[0], done.stderr
    assert done.stdout == ""
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize("name", ["notes.jpg", "cut.jpg", "huge.png", "missing.jpg", "folder"])
def test_no_photo_on_the_command_line(deeplens, model_folder, bad_files, tmp_path, name):
    before = sorted(os.listdir(tmp_path))
    for command, out in (("refocus", "out.jpg"), ("depth", "out.png")):
        done = deeplens(command, bad_files / name, "--model", model_folder, "-o", tmp_path / out)
        many = (command, name) == ("refocus", "folder")  # a folder is many photos, here none
        refused(done, "photo: no pictures in" if many else "source ", tmp_path, before)


@pytest.mark.parametrize(
    "options, says",
    [
        (["--focus", "128,5"], "0 <= x < 128"),
        (["--focus", "-5,3"], "0 <= x < 128"),
        (["--focus", "nan,3"], "0 <= x < 128"),
        (["--focus", "middle"], "--focus: must be X,Y"),
        (["--focus", "1,2,3"], "--focus: must be X,Y"),
        (["--aperture", "-1"], "aperture must be a number from 0 to 16"),
        (["--aperture", "nan"], "aperture must be a number from 0 to 16"),
        (["--aperture", "wide"], "--aperture"),
        (["--highlights", "5"], "highlights must be a number from 0 to 2"),
        (["--grain", "-1"], "grain must be a number from 0 to 2"),
        (["--range", "-0.1,0.2"], "range must be a number from 0 to 1"),
        (["--depth", "bad/rank3.npy"], "disparity must be an array (H, W)"),
        (["--depth", "bad/nan.npy"], "disparity must hold finite numbers"),
        (["--device", "abacus"], "device must be a device of this machine"),
        (["--model", "bad"], ""),
        (["--model", "not a/model/id"], ""),
        (["-o", "out.gif"], "path must end in"),
        (["-o", "nowhere/out.jpg"], "existing folder"),
        (["--blur", "3"], "--blur"),
        (["--focus", "1,2", "--range", "0.2,0.4"], "--range: not allowed with argument --focus"),
        (["--depth-is", "depth"], "--depth-is goes with --depth"),
        (["--focal-length", "50", "--aperture", "f/2"], "go with --reference X,Y,METRES or a --depth in metres"),
        (["--farthest", "3"], "--farthest goes with --reference"),
        (["--sensor-width", "36"], "--sensor-width go with an f-number"),
        (["--workers", "2"], "--workers goes with many photos"),
        (["--overwrite"], "--overwrite goes with many photos"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_on_the_command_line(deeplens, model_folder, bad_files, photo_file, tmp_path, options, says):
    before = sorted(os.listdir(tmp_path))
    at = {"--depth", "-o", "--model"}
    if options[0] in at and " " not in options[1]:
        options = [options[0], tmp_path / options[1]]
    done = deeplens("refocus", photo_file, "--model", model_folder, "-o", tmp_path / "out.jpg", *options)
    refused(done, says, tmp_path, before)


def test_settings_are_refused_before_the_weights_are_read(deeplens, photo_file, tmp_path):
    """Which takes seconds; here there are none at all."""
    for option in ("--aperture=99", "--highlights=5", "--grain=3", "--range=0.2,7", "--focus=5000,1"):
        done = deeplens("refocus", photo_file, "--model", tmp_path / "none", "-o", tmp_path / "out.jpg", option)
        assert done.returncode == 2 and " must be " in done.stderr and "none" not in done.stderr, done.stderr


@pytest.mark.parametrize("arguments", [[], ["polish"], ["refocus"], ["depth", "photo.jpg"], ["evaluate", "taste"]])
def test_half_a_command_line(deeplens, arguments, tmp_path):
    refused(deeplens(*arguments), "", tmp_path, [])


def test_evaluate_without_data(deeplens, model_folder, tmp_path):
    done = deeplens("evaluate", "render", "--data", tmp_path, "--model", model_folder)
    refused(done, "data must be a folder that holds truth/layered", tmp_path, [])
    for kind in ("layered", "traced"):
        (tmp_path / "truth" / kind / "other").mkdir(parents=True)
    done = deeplens("evaluate", "render", "--data", tmp_path, "--model", model_folder, "--out", tmp_path / "report")
    refused(done, "data must hold truth/layered/*_aif.png or", tmp_path, ["truth"])
