"""The functions behind the controls, without a browser: who comes when, what is kept, what is refused in words."""

import asyncio
import dataclasses
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

gr = pytest.importorskip("gradio")

from gradio.state_holder import SessionState  # noqa: E402

from deeplens_hf.demo import studio as module  # noqa: E402
from deeplens_hf.demo.answers import ANOTHER, GONE, SKIP  # noqa: E402
from deeplens_hf.demo.files import refusal, warn  # noqa: E402
from deeplens_hf.demo.films import Cut  # noqa: E402
from deeplens_hf.demo.page import build_demo  # noqa: E402
from deeplens_hf.demo.retouch import retouch  # noqa: E402
from deeplens_hf.demo.studio import OWN, PREDICTED, TOO_NEAR, Studio  # noqa: E402
from deeplens_hf.optics import DISC, MAX_APERTURE, ApertureShape  # noqa: E402

LENS = (9, "Round", 0, 0, 0, 0, 1, 0)  # f/3.5 or so


@pytest.fixture
def said(monkeypatch):
    """What the page would say."""
    heard: list[str] = []
    for name in ("Warning", "Info"):
        monkeypatch.setattr(gr, name, lambda message="", *_, **__: heard.append(message))
    return heard


@pytest.fixture
def studio(model):
    return Studio(model, [])


