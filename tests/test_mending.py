"""Edges of a wrong disparity come to where the photo has them; what is right, flat or scaled otherwise stays so."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from deeplens_hf import DeepLens, DeepLensConfig
from deeplens_hf.disparity.mending import CommonFlaw, EdgeMending, follow, joined, settle, with_fringe
from deeplens_hf.evaluation.flaws import FLAWS
from deeplens_hf.layers.pooling import window_max
from deeplens_hf.training.losses import mending_loss
from deeplens_hf.training.record import keep, of_format
from deeplens_hf.training.scenes.flawed import FlawedScenes


def disc(height: int = 128, width: int = 160) -> tuple[Tensor, Tensor]:
    """A red disc before a green wall, both grainy: light (1, 3, H, W), disparity (1, 1, H, W)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    near = (torch.hypot(x - 70.0, y - 60.0) < 35).float()[None, None]
    colours = torch.tensor([0.5, 0.1, 0.1, 0.1, 0.35, 0.2]).view(2, 1, 3, 1, 1)
    grain = 1 + 0.2 * torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return torch.lerp(colours[1], colours[0], near) * grain.clamp(0.3, 2), 0.2 + 0.6 * near


def rough() -> EdgeMending:
    """Weights that change maps a lot, without training."""
    torch.manual_seed(0)
    mending = EdgeMending().eval()
    torch.nn.init.normal_(mending.write.weight, std=0.1)
    return mending


@pytest.mark.parametrize("flaw", ["soft", "grown", "shrunk", "shifted"])
def test_edges_come_to_the_photo(model, flaw):
    light, disparity = disc()
    wrong = FLAWS[flaw](disparity)
    with torch.inference_mode():
        mended = model.mending(light, wrong)
    before, after = ((each - disparity).square().mean() for each in (wrong, mended))
    assert float(after) < 0.5 * float(before)


def test_a_true_map_stays(model):
    light, disparity = disc()
    with torch.inference_mode():
        error = (model.mending(light, disparity) - disparity).abs()
    assert float(error.mean()) < 2e-3 and float((error > 0.1).float().mean()) < 5e-3


def test_scaled_and_shifted_maps_are_mended_alike():
    light, disparity = disc(61, 83)  # no multiples of anything
    mending = rough()
    with torch.inference_mode():
        mended = mending(light, disparity)
        assert mended.shape == disparity.shape and float((mended - disparity).abs().max()) > 0.1
        assert torch.allclose(mending(light, 40 * disparity - 7), 40 * mended - 7, atol=1e-3)


def test_a_flat_map_stays_as_it_is_and_nothing_leaves_the_range_about_it():
    light, disparity = disc()
    mending = rough()
    with torch.inference_mode():
        flat = torch.full_like(disparity, 0.3)
        assert torch.equal(mending(light, flat), flat)
        mended = mending(light, disparity)
    assert bool((mended <= window_max(disparity, 8) + 1e-6).all())
    assert bool((mended >= -window_max(-disparity, 8) - 1e-6).all())


