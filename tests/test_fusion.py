"""Several looks made one map: the broad shape of one, the steps of the other, and no rings about what is near."""

import pytest
import torch
import torch.nn.functional as F

from deeplens_hf.disparity.fusion import (
    BROAD,
    EVEN,
    KEPT,
    agreed,
    reshaped,
    standardise,
    without_hollows,
    without_rings,
)


def scene(height=96, width=128):
    """A disc before a slope, near = large: disparity (1, 1, H, W), and where the disc is."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    disc = ((rows - 40).square() + (columns - 64).square()).sqrt() < 20
    slope = (0.1 + 0.2 * rows / height).expand(height, width)
    return torch.where(disc, 0.8, slope)[None, None], disc[None, None]


def about(disc, first, last):
    """The pixels `first` to `last` pixels away from the disc."""
    inner, outer = (F.max_pool2d(disc.float(), 2 * r + 1, 1, r) > 0 for r in (first - 1, last))
    return outer & ~inner


# ---- the broad shape


def test_a_correction_of_the_subject_stops_at_its_outline():
    """Where a plain average of the correction, over the same windows, would draw a ring into the background."""
    fine, disc = scene()
    coarse = fine - 0.3 * disc
    reach = round(BROAD / 2 * 128)
    leaked = F.avg_pool2d(coarse - fine, 2 * reach + 1, 1, reach, count_include_pad=False)
    beside = about(disc, 1, 6)
    assert float(leaked[beside].mean()) < -0.05
    assert float((reshaped(fine, coarse) - fine)[beside].abs().max()) < 0.03
    assert float((reshaped(fine, coarse) - coarse)[disc].abs().mean()) < 0.05


def test_the_broad_shape_moves_and_fine_detail_stays():
    torch.manual_seed(0)
    detail = 0.2 * torch.randn(1, 1, 96, 128)
    up, down = (torch.linspace(a, b, 96).view(1, 1, -1, 1).expand(1, 1, 96, 128) for a, b in ((-1, 1), (0.5, -0.5)))
    out = reshaped(standardise(up) + detail, standardise(down))

    def alike(a, b):
        return float(
            torch.corrcoef(torch.stack([a[..., 16:-16, 16:-16].flatten(), b[..., 16:-16, 16:-16].flatten()]))[0, 1]
        )

    assert alike(F.avg_pool2d(out, 9, 1, 4), down) > 0.9
    fine, kept = (x - F.avg_pool2d(x, 5, 1, 2) for x in (detail, out))
    assert alike(fine, kept) > 0.9


def test_the_guided_filter_against_one_window_after_the_other():
    """Equations 5, 6 and 8 of He, Sun and Tang, "Guided Image Filtering", with the fine map as the guide."""
    torch.manual_seed(1)
    fine, coarse = (standardise(torch.randn(1, 1, 20, 26)) for _ in range(2))
    reach = round(BROAD / 2 * 26)

    def windows(x):  # (20, 26) -> (20, 26, size * size), the border going on outside
        x = F.pad(x[None, None], (reach,) * 4, mode="replicate")[0, 0]
        return x.unfold(0, 2 * reach + 1, 1).unfold(1, 2 * reach + 1, 1).flatten(2)

    guide, way = windows(fine[0, 0]), windows((coarse - fine)[0, 0])
    covariance = ((guide - guide.mean(-1, True)) * (way - way.mean(-1, True))).mean(-1)
    slope = (covariance / (guide.var(-1, unbiased=False) + EVEN)).clamp(min=KEPT - 1)
    offset = way.mean(-1) - slope * guide.mean(-1)
    expected = fine[0, 0] + 0.6 * (windows(slope).mean(-1) * fine[0, 0] + windows(offset).mean(-1))
    torch.testing.assert_close(reshaped(fine, coarse, 0.6)[0, 0], expected, atol=1e-4, rtol=1e-4)


def test_half_precision_costs_no_more_than_its_own_digits():
    fine, disc = (x.float() for x in scene())
    fine, coarse = standardise(fine), standardise(fine - 0.3 * disc)
    half = reshaped(fine.bfloat16(), coarse.bfloat16())
    torch.testing.assert_close(half, reshaped(fine, coarse), atol=0.01, rtol=0)  # in bfloat16 all the way 0.017


def test_no_share_and_no_difference_change_nothing():
    torch.manual_seed(2)
    fine, coarse = (standardise(torch.randn(2, 1, 40, 30)) for _ in range(2))
    torch.testing.assert_close(reshaped(fine, coarse, 0.0), fine)
    torch.testing.assert_close(reshaped(fine, fine), fine)


# ---- the subject


def test_thin_parts_that_only_the_large_look_sees_stay_in_the_subject():
    """Where a mean of both looks, each with the same say, would lose them."""
    fine, coarse = (torch.full((1, 1, 96, 128), 0.02) for _ in range(2))
    fine[..., 20:70, 60:62] = 0.8  # a stalk
    both = agreed(fine, coarse, 0.5)
    assert float(torch.lerp(fine, coarse, 0.5)[..., 30:60, 60:62].max()) < 0.5
    assert float(both[..., 30:60, 60:62].min()) > 0.6
    assert float(both[..., :54].max()) < 0.03


def test_what_the_small_look_knows_better_comes_into_the_subject():
    _, disc = scene()
    doubted = torch.where(disc, 0.3, 0.02)
    both = agreed(doubted, torch.where(disc, 0.95, 0.02), 0.5)
    assert float(both[about(~disc, 3, 20)].min()) > 0.6  # but for its rim
    assert float(both[about(disc, 8, 40)].max()) < 0.03


def test_looks_that_agree_on_the_subject_are_left_alone():
    torch.manual_seed(3)
    fine, coarse = torch.rand(2, 1, 1, 40, 30) * 0.9 + 0.05
    torch.testing.assert_close(agreed(fine, fine, 0.5), fine, atol=1e-4, rtol=0)
    torch.testing.assert_close(agreed(fine, coarse, 0.0), fine, atol=1e-4, rtol=0)
    half = agreed(fine.bfloat16(), coarse.bfloat16(), 0.5)
    torch.testing.assert_close(half.float(), agreed(fine, coarse, 0.5), atol=0.02, rtol=0)


# ---- rings


def with_ring(depth=0.08):
    """The scene as a network draws it: within five pixels of the disc the background is farther than it is."""
    true, disc = scene(192, 256)
    return true - depth * about(disc, 1, 5), true, disc


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (30.0, -4.0)])
def test_a_ring_about_what_is_near_is_filled(scale, offset):
    ringed, true, disc = with_ring()
    filled = (without_rings(ringed * scale + offset) - offset) / scale
    ring = about(disc, 1, 5)
    assert float((true - filled)[ring].max()) < 0.02
    assert float((filled - true)[ring].max()) < 0.02
    torch.testing.assert_close(filled[~ring], true[~ring], atol=0.01, rtol=0)


def test_a_gap_between_near_things_stays_a_gap():
    fence = torch.full((1, 1, 96, 256), 0.1)
    fence[..., ::12] = fence[..., 1::12] = fence[..., 2::12] = 0.8
    torch.testing.assert_close(without_rings(fence), fence)


def test_what_has_no_step_stays_as_it_is():
    rows = torch.linspace(0, 1, 192).view(1, 1, -1, 1).expand(1, 1, 192, 256)
    waves = rows + 0.02 * torch.sin(torch.arange(256) / 2)
    for surface in (rows, waves, torch.full_like(rows, 3.0)):
        torch.testing.assert_close(without_rings(surface), surface)


def test_gradients_reach_every_look():
    ringed, _, _ = with_ring()
    fine, coarse = (x.clone().requires_grad_() for x in (ringed, ringed + 0.1))
    without_rings(reshaped(fine, coarse, 0.6)).square().sum().backward()
    assert all(bool(x.grad.isfinite().all()) and bool(x.grad.any()) for x in (fine, coarse))


# ---- hollows


def post(middle=0.56):
    """A post of disparity 0.63 before 0.1, its middle a hollow: disparity, foreground, (1, 1, H, W), and the middle."""
    subject, hollow = (torch.zeros(1, 1, 192, 256, dtype=torch.bool) for _ in range(2))
    subject[..., 30:, 110:146] = True
    hollow[..., 42:110, 120:136] = True
    return torch.where(hollow, middle, torch.where(subject, 0.63, 0.1)), subject.float(), hollow


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (30.0, -4.0)])
def test_a_hollow_inside_the_subject_is_filled(scale, offset):
    disparity, foreground, hollow = post()
    filled = (without_hollows(disparity * scale + offset, foreground) - offset) / scale
    expected = torch.where(hollow, 0.63, disparity)
    torch.testing.assert_close(filled, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("middle", [0.1, 0.25, 0.35])
def test_what_is_seen_through_a_subject_stays_far(middle):
    """Between arm and body, though the mask calls it the subject's: half as far as the background is, or farther."""
    disparity, foreground, _ = post(middle)
    torch.testing.assert_close(without_hollows(disparity, foreground), disparity)


