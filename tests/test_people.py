"""Labels of people: each holds together and stands on the ground, with nothing dark about them."""

import pytest
import torch

from deeplens_hf.training.people import grounded, pieces

SKY, LEVEL = 0.1, 0.6  # what is far; the ground where the person stands, on row 150


def scene(lifted: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    """Somebody on a floor that comes nearer from row 60 on, lifted off it: label, mask (1, 1, 200, 160)."""
    rows = SKY + (LEVEL - SKY) / 90 * (torch.arange(200.0) - 60).clamp(min=0)
    label, mask = rows.view(1, 1, 200, 1).repeat(1, 1, 1, 160), torch.zeros(1, 1, 200, 160)
    mask[..., 40:151, 70:90] = 1
    return torch.where(mask > 0, LEVEL + lifted, label), mask


def test_who_hovers_is_set_on_the_ground():
    for lifted in (0.2, 0.0, -0.1):
        label, mask = scene(lifted)
        put = grounded(label, mask)
        assert put[..., 45:145, 74:86].sub(LEVEL).abs().max() < 0.03
        assert put[..., 45:145, 74:86].std() < 0.01
        away = (put - label).abs()
        assert max(away[..., :60].max(), away[..., 100:].max()) < 0.05  # the rest as it was, or nearly


def test_a_dark_ring_is_filled():
    label, mask = scene()
    whole = label.clone()
    ring = torch.nn.functional.max_pool2d(mask, 15, 1, 7) - mask
    put = grounded(label - 0.06 * ring, mask)
    beside = put[..., 80:140, 60:67]
    assert (beside - whole[..., 80:140, 60:67]).abs().max() < 0.03


def test_an_arm_that_sank_into_the_background_comes_back():
    label, mask = scene()
    mask[..., 70:80, 40:70] = 1
    put = grounded(label, mask)  # the label does not know the arm
    assert put[..., 72:78, 44:66].sub(LEVEL).abs().max() < 0.06


def test_what_a_person_carries_comes_along():
    label, mask = scene()
    label[..., 100:120, 90:98] = LEVEL + 0.2  # a bag, which is not of the mask
    assert grounded(label, mask)[..., 103:117, 91:96].sub(LEVEL).abs().max() < 0.05


def test_without_feet_a_person_stays_where_they_are():
    label, mask = scene()
    label, mask = label[..., :140, :], mask[..., :140, :]
    assert grounded(label, mask)[..., 45:135, 74:86].sub(LEVEL + 0.2).abs().max() < 0.02


def test_two_people_have_a_level_each():
    label, mask = scene()
    label[..., 50:111, 120:132], mask[..., 50:111, 120:132] = 0.9, 1  # farther back, on row 110
    put = grounded(label, mask)
    assert put[..., 60:105, 123:129].mean() == pytest.approx(SKY + (LEVEL - SKY) * 50 / 90, abs=0.03)
    assert put[..., 60:145, 74:86].mean() == pytest.approx(LEVEL, abs=0.03)


def test_nobody_changes_nothing():
    label, _ = scene()
    specks = torch.zeros_like(label)
    specks[..., 10:14, 10:14] = 1
    assert torch.equal(grounded(label, specks), label)
    assert pieces(specks) == []