@pytest.fixture
def scene(studio, photo_file, planes, monkeypatch):
    """A photo with depth of its own, as the page has it."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(photo_file.parent))
    np.save(photo_file.with_suffix(".npy"), planes)
    opened = studio.open_upload({"path": str(photo_file), "orig_name": "photo.png"}, None)[0]
    return studio.own_depth(opened, str(photo_file.with_suffix(".npy")), "near")[0]


def stroke(scene, **changes):
    return gr.EventData(None, {"kind": "nearer", "radius": 0.1, "points": [[20, 20]]} | changes)


def wish(scene, point=None):
    return {"id": scene.id, "file": scene.file, "point": point, "range": None}


def test_a_stroke_needs_no_focus_and_a_wrong_one_is_told(studio, scene, said):
    outside = wish(scene, [99999, 10])
    assert len(studio.stroke(scene, outside, stroke(scene))[0].strokes) == 1 and not said
    assert studio.stroke(scene, outside, stroke(scene, kind="copy"))[0] == SKIP
    assert len(said) == 1 and "point" in said[0]


@pytest.mark.parametrize(
    "forged",
    [
        {"radius": 10_000}, {"radius": float("nan")}, {"radius": None}, {"kind": "erase"}, {"points": []},
        {"points": [[1, 1]] * 100_000}, {"points": [[1, float("nan")]]}, {"points": [[1]]}, {"points": [7]},
        {"points": {"0": [1, 1]}}, {"points": [[1, 1e9]]},
    ],
)  # fmt: skip
def test_a_stroke_that_nobody_could_draw_is_none(studio, scene, said, forged):
    """A brush as large keeps Pillow, and with it everybody, busy without end."""
    assert studio.stroke(scene, wish(scene), stroke(scene, **forged))[0] == SKIP and len(said) == 1


def test_all_strokes_stay_and_the_last_ones_can_be_taken_back(studio, scene, monkeypatch):
    monkeypatch.setattr(module, "UNDOABLE", 3)
    painted, drawn = scene, []
    for y in range(4, 44, 8):
        drawn.append(stroke(scene, points=[[20, y]], kind="copy" if y == 12 else "nearer"))
        painted = studio.stroke(painted, wish(painted, [40, 30]), drawn[-1])[0]
    assert len(painted.strokes) == 3
    level = sum(scene.focus(wish(scene, [40, 30]))) / 2
    every = [each._data | {"level": level} for each in drawn]
    np.testing.assert_array_equal(painted.photo.disparity, retouch(scene.untouched, tuple(every)))
    for left in (4, 3, 2):
        painted = studio.undo(painted, wish(painted))[0]
        np.testing.assert_array_equal(painted.photo.disparity, retouch(scene.untouched, tuple(every[:left])))
    assert studio.undo(painted, wish(painted))[0] == SKIP


def test_what_was_meant_for_the_photo_before_is_not_done_to_the_next(studio, scene, said):
    before = wish(scene, [20, 20]) | {"file": "another"}
    painted = studio.stroke(scene, wish(scene), stroke(scene))[0]
    assert studio.stroke(scene, before, stroke(scene))[0] == SKIP
    assert studio.paint(scene, before, "nearer", 0.1, None, None)[0] == SKIP
    assert studio.calibrate(scene, before, 2.0, 50.0, 36.0)[0] == SKIP
    assert studio.undo(painted, before)[0] == SKIP and studio.undo(painted, wish(painted))[0].strokes == ()
    assert not said


def test_no_picture_is_made_for_a_scene_that_is_no_more(studio, scene):
    painted = studio.stroke(scene, wish(scene), stroke(scene))[0]
    assert studio.look(painted, wish(scene), True, *LENS)[1:] == (SKIP, SKIP)
    assert studio.look(painted, wish(painted), True, *LENS)[2] is painted


def test_what_was_pressed_for_the_photo_before_is_not_saved_of_the_next(studio, scene):
    before = wish(scene, [20, 20]) | {"file": "another"}
    for save in (
        lambda wish: studio.save(scene, wish, "JPEG", False, *LENS),
        lambda wish: studio.save_depth(scene, wish),
    ):
        with pytest.raises(gr.Error) as refused:
            save(before)
        assert refused.value.message == ANOTHER
        assert Path(save(wish(scene))).exists()


def test_round_is_the_same_again_after_blades(scene):
    assert scene.lens(9, "6", 1, 72, 0, 0, 1, 0)["shape"] != DISC
    assert scene.lens(9, "Round", 1, 72, 0, 0, 1, 0)["shape"] == DISC


def test_each_control_of_the_lens_is_a_setting_of_its_own(scene):
    lens = scene.lens(stop=0, blades="7", roundness=0.3, rotation=20, ring=0.4, cat_eye=0.8, highlights=2, grain=0.5)
    assert lens == {"aperture": "f/16", "shape": ApertureShape(7, 20, 0.3, 0.4, 0.8), "highlights": 2, "grain": 0.5}
    assert scene.lens(21, "Round", 0.3, 20, 0.4, 0.8, 1, 0)["shape"] == ApertureShape(ring=0.4, cat_eye=0.8)


def test_no_picture_of_before_and_after_stays_on_the_disk(model, studio, scene):
    """Only what gradio has noted is deleted after a while."""
    page = build_demo(model)
    look = next(each for each in page.fns.values() if each.name == "look")
    state, at = SessionState(page), [block.elem_id for block in look.outputs].index("compare")
    for comparing in (False, True):
        told = studio.look(scene, wish(scene), comparing, *LENS)
        with ThreadPoolExecutor(1) as beside:  # Playwright, in other tests, has a loop of its own in this thread
            shown = beside.submit(asyncio.run, page.postprocess_data(look, list(told), state)).result()[at]
    noted = set().union(*page.temp_file_sets)
    files = [picture["path"] for picture in shown["value"]]
    assert len(files) == 2 and set(files) <= noted


def test_a_photo_in_use_and_its_files_are_kept(studio, scene):
    files, long_ago = [Path(scene.path), Path(scene.own)], time.time() - 3600
    for file in files:
        os.utime(file, (long_ago, long_ago))
    assert studio.look(scene, wish(scene), False, *LENS)[-1] is scene
    assert all(file.stat().st_mtime > long_ago + 60 for file in files)


@pytest.mark.parametrize(("lost", "source"), [("path", PREDICTED), ("own", OWN)])
def test_a_file_that_is_gone_is_told_as_such(studio, scene, said, lost, source):
    os.remove(getattr(scene, lost))
    studio.look(scene, wish(scene), False, *LENS)  # makes no empty one in its place
    other = dataclasses.replace(scene, source="another")
    assert studio.swap_depth(other, source, "near")[0] == SKIP
    assert said == [GONE]


def test_ones_own_depth_can_be_left_and_taken_up_again(studio, scene, said):
    predicted = studio.swap_depth(scene, PREDICTED, "near")[0]
    again = studio.swap_depth(predicted, OWN, "near")[0]
    assert predicted.source == PREDICTED and again.source == OWN and not said
    np.testing.assert_array_equal(again.photo.disparity, scene.photo.disparity)


def test_another_photo_ends_the_film_of_the_one_before(studio, scene, photo_file, said, tmp_path):
    cut = Cut()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    studio.open_upload({"path": str(tmp_path / "broken.png"), "orig_name": "broken.png"}, cut)
    assert len(said) == 1 and not cut.is_set(), "the photo stays, and so does its film"
    studio.open_upload({"path": str(photo_file), "orig_name": "photo.png"}, cut)
    assert cut.is_set()


def test_a_depth_map_that_nobody_uploaded_is_not_opened(studio, scene, said, planes, tmp_path_factory):
    """Whoever calls the listener by hand may name any file of the server."""
    file = tmp_path_factory.mktemp("server") / "map.npy"
    np.save(file, planes)
    assert studio.own_depth(scene, str(file), "near")[0] == SKIP and len(said) == 1


def test_a_distance_does_not_outlive_its_depth_without_a_word(studio, scene, said):
    calibrated = studio.calibrate(scene, wish(scene, [20, 20]), 2.0, 50.0, 36.0)[0]
    assert calibrated.photo.calibration
    said.clear()
    swapped = studio.swap_depth(calibrated, PREDICTED, "near")[0]
    assert swapped.photo.calibration is None and len(said) == 1 and "nominal again" in said[0]


def test_a_depth_map_that_is_taken_away_knows_its_metres(model, studio, scene, photo_file, said):
    calibrated = studio.calibrate(scene, wish(scene, [20, 20]), 2.0, 50.0, 36.0)[0]
    saved = studio.save_depth(calibrated, wish(calibrated))
    assert model.open(photo_file, disparity=saved).dioptres == pytest.approx(calibrated.photo.dioptres, rel=1e-3)
    assert model.open(photo_file, disparity=studio.save_depth(scene, wish(scene))).dioptres is None


def test_what_visitors_write_is_shown_as_text(said):
    written = "A film cannot start or end at “<img src=x onerror=alert(1)>”."
    warn(written)
    for shown in (*said, refusal(written).message):
        assert "<img" not in shown and "&lt;img" in shown


def test_a_lens_that_none_of_the_f_numbers_suits_is_refused(studio, scene, said):
    assert studio.calibrate(scene, wish(scene, [20, 20]), 0.1, 400.0, 36.0)[0] == SKIP
    assert said == [TOO_NEAR] and scene.photo.calibration is None


def test_a_lens_that_is_too_wide_at_its_widest_alone_is_taken(studio, scene, said):
    found = studio.calibrate(scene, wish(scene, [110, 20]), 0.3, 50.0, 36.0)[0].photo.calibration
    assert found.aperture(16) < MAX_APERTURE < found.aperture(1.4)


def test_the_photo_left_alone_longest_makes_room(studio, photo_file, said):
    """A stroke makes no second one of a photo, and whoever comes back is told."""
    studio.shelf.most = 2
    one, other = (studio.open_upload({"path": str(photo_file), "orig_name": "a.png"}, None)[0] for _ in range(2))
    one = studio.stroke(one, wish(one), stroke(one))[0]
    for scene in (other, one):
        studio.look(scene, wish(scene), False, *LENS)
    third = studio.open_upload({"path": str(photo_file), "orig_name": "a.png"}, None)[0]
    said.clear()
    assert one.photo and third.photo and not other.photo and not said
    assert studio.look(other, wish(other), False, *LENS)[1:] == (SKIP, SKIP) and said == [GONE]
    for told in (studio.paint(other, wish(other), "nearer", 0.1, 20, 20), studio.swap_depth(other, OWN, "near")):
        assert told[0] == SKIP
    with pytest.raises(gr.Error):
        studio.save_depth(other, wish(other))


def test_large_photos_make_room_sooner(studio, photo_file, scene):
    studio.shelf.most_pixels = 2 * scene.untouched.size
    studio.look(scene, wish(scene), False, *LENS)
    second, third = (studio.open_upload({"path": str(photo_file), "orig_name": "a.png"}, None)[0] for _ in range(2))
    assert second.photo and third.photo and not scene.photo
    studio.shelf.most_pixels = 1
    studio.look(third, wish(third), False, *LENS)
    assert third.photo and not second.photo, "the one in use is kept, however large"


def test_a_film_ends_at_the_focus_point(studio, scene, said):
    assert studio.films.film_end(wish(scene, [20, 30])) == "20, 30"
    assert studio.films.film_end(wish(scene)) == studio.films.film_end(None) == "subject" and not said
    assert studio.films.film_end(wish(scene) | {"range": [0.2, 0.4]}) == SKIP and len(said) == 1


def test_a_film_that_waited_while_another_was_asked_for_is_not_made(studio, scene):
    cut, asked = studio.films.roll(None)
    latest, _ = studio.films.roll(cut)  # what the job that waits finds, once its turn comes
    assert [*studio.films.film(scene, latest, asked, "near", "far", 0.5, "smooth", *LENS)] == [(SKIP, SKIP)]


def test_whatever_makes_a_scene_takes_turns(model, tmp_path):
    """Side by side they would start from the same scene, and the last to end would win."""
    page = build_demo(model)
    kept = next(block for block in page.blocks.values() if isinstance(block, gr.State) and block.time_to_live)
    makers = [each for each in page.fns.values() if kept in each.outputs and each.fn is not None]
    assert {each.name for each in makers} >= {"stroke", "paint", "undo", "calibrate", "look", "open_upload"}
    assert {each.concurrency_id for each in makers} == {"gpu"}