def test_what_is_no_part_of_the_subject_stays():
    disparity, foreground, hollow = post()
    foreground[hollow] = 0.5
    torch.testing.assert_close(without_hollows(disparity, foreground), disparity)
    torch.testing.assert_close(without_hollows(disparity, torch.zeros_like(disparity)), disparity)


def test_a_subject_that_slopes_down_to_its_outline_stays():
    """A ball's sides, and a post that leans away from the camera: nothing there is a hollow."""
    rows, columns = torch.arange(192)[:, None], torch.arange(256)
    away = ((rows - 90).square() + (columns - 128).square()) / 60**2
    ball = torch.where(away < 1, 0.5 + 0.3 * (1 - away).clamp(min=0).sqrt(), 0.1)[None, None]
    _, foreground, _ = post()
    leaning = torch.where(foreground > 0.5, torch.linspace(0.4, 0.8, 192).view(-1, 1), 0.1)
    torch.testing.assert_close(without_hollows(ball, (ball > 0.4).float()), ball, atol=0.005, rtol=0)
    torch.testing.assert_close(without_hollows(leaning, foreground), leaning)


def test_relief_that_has_no_background_near_stays():
    """There is no step that would tell whether it is shallow; nor has a flat map one."""
    waves = 0.5 + 0.05 * torch.sin(torch.arange(256) / 4).expand(1, 1, 192, 256)
    for surface in (waves, torch.full_like(waves, 3.0)):
        torch.testing.assert_close(without_hollows(surface, torch.ones_like(surface)), surface)


def test_hollows_of_a_batch_are_filled_one_by_one():
    (first, mask, _), (second, *_) = post(), post(0.35)
    together = without_hollows(torch.cat([first, 9 * second - 2]), torch.cat([mask, mask]))
    alone = [without_hollows(first, mask), without_hollows(9 * second - 2, mask)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_gradients_pass_through_what_is_filled():
    disparity, foreground, _ = (x.float().requires_grad_() for x in post())
    without_hollows(disparity, foreground).square().sum().backward()
    assert all(bool(x.grad.isfinite().all()) for x in (disparity, foreground))
    assert bool((disparity.grad != 0).any())
