"""What edges hide: nearer to the truth than smooth colour, learned from scenes whose layers are known."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from deeplens_hf import DeepLens, DeepLensConfig, cli
from deeplens_hf.hidden import HiddenColour
from deeplens_hf.optics import linear_to_srgb, srgb_to_linear
from deeplens_hf.surfaces import first_guess, local_contrast
from deeplens_hf.training.hidden_scenes import HiddenScenes, taken_apart
from deeplens_hf.training.losses import hidden_loss
from deeplens_hf.training.record import of_todays_format
from deeplens_hf.training.studio import Sheet


def test_hidden_colour_comes_nearer_to_the_truth(model, tmp_path):
    scenes = HiddenScenes([], tmp_path, scenes=24, length=24, seed=1234, size=128)
    surfaces, squares = model.lens_blur.surfaces, torch.zeros(2)
    for position in range(24):
        sample = {name: value[None] for name, value in scenes[position].items()}
        true = srgb_to_linear(sample["far"]).sqrt()
        guess, _, _ = first_guess(srgb_to_linear(sample["image"]), sample["defocus"])
        with torch.inference_mode():
            found = surfaces.hidden_colour(guess, local_contrast(guess[:, :3]))
        for index, each in enumerate((guess[:, 3:6], found)):  # as continued, and as corrected
            squares[index] += ((each - true).square() * sample["weight"]).sum()
    assert float(squares[1]) < 0.95 * float(squares[0]), squares


def test_what_has_no_contrast_stays_as_it_is():
    torch.manual_seed(0)
    network = HiddenColour()
    torch.nn.init.normal_(network.write.weight)
    maps = torch.rand(1, 11, 37, 50)  # no multiple of anything
    continued = maps[:, 3:6]
    with torch.inference_mode():
        assert torch.equal(network(maps, torch.zeros_like(continued)), continued)
        assert float((network(maps, torch.ones_like(continued)) - continued).abs().max()) > 0.1


def test_older_weights_render_without():
    torch.manual_seed(0)
    config = DeepLensConfig(depth_width=32, blur_width=8, format_version=4)
    old = DeepLens(config).eval()
    assert old.lens_blur.surfaces.hidden_colour is None and not any(
        "hidden_colour" in name for name in old.state_dict()
    )
    newer = of_todays_format(old).eval()
    assert newer.config == replace(config, format_version=DeepLensConfig().format_version)
    photo, disparity = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 8, 8).round()
    disparity = disparity.repeat_interleave(8, 2).repeat_interleave(8, 3)  # blocks: noise has no surfaces
    with torch.inference_mode():
        difference = old.render(photo, disparity, 0.2, 8.0) - newer.render(photo, disparity, 0.2, 8.0)
    assert float(difference.abs().max()) < 0.05, "untrained it hardly changes anything"


def flat(value: float, colour: tuple[float, float, float], alpha: np.ndarray) -> Sheet:
    return Sheet(np.full((*alpha.shape, 3), colour, np.float32), alpha, np.full(alpha.shape, value, np.float32))


def test_scenes_are_taken_apart_sheet_by_sheet():
    alpha = np.zeros((3, 4, 4), np.float32)
    alpha[0], alpha[1, :, 1:], alpha[2, :, 2] = 1, 1, 0.75
    alpha[2, :, 3] = 0.25
    maps = taken_apart([flat(1, (1, 0, 0), alpha[0]), flat(2, (0, 1, 0), alpha[1]), flat(5, (0, 0, 1), alpha[2])])
    disparity, near, far = (maps[name][0, 0] / 65535 for name in ("disparity", "near_disparity", "far_disparity"))
    assert np.allclose(disparity, [0, 0.25, 1, 0.25], atol=1e-4), "the nearest by more than half"
    assert np.allclose(near, [0, 0.25, 1, 1], atol=1e-4), "the nearest at all"
    assert np.allclose(far, [0, 0, 0.25, 0.25], atol=1e-4), "what is behind that"
    assert np.allclose(maps["covered"][0, 0] / 65535, [0, 1, 0.75, 0.25], atol=1e-4)
    assert (maps["far"][:, 0].T == [[255, 0, 0], [255, 0, 0], [0, 255, 0], [0, 255, 0]]).all()
    mixed = linear_to_srgb(torch.tensor([0, 0.25, 0.75])) * 255
    assert np.abs(maps["image"][:, 0, 2] - mixed.round().numpy()).max() <= 1


def test_scenes_are_the_same_again_and_count_only_what_is_hidden(tmp_path):
    scenes = HiddenScenes([], tmp_path, scenes=3, length=12, seed=0, size=64)
    samples = [scenes[position] for position in range(12)]
    assert len(list(tmp_path.iterdir())) == 3
    again = HiddenScenes([], tmp_path / "other", scenes=3, length=12, seed=0, size=64)
    assert all(torch.equal(again[7][name], samples[7][name]) for name in samples[7])
    assert any(float(sample["weight"].max()) > 0.5 for sample in samples)
    for sample in samples:
        counts = (sample["weight"] > 0).expand(3, -1, -1)
        difference: Tensor = (sample["image"] - sample["far"]).abs()
        assert 0 <= float(sample["weight"].min()) and float(sample["weight"].max()) <= 1
        if counts.any():
            assert float(difference[counts].mean()) > float(difference[~counts].mean())


@pytest.mark.slow
def test_scenes_drawn_ahead_by_many_processes_are_the_same(tmp_path):
    lazy, ahead = (HiddenScenes([], tmp_path / name, scenes=6, length=6, seed=0, size=64) for name in ("lazy", "ahead"))
    ahead.draw_ahead(2)
    assert len(list((tmp_path / "ahead").iterdir())) == 6
    for position in range(6):
        for name, value in lazy[position].items():
            assert ahead[position][name].equal(value), name


def test_loss_counts_what_is_weighed_and_nothing_else():
    true, weight = torch.rand(2, 3, 24, 24), torch.zeros(2, 1, 24, 24)
    weight[..., 8:16, 8:16] = 1
    elsewhere = true + (1 - weight)
    assert float(hidden_loss(elsewhere, true, weight)["difference"]) == 0
    wrong = hidden_loss(true + 0.1 * weight, true, weight)
    assert float(wrong["difference"]) == pytest.approx(0.1, abs=1e-3)
    assert float(wrong["square"]) == pytest.approx(0.1, abs=2e-3)


def test_it_trains_alone(tmp_path):
    torch.manual_seed(0)
    old = DeepLens(DeepLensConfig(depth_width=32, blur_width=8, format_version=4))
    old.save_pretrained(tmp_path / "old")
    arguments = ["--steps", "2", "--batch-size", "2", "--scenes", "3", "--size", "64", "--device", "cpu"]
    start = ["--from", str(tmp_path / "old"), "--workers", "0", "--out", str(tmp_path)]
    assert cli.main(["train", "hidden", *start, *arguments]) == 0
    newer = DeepLens.from_pretrained(tmp_path / "weights")
    weights = newer.state_dict()
    assert all(torch.equal(value.half(), weights[name].half()) for name, value in old.state_dict().items())
    assert float(newer.lens_blur.surfaces.hidden_colour.write.bias.detach().abs().max()) > 0, "it starts at zero"
    assert json.loads((tmp_path / "weights" / "training.json").read_text())[-1]["scenes"] == 3
