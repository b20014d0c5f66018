"""Streets at night, which highlight recovery learns from: perspective, lamps, wet ground, and samples of them."""

import numpy as np
import pytest
import torch

from deeplens_hf.rendering.highlights import darkness
from deeplens_hf.training.scenes import hdr
from deeplens_hf.training.scenes.hdr import ClippedScenes
from deeplens_hf.training.scenes.street import NEAREST, Street

SIZE = 96


def street(seed=0):
    return Street(np.random.default_rng(seed), SIZE)


def test_same_seed_same_street():
    assert np.array_equal(street(3).light(), street(3).light())
    assert not np.array_equal(street(3).light(), street(4).light())


def test_streets_are_dark_and_lamps_clip():
    lights = [street(seed).light() for seed in range(20)]
    assert all(light.shape == (SIZE, SIZE, 3) and np.isfinite(light).all() and light.min() >= 0 for light in lights)
    pictures = [torch.from_numpy(light.clip(0, 1)).permute(2, 0, 1)[None] for light in lights]
    assert sum(float(darkness(picture)) > 0.9 for picture in pictures) >= 18
    assert sum(light.max() > 5 for light in lights) >= 15


def test_twice_as_far_is_half_as_large():
    view = street()
    foot, top, far_foot, far_top = view.seen(np.array([(1, 0, 10), (1, 3, 10), (1, 0, 20), (1, 3, 20)]))
    assert foot[1] - top[1] == pytest.approx(2 * (far_foot[1] - far_top[1]))
    assert foot[0] - view.axis[0] == pytest.approx(2 * (far_foot[0] - view.axis[0]))


def test_wet_ground_mirrors_about_the_foot():
    view = street()
    above, foot = np.array([(2, 3, 15)]), np.array([(2, 0, 15)])
    assert np.allclose(view.seen(foot), view.seen(foot, mirrored=True))
    assert np.allclose(view.seen(above) + view.seen(above, mirrored=True), 2 * view.seen(foot))


def test_a_lamp_smaller_than_a_pixel_is_seen_and_does_not_fill_it():
    view = street()
    view.long, view.axis, view.eye = 100.0, np.array([SIZE / 2, SIZE / 2]), 2.0
    view.ball((0, 2, 50), 0.1, view.paint(np.full(3, 50.0), lit=True))
    light = view.look(view.numbers(), np.zeros((SIZE, SIZE, 3)))
    assert 5 < light[..., 0].sum() < 50
    assert light.max() < 40


def test_what_is_behind_the_camera_is_not_drawn():
    view = street()
    wall = view.paint(np.ones(3))
    view.upright((0, -5), (1, NEAREST - 0.1), 0, 3, wall)
    view.ball((0, 1, -2), 1, wall)
    assert view.shapes == []


def test_streets_stay_upright_as_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(hdr, "PHOTOGRAPHED", 0)  # what a camera makes of them: tests/test_highlights.py
    scenes = ClippedScenes([], tmp_path, 3, 24, seed=1, size=SIZE)
    profiles = [torch.from_numpy(scenes.light(index)).mean((0, 2)) for index in range(3)]  # (S,), down the picture
    for position in range(0, 24, 5):
        profile = scenes[position]["light"].mean((0, 2))
        alike = [float(torch.corrcoef(torch.stack([profile, each]))[0, 1]) for each in profiles]
        assert max(alike) > 0.9
