"""What befalls samples of the depth stage: shadows and paint are no steps in depth, and no part of a subject."""

import numpy as np
import pytest
import torch
from PIL import Image

from deeplens_hf.training import augmentation
from deeplens_hf.training.augmentation import Picture, augment


@pytest.fixture
def augmented(monkeypatch):
    """Samples (without, with) one augmentation of a picture, and none but it."""
    for name in ("UPSIDE_DOWN", "SHADOWED", "CAST", "PAINTED"):
        monkeypatch.setattr(augmentation, name, 0)
    monkeypatch.setattr(augmentation, "recolour", lambda image, draw, strength: image)
    monkeypatch.setattr(augmentation, "_camera", lambda image, draw: image)

    def both(picture, seed, name):
        samples = []
        for often in (0, 1):
            monkeypatch.setattr(augmentation, name, often)
            samples.append(augment(picture, (48, 64), np.random.default_rng(seed)))
        return samples

    return both


def scene(box: tuple[int, int, int, int] | None) -> Picture:
    """One colour, a slope, and a subject in `box`, if any."""
    subject = None if box is None else Image.new("L", (80, 60))
    if subject:
        subject.paste(255, box)
    return Picture(Image.new("RGB", (80, 60), (200, 180, 160)), Image.linear_gradient("L").resize((80, 60)), subject)


def test_a_shadow_darkens_a_part_and_leaves_depth_alone(augmented):
    flat = scene(None)
    plain = np.asarray(flat.image).astype(int)
    dark = [
        np.asarray(augmentation._shadowed(flat.image, np.random.default_rng(seed))).astype(int) for seed in range(12)
    ]
    assert all((shadowed <= plain).all() for shadowed in dark)
    share = np.mean([(shadowed < 0.85 * plain).mean() for shadowed in dark])
    assert 0.05 < share < 0.8
    without, shadowed = augmented(flat, 3, "SHADOWED")
    assert shadowed["disparity"].equal(without["disparity"])


def test_what_is_painted_on_stays_behind_the_subject_and_leaves_depth_alone(augmented):
    painted = behind = 0
    for seed in range(48):
        plain, sample = augmented(scene((0, 0, 40, 60)), seed, "PAINTED")
        assert sample["disparity"].equal(plain["disparity"]) and sample["foreground"].equal(plain["foreground"])
        changed = (sample["image"] != plain["image"]).any(0)  # (h, w)
        assert not changed[sample["foreground"][0] == 1].any()
        painted, behind = painted + changed.sum(), behind + (sample["foreground"] < 1).sum()
    assert 0.02 < painted / behind < 0.5


def test_a_subject_casts_its_shadow_on_what_is_behind_it_alone(augmented):
    sizes = []
    for seed in range(12):
        plain, shadowed = augmented(scene((30, 20, 50, 40)), seed, "CAST")
        assert shadowed["disparity"].equal(plain["disparity"]) and shadowed["foreground"].equal(plain["foreground"])
        assert (shadowed["image"] <= plain["image"]).all()
        darker = (shadowed["image"] < 0.8 * plain["image"]).all(0)  # (h, w)
        assert not darker[shadowed["foreground"][0] > 0.99].any()
        sizes.append(float(darker.sum() / (plain["foreground"] > 0.5).sum().clamp(min=1)))
    assert 0.1 < np.median(sizes) < 1.5


@pytest.mark.parametrize("nobody", [None, (0, 0, 0, 0)])
def test_where_nobody_stands_nobody_casts_a_shadow(augmented, nobody):
    plain, shadowed = augmented(scene(nobody), 0, "CAST")
    assert shadowed["image"].equal(plain["image"])


def test_photo_and_maps_are_mirrored_together(augmented):
    ramp = Image.linear_gradient("L").rotate(90).resize((80, 60))  # along the rows, in photo and maps
    ways = set()
    for seed in range(12):
        sample = augmented(Picture(ramp.convert("RGB"), ramp, ramp), seed, "PAINTED")[0]
        ways.add(
            tuple(
                bool(sample[name][0, 24, -1] > sample[name][0, 24, 0]) for name in ("image", "disparity", "foreground")
            )
        )
    assert ways == {(True,) * 3, (False,) * 3}


def test_photo_and_maps_are_on_their_heads_together(augmented):
    slope = Image.linear_gradient("L").resize((80, 60))  # black above
    for seed in range(4):
        _, sample = augmented(Picture(slope.convert("RGB"), slope, slope), seed, "UPSIDE_DOWN")
        assert float(sample["image"][:, 0].mean()) > float(sample["image"][:, -1].mean())
        for name in ("disparity", "foreground"):
            torch.testing.assert_close(sample[name], sample["image"][:1], atol=0.05, rtol=0)
