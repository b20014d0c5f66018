"""Edge pixels that mix two surfaces: how much of each, and the far surface's colour without the near one's."""

import pytest
import torch

from deeplens_hf.rendering.matting import edge_matte

NEAR, FAR = (0.05, 0.1, 0.6), (0.7, 0.5, 0.2)  # linear


def edge(share, noise=0.0, size=(24, 40), column=20):
    """A near thing left of `column`, of which the photo's `column` itself still shows a share: light, coverage."""
    generator = torch.Generator().manual_seed(0)
    near, far = (torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, *size) for colour in (NEAR, FAR))
    far = far * (1 + noise * (torch.rand(1, 3, *size, generator=generator) - 0.5))
    coverage = torch.zeros(1, 1, *size)
    coverage[..., :column] = 1.0
    alpha = coverage.clone()
    alpha[..., column if share < 0.5 else column - 1] = share
    return near * alpha + far * (1 - alpha), far, coverage, alpha


@pytest.mark.parametrize("share", [0.15, 0.3, 0.45])
def test_a_mixed_pixel_is_taken_apart(share):
    light, far, hard, alpha = edge(share)
    coverage, cleaned = edge_matte(light, light, hard, torch.ones_like(hard))
    assert float((coverage - alpha).abs().max()) < 0.15 < float((hard - alpha).abs().max()) + 0.01
    before, after = ((each[..., 20] - far[..., 20]).abs().max() for each in (light, cleaned))
    assert float(after) < 0.4 * float(before)
    assert torch.equal(cleaned[..., 22:], light[..., 22:])  # away from the edge nothing is touched


def test_on_the_near_side_it_is_believed_by_half():
    light, _, hard, alpha = edge(0.6)
    coverage, _ = edge_matte(light, light, hard, torch.ones_like(hard))
    assert 0.7 < float(coverage[..., 19].mean()) < 0.9  # half-way from 1 to 0.6
    assert float((coverage - alpha).abs().mean()) < float((hard - alpha).abs().mean())


def test_where_surfaces_are_one_or_colours_alike_nothing_changes():
    light, _, hard, _ = edge(0.3)
    coverage, cleaned = edge_matte(light, light, hard, torch.zeros_like(hard))
    assert torch.equal(coverage, hard) and torch.equal(cleaned, light)
    grey = torch.full_like(light, 0.4)
    coverage, cleaned = edge_matte(grey, grey, hard, torch.ones_like(hard))
    torch.testing.assert_close(coverage, hard, atol=0.01, rtol=0)
    torch.testing.assert_close(cleaned, grey, atol=0.01, rtol=0)


def test_colours_that_spread_are_believed_less():
    changed = []
    for noise in (0.0, 1.5):
        light, _, hard, _ = edge(0.3, noise)
        coverage, _ = edge_matte(light, light, hard, torch.ones_like(hard))
        changed.append(float(coverage[..., 20].mean()))
    assert changed[1] < 0.75 * changed[0]


def test_gradient_is_finite():
    light, _, hard, _ = edge(0.3)
    light, hard = light.clone().requires_grad_(), hard.clone().requires_grad_()
    coverage, cleaned = edge_matte(light, light, hard, torch.ones_like(hard))
    (coverage.sum() + cleaned.sum()).backward()
    assert torch.isfinite(light.grad).all() and torch.isfinite(hard.grad).all()