def test_gradient_reaches_photo_and_map():
    light, disparity = disc(48, 64)
    light, disparity = light.double(), disparity.double() + 0.01 * torch.rand(1, 1, 48, 64, dtype=torch.float64)
    mending = rough().double()
    for given in (light, disparity):
        given.requires_grad_(True)
    mending(light, disparity).square().sum().backward()
    for given in (light, disparity):
        direction = torch.randn(given.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            ahead, behind = (
                mending(*(each + sign * 1e-7 * direction if each is given else each for each in (light, disparity)))
                for sign in (1, -1)
            )
            slope = (ahead.square().sum() - behind.square().sum()) / 2e-7
        assert float(slope) == pytest.approx(float((given.grad * direction).sum()), rel=2e-2)


def test_a_pixel_on_a_surface_stays_or_leaves_for_the_other():
    place = torch.tensor([0.0, 0.02, 1.0, 1.0, 0.5, 0.4]).view(1, 1, 1, -1)
    moved = torch.tensor([0.2, 0.9, -0.15, -0.6, 0.1, -0.2]).view(1, 1, 1, -1)
    assert torch.allclose(settle(place, moved).flatten(), torch.tensor([0.0, 0.9, 0.0, -0.6, 0.1, -0.2]))


def test_specks_do_not_move_nearer_and_what_joins_the_near_thing_does():
    place = torch.zeros(1, 1, 16, 24)
    place[..., 4:12, 2:8] = 1.0  # a near thing
    moved = torch.zeros_like(place)
    moved[..., 4:12, 8:10] = 1.0  # it is wider by two columns
    moved[..., 6, 15] = moved[..., 9:11, 18:20] = 1.0  # specks
    moved[..., 5, 3] = -1.0  # what moves farther may be small
    wanted = moved.clone()
    wanted[..., 12:] = 0
    torch.testing.assert_close(joined(place, moved), wanted)


@pytest.mark.parametrize("what", ["a speck moves nearer", "all moves a little"])
def test_a_map_stays_where_what_is_said_of_it_counts_for_nothing(monkeypatch, what):
    light, map = disc()
    mending, moved = EdgeMending(), torch.full_like(map, 0.1)
    if what == "a speck moves nearer":
        moved = torch.zeros_like(map)
        moved[..., 60, 107] = 1.0  # two pixels beside the disc
    monkeypatch.setattr(mending, "correct", lambda fine, edges: moved)
    with torch.inference_mode():
        torch.testing.assert_close(mending(light, map), map, atol=2e-3, rtol=0)


def test_the_subjects_mask_has_the_last_word_on_its_outline():
    light, true = disc()
    soft = torch.nn.functional.avg_pool2d(true, 9, 1, 4, count_include_pad=False)
    mending = EdgeMending()
    with torch.inference_mode():
        alone, steadied = mending(light, soft), mending(light, soft, (true > 0.5).float())
    assert float((steadied - true).abs().mean()) < 0.6 * float((alone - true).abs().mean())


def test_a_larger_level_follows_where_an_edge_moved():
    before = torch.zeros(1, 1, 8, 8)
    after = before.clone()
    after[..., 4:] = 3.0
    larger = torch.arange(16.0).expand(1, 1, 16, 16).contiguous()
    followed = follow(larger, before, after)
    assert torch.equal(followed[..., :6], larger[..., :6]), "nothing moved there"
    assert torch.allclose(followed[..., 10:], torch.tensor(6.0)), "twice the pixels"
    assert torch.equal(follow(larger, before, before), larger)


def test_first_weights_render_without_mending():
    torch.manual_seed(0)
    config = DeepLensConfig(depth_width=32, blur_width=8, format_version=1)
    old = DeepLens(config).eval()
    assert old.mending is None and not any(name.startswith("mending") for name in old.state_dict())
    newer = of_format(old, 7).eval()
    assert newer.config == replace(config, format_version=7)
    assert all(torch.equal(value, newer.state_dict()[name]) for name, value in old.state_dict().items())
    light, disparity = disc(64, 64)
    with torch.inference_mode():
        difference = old.render(light.clamp(0, 1), disparity, 0.2, 8.0) - newer.render(
            light.clamp(0, 1), disparity, 0.2, 8.0
        )
    assert float(difference.abs().max()) < 0.05, "untrained mending hardly changes anything"


def test_weights_of_format_6_mend_each_edge_for_itself():
    torch.manual_seed(0)
    old = DeepLens(DeepLensConfig(depth_width=32, blur_width=8, format_version=6)).eval()
    assert not any(name.startswith("mending.common") for name in old.state_dict())
    torch.nn.init.normal_(old.mending.write.weight, std=0.1)
    newer = of_format(old).eval()
    assert newer.mending.common is not None
    light, disparity = disc()
    with torch.inference_mode():
        mended = old.mending(light, disparity)
        assert float((mended - disparity).abs().max()) > 0.1
        torch.testing.assert_close(newer.mending(light, disparity), mended, atol=0.05, rtol=0)


def test_what_edges_have_in_common_is_their_mean_whatever_lies_between_them():
    torch.manual_seed(0)
    common = CommonFlaw(4 + 6, 6)
    torch.nn.init.normal_(common.write.weight)
    edges = torch.zeros(2, 1, 32, 48)
    edges[..., 8:16, 8:40] = 1.0
    fine, coarse = torch.rand(2, 4, 32, 48), torch.rand(2, 6, 16, 24)
    told = common([fine, coarse], edges)
    assert told.shape == (2, 6, 1, 1)
    elsewhere = [each.clone() for each in (fine, coarse)]
    elsewhere[0][..., 16:, :], elsewhere[1][..., 8:, :] = 7.0, 7.0
    torch.testing.assert_close(common(elsewhere, edges), told)
    torch.testing.assert_close(common([fine[1:], coarse[1:]], edges[1:]), told[1:], msg="each map for itself")
    twice = [each.repeat(1, 1, 1, 2) for each in (fine, coarse, edges)]  # twice as wide a picture of the same
    torch.testing.assert_close(common(twice[:2], twice[2]), told, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(common([fine + edges, coarse], edges), told, atol=1e-2)


def test_flawed_scenes_are_the_same_again_and_some_are_true(tmp_path):
    scenes = FlawedScenes([], tmp_path, scenes=2, length=24, seed=0, size=64)
    flawed = 0
    for position in range(24):
        sample, again = scenes[position], scenes[position]
        assert all(torch.equal(value, again[name]) for name, value in sample.items())
        assert sample["disparity"].shape == sample["true_disparity"].shape == (1, 64, 64)
        flawed += not torch.equal(sample["disparity"], sample["true_disparity"])
    assert 8 <= flawed <= 22
    assert len(list(tmp_path.iterdir())) == 2


def test_loss_counts_shares_of_the_true_range():
    true = torch.zeros(2, 1, 8, 8)
    true[..., 4:] = 0.5
    assert float(mending_loss(true, true)["square"]) == 0
    parts = mending_loss(true + 0.1, true)
    assert float(parts["square"]) == pytest.approx(0.04) and float(parts["difference"]) == pytest.approx(0.2, abs=1e-3)


def test_keeping_a_share_goes_back_that_far():
    torch.manual_seed(0)
    model = DeepLens(DeepLensConfig(depth_width=32, blur_width=8))
    start = {name: torch.zeros_like(value) for name, value in model.state_dict().items() if "num_batches" not in name}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    keep(model, start, 0.25)
    for name, value in model.state_dict().items():
        assert torch.allclose(value, before[name] * (0.75 if name in start else 1))


def test_what_is_blurred_before_something_sharp_takes_its_fringe_along():
    """Hair that a tight map leaves out; what is in focus itself, or has something blurred behind it, takes nothing."""
    light, dark = torch.full((1, 3, 48, 64), 0.8), torch.arange(64) < 32  # a dark thing up to column 32
    light[..., dark] = 0.05
    tight = torch.arange(64) < 30

    def defocus(near: float, far: float) -> torch.Tensor:
        return torch.where(tight, near, far).expand(1, 1, 48, 64)

    taken = with_fringe(light, defocus(12, 0))
    assert torch.equal(taken, torch.where(dark, 12.0, 0.0).expand(1, 1, 48, 64))
    for near, far in ((0, -12), (12, -12), (3, 0), (-6, -12)):
        assert torch.equal(with_fringe(light, defocus(near, far)), defocus(near, far)), (near, far)
    even = torch.full_like(light, 0.8)
    assert torch.equal(with_fringe(even, defocus(12, 0)), defocus(12, 0))


def test_a_soft_rim_across_the_focus_is_not_sharp():
    """Behind and in front meet: what lies between them in the photo's own map is no surface in focus."""
    small = torch.where(torch.arange(16) < 8, -4.0, 3.0).expand(1, 1, 12, 16)
    rim = torch.linspace(-8, 6, 5)  # softly from the one to the other, through the focus
    soft = torch.cat([torch.full((13,), -8.0), rim, torch.full((14,), 6.0)]).expand(1, 1, 24, 32)
    found = follow(soft, small, small)
    assert float(found.abs().min()) == 6 and torch.equal(found < 0, soft < 0)
    wire = torch.full((1, 1, 24, 32), -8.0)
    wire[..., 15] = 0  # in focus, and between the pixels that the halved map has
    halved = wire[..., ::2, ::2] / 2
    assert torch.equal(follow(wire, halved, halved), wire)
    slope = torch.linspace(-3, 3, 32).expand(1, 1, 24, 32)
    halved = slope[..., ::2, ::2] / 2
    assert float((follow(slope, halved, halved) - slope).abs().max()) < 0.2


def test_hair_goes_with_a_predicted_map_and_stays_with_a_true_one(model):
    """Training's scenes have a foreground as well, 0.5 where it says nothing, and maps that are right."""
    light = torch.full((1, 3, 64, 96), 0.8)
    light[..., :48] = 0.1
    hair = (..., slice(4, 64, 8), 49)  # dots beside the edge, which no map shows
    light[hair] = 0.1
    near = (torch.arange(96) < 48).float().expand(1, 1, 64, 96)
    unknown = torch.full_like(near, 0.5)
    with torch.inference_mode():
        assert torch.equal(model.render_defocus(light, 9 * near, unknown), model.render_defocus(light, 9 * near))
        taken, left = (model.render(light, near, 0.0, 30.0, each) for each in (unknown, None))
    assert float(taken[hair].mean()) > float(left[hair].mean()) + 0.1
