"""Recovering clipped light: only what is clipped, only by night, and the loss against light that is known."""

import math

import numpy as np
import pytest
import torch

from deeplens_hf.highlights import HighlightRecovery, darkness
from deeplens_hf.training.hdr import NightScenes, glare
from deeplens_hf.training.losses import highlights_loss


def night(size=96):
    """A dim street with a lamp of 5 pixels: (1, 3, H, W) linear."""
    light = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 0.05
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    light[..., torch.hypot(x - 40.0, y - 30.0) < 5] = 1.0
    return light


def test_a_lamp_at_night_is_brighter_than_it_looks(model):
    light = night()
    with torch.inference_mode():
        radiance = model.lens_blur.highlights(light)
    lamp = light == 1
    assert float(radiance[lamp].mean()) > 2
    assert torch.equal(radiance[~lamp], light[~lamp])


def test_nothing_is_added_by_day(model):
    light = night() + 0.3 * (night() < 0.9)
    with torch.inference_mode():
        assert torch.equal(model.lens_blur.highlights(light), light)


def test_an_unclipped_channel_keeps_its_light(model):
    light = night()
    light[:, 2][light[:, 2] == 1] = 0.6  # a warm lamp
    with torch.inference_mode():
        radiance = model.lens_blur.highlights(light)
    assert torch.equal(radiance[:, 2], light[:, 2]) and float(radiance[:, 0].max()) > 1.5


def test_darkness_of_white_paper_and_of_a_street():
    assert float(darkness(torch.ones(1, 3, 8, 8))) == 0
    assert float(darkness(night())) == 1


def test_loss_is_nothing_for_the_true_light_and_counts_the_logarithm():
    truth = torch.full((1, 3, 40, 40), 0.02)
    truth[..., 18:22, 18:22] = math.e**2
    assert float(highlights_loss(truth, truth, 5.0)["loss"]) == pytest.approx(1e-3, abs=1e-4)  # of the square root
    dim = truth.clamp(max=1.0)
    parts = highlights_loss(dim, truth, 5.0)
    assert float(parts["logarithm"]) == pytest.approx(2, abs=1e-4) and float(parts["blurred"]) > 0.02


def test_night_scenes_are_dark_with_lamps_and_come_again(tmp_path):
    scenes = NightScenes([], tmp_path, 6, 12, seed=3, size=64)
    samples = [scenes[position] for position in range(6)]
    assert max(float(sample["light"].max()) for sample in samples) > 2
    for sample in samples:
        assert sample["image"].shape == (3, 64, 64) and float(sample["image"].max()) <= 1
    again = NightScenes([], tmp_path / "new", 6, 12, seed=3, size=64)[4]
    torch.testing.assert_close(again["light"], samples[4]["light"])


def test_glare_keeps_the_light_and_reaches_farther_from_brighter_lamps():
    spread = []
    for power in (2.0, 100.0):
        light = torch.zeros(3, 64, 64)
        light[:, 28:36, 28:36] = power
        for seed in range(6):
            seen = glare(light, np.random.default_rng(seed))
            assert float(seen.sum()) == pytest.approx(float(light.sum()), rel=0.01)
        spread.append(int((seen > 0.5).sum()))
    assert spread[1] > spread[0]


def test_gradients_flow_through_what_is_recovered():
    module = HighlightRecovery(8)
    module(night()).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in module.parameters())
