"""Pooling by slices against torch's own, and what odd borders and gradients do."""

import pytest
import torch
import torch.nn.functional as F

from deeplens_hf.layers.blocks import asinh
from deeplens_hf.layers.pooling import (
    distance_below,
    halve,
    halve_max,
    halve_min,
    min_within,
    window_max,
    window_mean,
    window_min,
    window_sum,
)


def maps(height=14, width=22):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_halves_are_means_least_and_greatest_of_two_by_two():
    x = maps()
    torch.testing.assert_close(halve(x), F.avg_pool2d(x, 2))
    assert torch.equal(halve_min(x), -F.max_pool2d(-x, 2))
    assert torch.equal(halve_max(x), F.max_pool2d(x, 2))


def test_the_least_within_a_radius_of_its_own_is_that_of_brute_force():
    x = maps(height=40, width=60)
    radius = torch.randint(0, 5, (2, 1, 40, 60), generator=torch.Generator().manual_seed(1)).double()
    least = torch.stack([window_min(x, reach) if reach else x for reach in range(5)])  # (5, B, C, H, W)
    torch.testing.assert_close(min_within(x, radius), least.gather(0, radius.long().expand_as(x)[None])[0])
    between = min_within(x, torch.full_like(radius, 6.5))
    torch.testing.assert_close(between, torch.lerp(window_min(x, 6), window_min(x, 8), 0.5))
    torch.testing.assert_close(min_within(x, torch.full_like(radius, 99.0)), window_min(x, 44))


def test_an_odd_border_is_repeated():
    x = maps(13, 21)
    torch.testing.assert_close(halve(x), F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2))


@pytest.mark.parametrize("reach", [1, 2, 8])
def test_windows_are_those_of_brute_force(reach):
    x, side = maps(), 2 * reach + 1
    assert torch.equal(window_max(x, reach), F.max_pool2d(x, side, 1, reach))
    assert torch.equal(window_min(x, reach), -F.max_pool2d(-x, side, 1, reach))
    bordered = F.pad(x, (reach,) * 4, mode="replicate")
    torch.testing.assert_close(window_mean(x, reach), F.avg_pool2d(bordered, side, 1))
    torch.testing.assert_close(window_sum(x, reach), F.avg_pool2d(x, side, 1, reach, divisor_override=1))


def test_distance_is_to_the_nearest_place_and_never_too_little():
    mask = (torch.rand(2, 3, 40, 60, generator=torch.Generator().manual_seed(1)) < 0.002).float()
    bound = torch.rand(2, 3, 40, 60, generator=torch.Generator().manual_seed(2))
    away = distance_below(-10 * mask, bound - 5, 0.1)
    at = torch.stack(torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij"), -1).view(-1, 2)
    for picture, found in zip(mask.flatten(0, 1), away.flatten(0, 1), strict=True):
        places = picture.nonzero().float()
        if not len(places):
            assert float(found.min()) >= 60, "nothing there"
            continue
        true = (at[:, None] - places).abs().amax(-1).amin(1).view(40, 60)
        more = found - true
        assert float(more.min()) == 0
        assert float(more[true <= 4].max()) == 0, "told to the pixel"
        assert float((more / true.clamp(min=1)).max()) < 0.5


def test_gradients_flow_through_windows_and_halves():
    x = maps(6, 8).requires_grad_()
    windows = (lambda x, each=each: each(x, 1) for each in (window_max, window_min, window_mean, window_sum))
    for pool in (halve, halve_min, halve_max, *windows):
        assert torch.autograd.gradcheck(pool, x)


def test_inverse_hyperbolic_sine_of_any_defocus():
    x = torch.cat([torch.linspace(-80, 80, 4001), torch.tensor([0.0, 1e-6, -1e-6])])
    torch.testing.assert_close(asinh(x), torch.asinh(x), atol=1e-6, rtol=1e-5)
