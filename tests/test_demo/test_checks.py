"""What is refused before it waits for a GPU, and what is not."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")
from deeplens_hf.demo.checks import check_upload, faults  # noqa: E402  the page's package needs gradio
from deeplens_hf.files.pictures import read_photo  # noqa: E402


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.zeros((40, 60, 3), np.uint8))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_that_of_the_upright_photo(picture, tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / f"photo{suffix}", exif=exif)
    assert check_upload(tmp_path / f"photo{suffix}") == read_photo(tmp_path / f"photo{suffix}").size


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_no_reason_to_refuse(picture, tmp_path):
    picture.save(tmp_path / "photo.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff nonsense")
    assert check_upload(tmp_path / "photo.jpg") == (60, 40)


def test_a_good_call_has_no_faults_and_a_bad_one_all_of_them(picture, tmp_path):
    picture.save(tmp_path / "photo.png")
    call = {"photo": str(tmp_path / "photo.png"), "x": None, "y": None, "aperture": 8, "highlights": 1.5}
    assert faults(call) == {}
    assert faults(call | {"x": 59, "y": 39.5, "aperture": 0}) == {}
    bad = {"x": 60, "y": 0, "aperture": None, "highlights": float("nan")}
    assert set(faults(call | bad)) == {"x", "aperture", "highlights"}
