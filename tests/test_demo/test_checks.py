"""What is refused before it waits for a GPU, and what is not."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")
from deeplens_hf.demo.checks import (  # noqa: E402  the page's package needs gradio
    check_file,
    check_map,
    check_upload,
    faults,
)
from deeplens_hf.files.pictures import START_OF_SCAN, PhotoError, read_photo  # noqa: E402


@pytest.fixture(autouse=True)
def uploads(tmp_path, monkeypatch):
    """Where gradio keeps what was uploaded."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.zeros((40, 60, 3), np.uint8))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_that_of_the_upright_photo(picture, tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / f"photo{suffix}", exif=exif)
    assert check_upload(str(tmp_path / f"photo{suffix}")) == read_photo(tmp_path / f"photo{suffix}").size


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_no_reason_to_refuse(picture, tmp_path):
    picture.save(tmp_path / "photo.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff nonsense")
    assert check_upload(str(tmp_path / "photo.jpg")) == (60, 40)


def test_a_good_call_has_no_faults_and_a_bad_one_all_of_them(picture, tmp_path):
    picture.save(tmp_path / "photo.png")
    call = {"photo": str(tmp_path / "photo.png"), "x": None, "y": None, "aperture": 8, "highlights": 1.5}
    assert faults(call) == {}
    assert faults(call | {"x": 59, "y": 39.5, "aperture": 0}) == {}
    bad = {"x": 60, "y": 0, "aperture": None, "highlights": float("nan")}
    assert set(faults(call | bad)) == {"x", "aperture", "highlights"}


def test_only_what_was_uploaded_is_opened(picture, tmp_path, monkeypatch):
    """Gradio takes any path of the server from what does not say that it is a file."""
    picture.save(tmp_path / "photo.png")
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "link.png").symlink_to(tmp_path / "photo.png")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    secret, missing = str(tmp_path / "photo.png"), str(tmp_path / "none.png")
    told = set()
    for path in (secret, missing, "/dev/zero", str(tmp_path), None, f"{tmp_path}/uploads/../photo.png"):
        for at in (path, str(tmp_path / "uploads" / "link.png")):
            with pytest.raises(PhotoError, match="must be uploaded first"):
                check_upload(at)
        told.add(check_file({"path": path, "orig_name": "a"})["message"])
        assert set(faults({"photo": path} if path else {"photo": missing})) == {"photo"}
    assert len(told) == 1, "what is there cannot be told from what is not"
    np.save(tmp_path / "map.npy", np.zeros((2, 2)))
    with pytest.raises(PhotoError, match="must be uploaded first"):
        check_map(str(tmp_path / "map.npy"))


@pytest.mark.parametrize("size", [(70_000, 1), (1, 70_000)])
def test_a_side_longer_than_our_results_can_have(tmp_path, size):
    Image.new("L", size).save(tmp_path / "line.png")
    with pytest.raises(PhotoError, match="sides of at most 65500 pixels, this one has"):
        check_upload(str(tmp_path / "line.png"))


def test_a_jpeg_of_scans_without_end(picture, tmp_path):
    """Each takes the time of the whole photo, and only some bytes."""
    picture.save(tmp_path / "photo.jpg", progressive=True)
    whole = (tmp_path / "photo.jpg").read_bytes()
    last = whole[whole.rindex(START_OF_SCAN) : -2]
    assert check_upload(str(tmp_path / "photo.jpg")) == (60, 40)
    (tmp_path / "photo.jpg").write_bytes(whole[:-2] + last * 200 + whole[-2:])
    with pytest.raises(PhotoError, match="at most 100 scans"):
        check_upload(str(tmp_path / "photo.jpg"))


def test_an_own_depth_map_is_no_larger_than_a_photo(tmp_path):
    Image.new("L", (9000, 9000)).save(tmp_path / "map.png")
    np.lib.format.open_memmap(tmp_path / "map.npy", "w+", np.uint8, (9000, 9000)).flush()
    for name in ("map.png", "map.npy"):
        with pytest.raises(PhotoError, match="disparity must have at most 50 megapixels"):
            check_map(str(tmp_path / name))
    np.save(tmp_path / "map.npy", np.zeros((40, 60)))
    check_map(str(tmp_path / "map.npy"))
