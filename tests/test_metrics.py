"""The figures against hand values and plain loops: a benchmark is worth what its ruler is."""

import math

import numpy as np
import pytest
import torch

from deeplens_hf.evaluation.metrics import (
    adrift,
    aligned_error,
    boundary_f,
    edge_band,
    edge_f_score,
    hover,
    iou,
    order_accuracy,
    psnr,
    ssim,
)


def rectangle(top: int, bottom: int, left: int, right: int, size: tuple[int, int] = (40, 60)) -> torch.Tensor:
    mask = torch.zeros(1, 1, *size)
    mask[..., top:bottom, left:right] = 1
    return mask


def test_psnr_by_hand():
    black, grey = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.1)
    assert psnr(black, grey) == pytest.approx(20, abs=1e-4)
    assert psnr(black, black) == math.inf
    half = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    half[..., :2] = True
    grey[..., 2:] = 1
    assert psnr(black, grey, half) == pytest.approx(20, abs=1e-4)  # the wrong half is outside the mask
    assert math.isnan(psnr(black, grey, torch.zeros_like(half)))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        psnr(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5))


def test_ssim_against_a_loop_over_windows():
    draw = np.random.default_rng(0)
    a = draw.random((13, 15))
    b = np.clip(a + 0.2 * draw.standard_normal(a.shape), 0, 1)
    tap = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(tap, tap) / np.outer(tap, tap).sum()
    values = []
    for y in range(3):
        for x in range(5):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            m, n = (window * p).sum(), (window * q).sum()
            u, v, w = (window * (p - m) ** 2).sum(), (window * (q - n) ** 2).sum(), (window * (p - m) * (q - n)).sum()
            values.append((2 * m * n + 1e-4) * (2 * w + 9e-4) / ((m * m + n * n + 1e-4) * (u + v + 9e-4)))
    as_tensor = [torch.from_numpy(x).float()[None, None] for x in (a, b)]
    assert ssim(*as_tensor) == pytest.approx(np.mean(values), abs=1e-5)
    assert ssim(as_tensor[0], as_tensor[0]) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(torch.zeros(1, 3, 10, 20), torch.zeros(1, 3, 10, 20))


def test_edge_band_lies_around_the_jump():
    disparity = torch.zeros(1, 1, 5, 60)
    disparity[..., 30:] = 0.2  # the edge is columns 29 and 30
    disparity[..., 50:] = 0.25  # too small a jump
    columns = edge_band(disparity)[0, 0].all(dim=0).nonzero().flatten().tolist()
    assert columns == list(range(29 - 12, 30 + 12 + 1))
    assert not edge_band(disparity, jump=0.3).any()
    assert edge_band(disparity.mT, distance=3)[0, 0, :, 0].nonzero().flatten().tolist() == list(range(26, 34))


def test_order_accuracy():
    truth = torch.linspace(0, 1, 400).view(1, 1, 20, 20)
    assert order_accuracy(truth**3, truth) == 1  # any rising function keeps the order
    assert order_accuracy(-truth, truth) == 0
    assert order_accuracy(torch.ones_like(truth), truth) == 0  # a tie is wrong
    noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(1))
    assert order_accuracy(noise, truth) == order_accuracy(noise, truth)  # seeded
    assert 0.4 < order_accuracy(noise, truth) < 0.6


def test_order_accuracy_counts_only_what_is_known_and_far_enough_apart():
    truth = torch.tensor([0.0, 0.04, 1.0, 0.5]).view(1, 1, 1, 4)
    pred = torch.tensor([0.2, 0.1, 1.0, 9.0]).view(1, 1, 1, 4)  # wrong on 0 against 0.04, and on the last
    assert order_accuracy(pred, truth, truth != 0.5) == 1
    assert order_accuracy(pred, truth, truth != 0.5, gap=0.03) < 1
    assert order_accuracy(pred, truth) < 1
    with pytest.raises(ValueError, match="valid"):
        order_accuracy(pred, truth, truth > 2)


def test_aligned_error_against_numpy():
    draw = np.random.default_rng(0)
    truth, pred = draw.random((6, 7)), draw.random((6, 7))
    valid = draw.random((6, 7)) > 0.3
    scale, shift = np.polyfit(pred[valid], truth[valid], 1)
    expected = np.abs(scale * pred + shift - truth)[valid].mean()
    tensors = [torch.from_numpy(x)[None, None] for x in (pred, truth, valid)]
    assert aligned_error(*tensors) == pytest.approx(expected)
    assert aligned_error(3 - 2 * tensors[1], tensors[1]) == pytest.approx(0, abs=1e-12)  # any affine map is forgiven


def test_edge_f_score():
    truth = rectangle(10, 30, 20, 40)
    assert edge_f_score(0.3 * truth + 0.1, truth) == 1
    assert edge_f_score(truth.roll(3, dims=-1), truth) == 1  # within 3 pixels
    assert edge_f_score(truth.roll(4, dims=-1), truth) < 1
    gradient = torch.linspace(0, 1, 400).view(1, 1, -1, 1).expand(1, 1, 400, 60)
    step = (torch.arange(60) > 30).float().expand(1, 1, 400, 60)
    assert edge_f_score(gradient, step) == 0  # no step of it is an edge
    assert math.isnan(edge_f_score(step, gradient))
    # precision: one false edge, as long as the true one and nowhere near it, at the same height
    two = step + (torch.arange(60) > 10).float()
    assert edge_f_score(two, step) == pytest.approx(2 / 3, abs=1e-6)
    # unless it is where the truth is unknown
    assert edge_f_score(two, step, (torch.arange(60) > 20).expand(1, 1, 400, 60)) == 1


