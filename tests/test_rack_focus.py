"""Rack focus: what the frames show, and that the files play."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from deeplens_hf.files.pictures import PhotoError
from deeplens_hf.photo import open_photo
from deeplens_hf.rack_focus import EASINGS, frame_times, rack_focus, write_mp4, write_webp

FAR, NEAR = (0.2, 0.2), (0.8, 0.8)


@pytest.fixture(scope="module")
def photo(model, pixels, planes):
    """A far half and a near one; a column too many for H.264."""
    return open_photo(model, pixels[:, :127], planes[:, :127])


@pytest.fixture(scope="module")
def frames(photo):
    return list(rack_focus(photo, FAR, NEAR, seconds=0.5, fps=12, aperture=16))


def detail(frame: Image.Image, columns: slice) -> float:
    return float(np.abs(np.diff(np.asarray(frame).astype(float)[:, columns], axis=1)).mean())


def middle(film: Path) -> np.ndarray:
    """The colour in the middle of an MP4's first frame."""
    with pytest.importorskip("av").open(film) as opened:
        first = next(opened.decode(video=0))
    shown = first.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray().astype(int)
    return shown[shown.shape[0] // 2, shown.shape[1] // 2]


@pytest.fixture
def swapped() -> bytes:
    """A colour profile: what is red and green in sRGB, changed over."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in ((b"rXYZ", b"----"), (b"gXYZ", b"rXYZ"), (b"----", b"gXYZ")):
        profile = profile.replace(old, new)
    return profile


def test_sharpness_travels_from_far_to_near(frames):
    left, right = ([detail(frame, columns) for frame in frames] for columns in (slice(8, 48), slice(80, 120)))
    assert left[0] > 2 * left[-1] and right[-1] > 2 * right[0]
    assert all(later <= sooner + 0.5 for sooner, later in zip(left, left[1:], strict=False))


def test_ends_stand_still_and_count_and_size_are_right(photo, frames):
    assert len(frames) == 6 and {frame.size for frame in frames} == {(126, 96)}
    assert np.array_equal(np.asarray(frames[0]), np.asarray(photo.refocus(focus=FAR, aperture=16))[:, :126])
    times = frame_times(2, 24)
    assert (times[:7] == 0).all() and (times[-7:] == 1).all() and (np.diff(times) >= 0).all()


@pytest.mark.parametrize("ease", EASINGS.values(), ids=EASINGS)
def test_easing_goes_from_end_to_end_without_turning_back(ease):
    eased = [ease(t) for t in np.linspace(0, 1, 50)]
    assert eased[0] == 0 and eased[-1] == 1 and (np.diff(eased) >= 0).all()


def test_what_eases_in_sets_off_gently_and_what_eases_out_arrives_so():
    half = {name: ease(0.5) for name, ease in EASINGS.items()}
    assert half["ease in"] < half["linear"] == half["smooth"] == 0.5 < half["ease out"]
    assert EASINGS["smooth"](0.1) < 0.1 and EASINGS["smooth"](0.9) > 0.9


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"seconds": 0}, "seconds must be a number from 0.5 to 10"),
        ({"seconds": float("nan")}, "seconds must be a number from 0.5 to 10"),
        ({"seconds": "long"}, "seconds must be a number from 0.5 to 10"),
        ({"easing": "bounce"}, "easing must be one of smooth, linear"),
        ({"fps": 0}, "fps must be a number from 1 to 60"),
        ({"start": (None, 1)}, "start and end must be a number from 0 to 1"),
        ({"start": 0.1}, "start and end must be pairs of disparities"),
        ({"aperture": 99}, "aperture must be a number from 0 to 16"),
    ],
)
def test_wrong_settings_are_told_before_the_first_frame(photo, wrong, sentence):
    with pytest.raises(PhotoError, match=sentence):
        rack_focus(photo, **({"start": FAR, "end": NEAR} | wrong))


@pytest.mark.parametrize("write, name", [(write_mp4, "film.mp4"), (write_webp, "film.webp")])
def test_what_is_no_film(model, tmp_path, write, name):
    line = model.open(np.zeros((1, 300, 3), np.uint8))
    with pytest.raises(PhotoError, match="frames must be 2 x 2 pixels at least, got 300 x 1"):
        write(rack_focus(line, FAR, NEAR), tmp_path / name)
    with pytest.raises(PhotoError, match="fps must be a number from 1 to 60, got 0"):
        write([Image.new("RGB", (8, 8))], tmp_path / name, fps=0)
    assert not list(tmp_path.iterdir())


def test_mp4_plays_and_shows_the_frames(frames, tmp_path):
    av = pytest.importorskip("av")
    write_mp4(frames, tmp_path / "film.mp4", fps=12)
    with av.open(tmp_path / "film.mp4") as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 12)
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
    assert len(shown) == len(frames)
    for got, frame in zip(shown, frames, strict=True):
        assert abs(got.astype(float).mean() - np.asarray(frame).mean()) < 3  # colours keep their brightness
    assert (tmp_path / "film.mp4").read_bytes().index(b"moov") < 200  # plays before it is all there


def test_mp4_keeps_colours(tmp_path):
    pytest.importorskip("av")
    write_mp4([Image.new("RGB", (64, 48), (200, 60, 30))] * 3, tmp_path / "film.mp4")
    assert np.abs(middle(tmp_path / "film.mp4") - (200, 60, 30)).max() < 5


def test_webp_goes_there_and_back(frames, tmp_path):
    write_webp(frames, tmp_path / "film.webp", fps=12)
    with Image.open(tmp_path / "film.webp") as film:
        assert film.info["loop"] == 0
        shown, durations = [], []
        for number in range(film.n_frames):
            film.seek(number)
            shown.append(np.asarray(film.convert("RGB")).astype(float))
            durations.append(film.info["duration"])
    # there and back, without a second look at either end
    assert sum(durations) == pytest.approx((2 * len(frames) - 2) * 1000 / 12, abs=len(shown))
    ends = [np.abs(picture - np.asarray(frames[-1])).mean() for picture in shown]
    assert 0 < int(np.argmin(ends)) < len(shown) - 1  # the far end is in the middle


def test_films_are_in_srgb(swapped, tmp_path):
    """Where a photo has another profile, players would show its numbers as sRGB's."""
    frame = Image.new("RGB", (64, 48), (120, 60, 30))
    frame.info["icc_profile"] = swapped
    write_webp([frame], tmp_path / "film.webp")
    with Image.open(tmp_path / "film.webp") as film:
        shown = np.asarray(film.convert("RGB")).astype(int)
    assert np.abs(shown[24, 32] - (60, 120, 30)).max() < 12


def test_an_mp4_is_in_srgb_too(swapped, tmp_path):
    pytest.importorskip("av")
    frame = Image.new("RGB", (64, 48), (120, 60, 30))
    frame.info["icc_profile"] = swapped
    write_mp4([frame] * 3, tmp_path / "film.mp4")
    assert np.abs(middle(tmp_path / "film.mp4") - (60, 120, 30)).max() < 12


def test_frames_for_other_writers_are_in_srgb(model, swapped):
    photo = open_photo(model, Image.new("RGB", (64, 48), (120, 60, 30)), np.zeros((48, 64), np.float32))
    photo.picture.info["icc_profile"] = swapped
    frame = next(rack_focus(photo, FAR, NEAR, seconds=0.5, fps=4, aperture=0))
    assert np.abs(np.asarray(frame)[24, 32].astype(int) - (60, 120, 30)).max() < 12


@pytest.mark.parametrize("fps", [23.976, 29.97, 1])
def test_every_rate_has_both_ends(photo, tmp_path, fps):
    shots = list(rack_focus(photo, (0.0, 0.2), (0.8, 1.0), seconds=0.5, fps=fps, aperture=4))
    assert len(shots) >= 2 and not np.array_equal(shots[0], shots[-1])
    write_mp4(shots, tmp_path / "film.mp4", fps)
    assert (tmp_path / "film.mp4").stat().st_size > 500
    with pytest.importorskip("av").open(tmp_path / "film.mp4") as film:
        assert float(film.streams.video[0].average_rate) == pytest.approx(fps, rel=1e-4)


def test_a_range_may_open_at_one_end_alone(photo):
    shots = list(rack_focus(photo, (0.0, 0.2), (0.0, 0.8), seconds=0.5, fps=4, aperture=16))
    assert not np.array_equal(shots[0], shots[-1])


def test_odd_sides_lose_a_column_in_a_film(tmp_path):
    av = pytest.importorskip("av")
    write_mp4([Image.new("RGB", (65, 47), "red")], tmp_path / "film.mp4")
    with av.open(tmp_path / "film.mp4") as film:
        assert (film.streams.video[0].width, film.streams.video[0].height) == (64, 46)


@pytest.mark.parametrize(("write", "name"), [(write_mp4, "film.mp4"), (write_webp, "film.webp")])
def test_a_film_of_nothing_is_refused(write, name, tmp_path):
    with pytest.raises(PhotoError, match="frames must hold one picture at least"):
        write([], tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_other_suffixes_are_refused(frames, tmp_path):
    with pytest.raises(PhotoError, match=r"\.mp4"):
        write_mp4(frames, tmp_path / "film.avi")
    with pytest.raises(PhotoError, match=r"\.webp"):
        write_webp(frames, tmp_path / "film.gif")
    assert not list(tmp_path.iterdir())
