"""A subject's mask steadies the edges of its disparity, and leaves all else alone."""

import pytest
import torch
import torch.nn.functional as F

from deeplens_hf.disparity.silhouette import steadied


def disc(radius, size=96):
    at = torch.arange(size) - size / 2
    return ((at[:, None].square() + at.square()).sqrt() < radius).float()[None, None]


def soft(x, times=4):
    return F.interpolate(F.avg_pool2d(x, times), x.shape[-2:], mode="bilinear")


def test_a_part_of_the_subject_that_was_taken_for_what_is_behind_it_comes_back():
    subject = disc(24)
    wrong = 0.1 + 0.7 * subject
    wrong[..., 44:50, 68:72] = 0.1  # a nose as dark as the water
    torch.testing.assert_close(steadied(wrong, subject), 0.1 + 0.7 * subject, atol=0.12, rtol=0)


def test_soft_edges_become_as_sharp_as_the_mask():
    subject = disc(24)
    true, blurred = 0.2 + 0.5 * subject, 0.2 + 0.5 * soft(subject)
    before, after = ((x - true).abs().mean() for x in (blurred, steadied(blurred, subject)))
    assert float(after) < 0.5 * float(before)


@pytest.mark.parametrize("foreground", [torch.zeros(1, 1, 96, 96), torch.ones(1, 1, 96, 96)])
def test_without_an_outline_nothing_changes(foreground):
    blurred = soft(disc(24))
    torch.testing.assert_close(steadied(blurred, foreground), blurred)


def test_a_subject_behind_something_or_on_its_ground_stays_as_it_is():
    hidden = 0.8 - 0.5 * soft(disc(24))  # seen through a hole
    torch.testing.assert_close(steadied(hidden, disc(24)), hidden)
    ground = torch.linspace(0, 1, 384).view(1, 1, 384, 1).expand(1, 1, 384, 384)
    torch.testing.assert_close(steadied(ground, disc(90, 384)), ground)


def test_near_things_away_from_the_rim_stay():
    subject = disc(24)
    scene = 0.1 + 0.7 * subject
    scene[..., 10:80, 84:86] = 0.8  # a stick beside
    torch.testing.assert_close(steadied(scene, subject), scene, atol=1e-4, rtol=0)


def test_a_near_thing_a_few_pixels_beside_the_rim_stays():
    scene = 0.1 + 0.7 * disc(24)
    scene[..., 10:80, 77:79] = 0.8  # a stick, five pixels from the subject
    torch.testing.assert_close(steadied(scene, disc(24)), scene, atol=1e-3, rtol=0)


def test_a_hole_in_what_is_behind_the_subject_draws_nothing_along():
    subject = disc(24)
    scene = 0.4 + 0.4 * subject
    scene[..., 46:50, 76:78] = 0.2
    wall = (subject == 0) & (scene > 0.3)
    assert float(steadied(scene, subject)[wall].min()) > 0.35


def test_it_is_scale_free():
    subject, blurred = disc(24), soft(disc(24)) + 0.1 * torch.rand(1, 1, 96, 96)
    one = steadied(blurred, subject)
    torch.testing.assert_close(steadied(7 * blurred - 3, subject), 7 * one - 3, atol=1e-4, rtol=0)


def test_gradients_reach_the_map_and_the_mask():
    subject = (0.9 * soft(disc(24)) + 0.05).requires_grad_()
    blurred = (0.2 + 0.5 * soft(disc(24), 8)).requires_grad_()
    steadied(blurred, subject).square().sum().backward()
    assert all(float(x.grad.abs().sum()) > 0 and bool(x.grad.isfinite().all()) for x in (blurred, subject))
