"""The depth brush on arrays, and photos that are retouched, reduced and sent to other processes."""

import pickle

import numpy as np
import pytest

from deeplens_hf.photo import open_photo

pytest.importorskip("gradio")
from deeplens_hf.demo.retouch import STEP, retouch, stroke_mask  # noqa: E402  the page's package needs gradio

STROKE = {"kind": "nearer", "points": [[30, 48], [60, 48]], "radius": 0.08}


@pytest.mark.parametrize(("kind", "moved"), [("nearer", STEP), ("farther", -STEP), ("copy", 0.3)])
def test_stroke_moves_what_is_under_it_and_nothing_else(kind, moved):
    disparity = np.full((96, 128), 0.5, np.float32)
    after = retouch(disparity, ({**STROKE, "kind": kind, "level": 0.8},))
    assert after[48, 45] == pytest.approx(0.5 + moved, abs=0.02)
    assert np.array_equal(after[:20], disparity[:20]) and np.array_equal(after[:, 90:], disparity[:, 90:])


def test_strokes_add_up_within_the_range():
    disparity = np.full((96, 128), 0.9, np.float32)
    after = retouch(disparity, (STROKE,) * 3)
    assert after.max() == 1.0 and after.dtype == np.float32


def test_brush_covers_the_same_share_at_every_size():
    small = stroke_mask((96, 128), [[64, 48]], 0.1).mean()
    large = stroke_mask((1536, 2048), [[1024, 768]], 0.1).mean()
    assert large == pytest.approx(small, rel=0.15)


def test_reduced_photo_gives_the_same_picture_smaller(model, pixels):
    photo = open_photo(model, pixels.repeat(4, 0).repeat(4, 1))
    focus = photo.focus_range((100, 100))
    full = photo.refocus(focus=focus, aperture=12)
    small = photo.reduced(256).refocus(focus=focus, aperture=12)
    assert small.size == (256, 192)
    assert np.abs(np.asarray(full.resize(small.size)).astype(float) - np.asarray(small)).mean() < 3


def test_retouched_photo_keeps_its_subject_and_takes_the_new_depth(model, pixels, planes):
    photo = open_photo(model, pixels)
    other = photo.corrected(planes)
    assert np.array_equal(other.disparity, planes)
    assert other.foreground is photo.foreground
    assert not np.array_equal(photo.disparity, planes)


def test_photo_travels_without_its_model(model, pixels):
    photo = open_photo(model, pixels)
    expected = photo.refocus(point=(40, 40))
    sent = pickle.dumps(photo)
    assert len(sent) < 1_000_000  # the weights alone are larger
    arrived = pickle.loads(sent)
    arrived.model = model
    assert np.array_equal(np.asarray(arrived.refocus(point=(40, 40))), np.asarray(expected))
