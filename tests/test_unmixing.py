"""What edges hide: nearer to the truth than smooth colour, learned from scenes whose layers are known."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deeplens_hf import DeepLens, DeepLensConfig, cli
from deeplens_hf.optics import linear_to_srgb, srgb_to_linear
from deeplens_hf.rendering.surfaces import SurfaceExtraction, first_guess, near_share
from deeplens_hf.training.losses import hidden_loss
from deeplens_hf.training.record import of_format
from deeplens_hf.training.scenes.hidden_scenes import HiddenScenes, taken_apart
from deeplens_hf.training.scenes.studio import Sheet
from deeplens_hf.training.stages import refocused, split_surfaces


def test_what_is_hidden_and_how_much_hides_it_come_nearer_to_the_truth(model, tmp_path):
    scenes = HiddenScenes([], tmp_path, scenes=24, length=24, seed=1234, size=128)
    colours, coverages = torch.zeros(2), torch.zeros(2)
    for position in range(24):
        batch = {name: value[None] for name, value in scenes[position].items()}
        with torch.inference_mode():
            found, true, coverage, true_coverage = split_surfaces(model, batch)
            guess, _, _ = first_guess(srgb_to_linear(batch["image"]), batch["defocus"])
        for index, (colour, share) in enumerate(((guess[:, 3:6], guess[:, 9:10]), (found, coverage))):
            colours[index] += ((colour - true).square() * batch["weight"]).sum()  # as guessed, and as corrected
            coverages[index] += ((share - true_coverage).square() * batch["weight"]).sum()
    assert float(colours[1]) < 0.95 * float(colours[0]), colours
    assert float(coverages[1]) < 0.8 * float(coverages[0]), coverages


def test_what_has_no_contrast_or_one_surface_stays_as_it_is():
    torch.manual_seed(0)
    surfaces = SurfaceExtraction()
    torch.nn.init.normal_(surfaces.unmixing.write.weight)
    light, defocus = torch.full((1, 3, 37, 50), 0.3), torch.zeros(1, 1, 37, 50)  # no multiple of anything
    defocus[..., :25] = 12.0
    with torch.inference_mode():
        guess, near, far = first_guess(light, defocus)
        same = surfaces.unmix(guess, near, far, torch.zeros_like(near))
        torch.testing.assert_close(same.far_shown, guess[:, 3:6], atol=1e-5, rtol=0)
        assert float((same.coverage - guess[:, 9:10]).abs().max()) > 0.1, "two surfaces may be alike"
        guess, near, far = first_guess(torch.rand_like(light), defocus)
        other = surfaces.unmix(guess, near, far, torch.zeros_like(near))
        assert float((other.far_shown - guess[:, 3:6]).abs().max()) > 0.1
        assert 0 <= float(other.coverage.min()) and float(other.coverage.max()) <= 1
        assert torch.equal(other.coverage[near == far], guess[:, 9:10][near == far])


def test_well_inside_a_surface_nothing_is_transparent_whatever_the_network_says():
    """Letters on a board were taken for its edge, and what is behind shone through them as bright lines."""
    torch.manual_seed(0)
    surfaces = SurfaceExtraction()
    torch.nn.init.constant_(surfaces.unmixing.write.bias, -5.0)  # nothing covers anything
    defocus = torch.full((1, 1, 120, 201), -50.0)
    defocus[..., 50:] = 0.5  # a board, 151 pixels wide
    with torch.inference_mode():
        guess, near, far = first_guess(torch.rand(1, 3, 120, 201), defocus)
        coverage = surfaces.unmix(guess, near, far, torch.zeros_like(near)).coverage
    assert float(coverage[..., 50:66].max()) == 0
    assert float((far < near).float()[..., 90:110].min()) == 1, "what is behind is known there"
    assert float(coverage[..., 90:110].min()) == 1


def test_a_dark_surface_in_focus_has_no_dots_where_what_is_behind_it_ends(model):
    """That end was taken for an edge: single pixels of trousers before a white wall turned black."""
    torch.manual_seed(0)
    light, defocus = torch.full((1, 3, 96, 128), 0.95), torch.full((1, 1, 96, 128), -5.3)
    left = 40 + (torch.arange(96) / 6).long()  # a leg, a little aslant
    leg = (torch.arange(128) >= left[:, None]) & (torch.arange(128) < left[:, None] + 40)  # (96, 128)
    defocus[..., leg], light[..., leg] = 0.1, 0.02 + 0.03 * torch.rand(int(leg.sum()))
    with torch.inference_mode():
        guess, _, _ = first_guess(light, defocus)
        sharp = model.lens_blur(light, defocus, torch.zeros_like(defocus), highlights=0.0)[0]
    within = -F.max_pool2d(-leg.float()[None, None], 9, 1, 4) > 0  # clear of its edge
    assert float(guess[:, 9:10][within].min()) == 1
    off = (linear_to_srgb(sharp.clamp(0, 1)) - linear_to_srgb(light)).abs().amax(1, keepdim=True)
    assert float(off[within].max()) < 0.01


def test_beside_an_opaque_surface_nothing_of_it_is_darker():
    """What is guessed too bright behind took all the light of a pixel that is mostly near: a black dot."""
    light, far = torch.full((1, 3, 5, 7), 0.05), torch.full((1, 3, 5, 7), 0.3)
    coverage = torch.ones(1, 1, 5, 7)
    coverage[..., 3], coverage[..., 4:] = 0.8, 0.0
    near = near_share(light, far, coverage)
    torch.testing.assert_close(near[..., :3], light[..., :3])
    torch.testing.assert_close(near[..., 3], 0.8 * light[..., 3])  # 0 before: a fifth of what is behind is brighter
    assert float(near[..., 4:].abs().max()) == 0
    coverage[..., 3] = 0.4  # what it covers to the lesser part may be as dark as its colours say
    assert float(near_share(light, far, coverage)[..., 3].max()) == 0
    coverage[..., :3] = 0.9  # nothing opaque beside it
    coverage[..., 3] = 0.8
    assert float(near_share(light, far, coverage)[..., 3].max()) == 0


def test_two_surfaces_are_refocused_as_the_lens_equation_says():
    torch.manual_seed(0)
    far, near, coverage = torch.rand(1, 3, 24, 24), torch.rand(1, 3, 24, 24), torch.rand(1, 1, 24, 24)
    light = coverage * near + (1 - coverage) * far
    sharp_near, sharp_far = (srgb_to_linear(each) for each in refocused(light, far, coverage, 3.0))
    disc = torch.stack(torch.meshgrid(*[torch.arange(-3.0, 4)] * 2, indexing="ij")).norm(dim=0)
    disc = (3.5 - disc).clamp(0, 1)
    disc, window = disc / disc.sum(), (..., slice(9, 16), slice(9, 16))
    blurred = [(each[window] * disc).sum((-2, -1)) for each in (far, coverage * near, coverage)]
    place = (..., 12, 12)
    expected = coverage[place] * near[place] + (1 - coverage[place]) * blurred[0]
    torch.testing.assert_close(sharp_near[place], expected, atol=0.01, rtol=0)
    expected = blurred[1] + (1 - blurred[2]) * far[place]
    torch.testing.assert_close(sharp_far[place], expected, atol=0.01, rtol=0)


def test_where_the_map_tells_of_other_surfaces_nothing_is_taught(model, tmp_path):
    batch = {name: value[None] for name, value in HiddenScenes([], tmp_path, 1, 1, seed=3, size=64)[0].items()}
    batch["far_defocus"] = batch["far_defocus"] - 50
    found, true, coverage, true_coverage = split_surfaces(model, batch)
    assert torch.equal(found, true) and torch.equal(coverage, true_coverage)
    assert not true.requires_grad and not true_coverage.requires_grad


@pytest.mark.parametrize("version", [4, 7])
def test_older_weights_render_with_the_networks_they_have(version):
    torch.manual_seed(0)
    config = DeepLensConfig(depth_width=32, blur_width=8, format_version=version)
    old = DeepLens(config).eval()
    names = {name.split(".")[2] for name in old.state_dict() if name.startswith("lens_blur.surfaces.")}
    assert ("hidden_colour" in names) == (version == 7) and "unmixing" not in names and "to_coarse" in names
    newer = of_format(old).eval()
    assert newer.config == replace(config, format_version=DeepLensConfig().format_version)
    photo, disparity = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 8, 8).round()
    disparity = disparity.repeat_interleave(8, 2).repeat_interleave(8, 3)  # blocks: noise has no surfaces
    with torch.inference_mode():
        difference = old.render(photo, disparity, 0.2, 8.0) - newer.render(photo, disparity, 0.2, 8.0)
    assert float(difference.abs().max()) < 0.05, "untrained it hardly changes anything"


def test_what_older_weights_know_of_hidden_colour_is_kept():
    torch.manual_seed(0)
    old = DeepLens(DeepLensConfig(depth_width=32, format_version=7)).eval()
    torch.nn.init.normal_(old.lens_blur.surfaces.hidden_colour.write.weight, std=0.1)
    newer = of_format(old).eval()
    guess = first_guess(
        torch.rand(1, 3, 64, 64), 6 * torch.rand(1, 1, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    )
    subject = torch.zeros(1, 1, 64, 64)
    with torch.inference_mode():
        before, after = (each.lens_blur.surfaces.unmix(*guess, subject) for each in (old, newer))
    assert float((before.far_shown - guess[0][:, 3:6]).abs().max()) > 0.05
    torch.testing.assert_close(after.far_shown, before.far_shown, atol=0.02, rtol=0)


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
    old = DeepLens(DeepLensConfig(depth_width=32, format_version=7))
    old.save_pretrained(tmp_path / "old")
    arguments = ["--steps", "2", "--batch-size", "2", "--scenes", "3", "--size", "64", "--device", "cpu"]
    start = ["--from", str(tmp_path / "old"), "--workers", "0", "--out", str(tmp_path)]
    assert cli.main(["train", "hidden", *start, *arguments]) == 0
    newer = DeepLens.from_pretrained(tmp_path / "weights")
    weights, before = newer.state_dict(), old.state_dict()
    others = [name for name in weights if "surfaces" not in name]
    assert others and all(torch.equal(before[name].half(), weights[name].half()) for name in others)
    assert float(newer.lens_blur.surfaces.unmixing.write.bias.detach().abs().max()) > 0, "it starts at zero"
    assert json.loads((tmp_path / "weights" / "training.json").read_text())[-1]["scenes"] == 3