def test_a_true_edge_is_a_step_of_more_than_6_percent_of_the_range():
    columns = torch.arange(60).expand(1, 1, 40, 60)
    for step, expected in ((0.07, 2 / 3), (0.05, 1)):  # half of the true edges are found, or all
        truth = step * (columns >= 20).float() + (1 - step) * (columns >= 40)
        assert edge_f_score((columns >= 40).float(), truth) == pytest.approx(expected, abs=1e-6)


def test_edges_are_those_of_any_scale():
    truth = rectangle(10, 30, 20, 40)
    pred = truth + 0.3 * rectangle(0, 40, 50, 60)  # and a faint false edge
    assert [edge_f_score(scale * pred, truth) for scale in (1, 0.02, 50)] == [1, 1, 1]


def test_where_the_truth_is_unknown_begins_no_edge():
    truth = 0.5 + 0.4 * rectangle(10, 30, 20, 40)
    hole = rectangle(10, 30, 50, 56) > 0  # in what was measured
    assert edge_f_score(truth, truth.masked_fill(hole, 0), ~hole) == 1


def test_iou_by_hand():
    assert iou(rectangle(0, 10, 0, 10), rectangle(0, 10, 5, 15)) == pytest.approx(50 / 150)
    assert iou(0.4 * rectangle(0, 10, 0, 10), rectangle(0, 10, 5, 15)) == 0
    assert iou(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)) == 1


def test_boundary_f():
    mask = rectangle(10, 30, 20, 40)  # the diagonal of 40 x 60 is 72.1 pixels: 0.008 of it is one pixel
    assert boundary_f(mask, mask) == 1
    assert boundary_f(mask.roll(1, dims=-2), mask) == 1
    assert 0 < boundary_f(mask.roll(6, dims=-2), mask) < 1
    assert boundary_f(torch.zeros_like(mask), mask) == 0
    assert boundary_f(torch.zeros_like(mask), torch.zeros_like(mask)) == 1


def test_outlines_match_within_a_share_of_the_diagonal():
    mask = rectangle(100, 250, 100, 300, size=(375, 500))  # 0.008 of 625 pixels: 5
    assert boundary_f(mask.roll(5, dims=-1), mask) == 1 > boundary_f(mask.roll(6, dims=-1), mask)


def standing() -> tuple[torch.Tensor, torch.Tensor]:
    """A floor that comes nearer from row 20 on, 0 to 1, and somebody upright on row 49: disparity, mask."""
    rows = ((torch.arange(60.0) - 20) / 39).clamp(min=0)
    disparity, mask = rows.view(1, 1, 60, 1).repeat(1, 1, 1, 80), torch.zeros(1, 1, 60, 80)
    mask[..., 10:50, 30:40] = 1
    return torch.where(mask > 0, rows[49], disparity), mask


def test_who_stands_on_the_ground_does_not_hover():
    disparity, mask = standing()
    assert hover(disparity, mask) == pytest.approx(0, abs=0.02)
    assert hover(3 * disparity - 7, mask) == hover(disparity, mask)  # of any scale
    assert hover(disparity + 0.2 * mask, mask) == pytest.approx(0.2, abs=0.02)
    assert hover(disparity - 0.2 * mask, mask) == pytest.approx(0.2, abs=0.02)
    disparity[..., 10:45, 30:40] += 0.3  # who leans forward
    assert hover(disparity, mask) == pytest.approx(0, abs=0.02)


def test_feet_that_are_not_seen_do_not_hover():
    disparity, mask = standing()
    assert math.isnan(hover(disparity[..., :48, :], mask[..., :48, :]))  # cut off by the frame
    assert math.isnan(hover(disparity, torch.ones_like(mask)))
    assert math.isnan(hover(disparity, torch.zeros_like(mask)))


def test_feet_nearly_at_the_frame_are_cut_off_by_it():
    large = [each.repeat_interleave(4, 2).repeat_interleave(4, 3)[..., :204, :] for each in standing()]
    assert math.isnan(hover(*large))  # but four of 204 rows below them


def test_an_arm_that_is_elsewhere_is_adrift():
    disparity, mask = standing()
    assert adrift(disparity, mask) == 0
    disparity[..., 10:20, 30:40] = 0  # a quarter of the mask; its outline, two pixels, does not count
    assert adrift(disparity, mask) == pytest.approx(8 * 6 / (36 * 6))
    disparity[..., 10:20, 30:40] = disparity[0, 0, 45, 35] + 0.08  # a nose is nearer than an ear
    assert adrift(disparity, mask) == 0
    disparity[..., 10:20, 30:40] = disparity[0, 0, 45, 35] + 0.15
    assert adrift(disparity, mask) > 0, "no nose is so near"
    assert math.isnan(adrift(disparity, torch.zeros_like(mask)))
