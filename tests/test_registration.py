"""Maps that lie beside their photo: found out from all edges together, to the pixel, and brought where they belong."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deeplens_hf.disparity.registration import Misfit, fitted, misfit
from deeplens_hf.evaluation.flaws import soft
from deeplens_hf.optics import srgb_to_linear
from deeplens_hf.training.stages import mending_stage

OFF = [
    Misfit(right=2),
    Misfit(down=-3),
    Misfit(right=-1, down=4),
    Misfit(wide=2),
    Misfit(wide=-3),
    Misfit(right=3, down=1, wide=-1),
    Misfit(right=-2, wide=3),
]


def cloth(size: tuple[int, int], seed: int) -> torch.Tensor:
    """Something of a colour and of a pattern of its own: (1, 3, H, W), sRGB."""
    generator = torch.Generator().manual_seed(seed)
    pattern = F.interpolate(torch.rand(1, 3, *(side // 4 for side in size), generator=generator), size, mode="bilinear")
    return 0.6 * torch.rand(1, 3, 1, 1, generator=generator) + 0.3 * pattern + 0.05 * torch.rand(1, 3, *size)


def scene(size: tuple[int, int] = (256, 384)) -> tuple[torch.Tensor, torch.Tensor]:
    """A sloping ground, and nearer and nearer things before it: image (1, 3, H, W) and its disparity (1, 1, H, W)."""
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(*(torch.linspace(0, 1, side) for side in size), indexing="ij")
    image, disparity = cloth(size, 0), (0.1 + 0.2 * rows)[None, None].clone()
    things = [(0.3, 0.25, 0.2), (0.6, 0.6, 0.22), (0.3, 0.75, 0.15), (0.75, 0.2, 0.12), (0.5, 0.45, 0.1)]
    for i, (y, x, radius) in enumerate(things):
        ratio = size[1] / size[0]
        away = ((rows - y).square() + (columns - x).square() * ratio**2).sqrt()
        inside = (away < radius) if i % 2 else ((rows - y).abs() < radius) & ((columns - x).abs() * ratio < radius)
        image = torch.where(inside, cloth(size, i + 1), image)
        disparity = torch.where(inside, torch.tensor(0.5 + 0.1 * i), disparity)
    return image, disparity


def spoilt(map: torch.Tensor, off: Misfit, times: int = 1) -> torch.Tensor:
    """A map that lies off so far."""
    return fitted(map, [Misfit(*(-each for each in off))], times)


@pytest.mark.parametrize("off", OFF)
def test_how_far_a_map_lies_off_is_found_to_the_pixel(off):
    image, disparity = scene()
    assert misfit(srgb_to_linear(image), spoilt(disparity, off)) == off


@pytest.mark.parametrize("scale, offset", [(1.0, 0.0), (37.0, -9.0)])
def test_of_any_range(scale, offset):
    image, disparity = scene()
    off = Misfit(right=2, wide=1)
    assert misfit(srgb_to_linear(image), spoilt(disparity, off) * scale + offset) == off


def test_a_compiled_model_finds_it_too():
    image, disparity = scene()
    light, off = srgb_to_linear(image), Misfit(right=2)
    compiled = torch.compile(lambda light, map: misfit(light, map), backend="eager")
    assert compiled(light, spoilt(disparity, off)) == off


def test_directions_are_those_of_the_photo():
    light, map = srgb_to_linear(scene()[0]), scene()[1]
    assert misfit(light, map.roll(3, -1)) == Misfit(right=3)
    assert misfit(light, map.roll(2, -2)) == Misfit(down=2)
    assert misfit(light, F.max_pool2d(map, 5, 1, 2)) == Misfit(wide=2)
    torch.testing.assert_close(fitted(map.roll(3, -1), [Misfit(right=3)])[..., :-3], map[..., :-3])


STAY = ["true", "soft", "flat", "noise", "another photo", "nothing to be seen", "tiny", "too far off"]
STAY += ["one small thing", "unseen twigs"]


@pytest.mark.parametrize("name", STAY)
def test_maps_that_the_photo_says_nothing_against_stay(name):
    image, disparity = scene()
    light, dark = torch.full((1, 3, 96, 128), 0.9), torch.full((1, 3, 96, 128), 0.2)
    small, twigs = (torch.arange(128) - 66).abs() < 6, torch.arange(384) % 12 < 3
    small = small & ((torch.arange(96) - 46).abs() < 6)[:, None]
    image, map = {
        "true": (image, disparity),
        "soft": (image, soft(disparity)),
        "flat": (image, torch.full_like(disparity, 0.5)),
        "noise": (torch.rand(image.shape), disparity),
        "another photo": (cloth(image.shape[-2:], 9), disparity),
        "nothing to be seen": (torch.full_like(image, 0.5), disparity),
        "tiny": (image[..., :3, :2], disparity[..., :3, :2]),
        "too far off": (image, disparity.roll(6, -1)),
        "one small thing": (torch.where(small, light, dark), torch.where(small.roll(2, -1), 0.8, 0.2)[None, None]),
        "unseen twigs": (image, spoilt(disparity, Misfit(wide=2)).masked_fill(twigs, 1.0)),
    }[name]
    off = misfit(srgb_to_linear(image), map)
    assert off == Misfit()
    assert fitted(map, [off]) is map


@pytest.mark.parametrize("large", [False, True], ids=["at its size", "halved before the blur"])
def test_picture_is_that_of_the_map_where_it_belongs(model, monkeypatch, large):
    image, disparity = scene((384, 520) if large else (192, 264))
    monkeypatch.setattr(model, "config", dataclasses.replace(model.config, blur_size=264))
    with torch.inference_mode():
        true = model.render(image, disparity, 0.7, 8.0)
        off = spoilt(disparity, Misfit(right=2, wide=1), 2 if large else 1)
        out = model.render(image, off, 0.7, 8.0)
        prepared = model.render(image, off, 0.7, 8.0, prepared=model.prepare(image, off))
    inner = (..., slice(24, -24), slice(24, -24))  # what lay beyond the frame is not to be had again
    assert float((out - true)[inner].square().mean()) < 1e-5
    torch.testing.assert_close(prepared, out)


@pytest.mark.parametrize("size, times", [((320, 480), 1), ((640, 960), 2)])
def test_your_own_map_is_shown_and_clicked_where_it_belongs(model, size, times):
    image, disparity = scene(size)
    pixels, off = image[0].permute(1, 2, 0).numpy(), spoilt(disparity, Misfit(right=-3, wide=1), times)
    photo = model.open(pixels, disparity=off[0, 0].numpy())
    wrong = np.abs(photo.disparity - disparity[0, 0].numpy())[9:-9, 9:-9] > 1e-3
    assert wrong.mean() < 0.01, "corners that were filled when it grew wide stay so"
    np.testing.assert_array_equal(model.open(pixels, disparity=photo.disparity).disparity, photo.disparity)


def test_each_of_a_batch_by_itself(model):
    image, disparity = scene((128, 192))
    both = torch.cat([disparity, spoilt(disparity, Misfit(down=2))])
    with torch.inference_mode():
        out = model.render(image.expand(2, -1, -1, -1), both, 0.6, 6.0)
        one = model.render(image, both[1:], 0.6, 6.0)
    torch.testing.assert_close(out[1:], one, atol=1e-4, rtol=0)


def test_a_map_that_was_moved_has_its_gradient(model):
    image, disparity = scene((128, 192))
    off = spoilt(disparity, Misfit(right=2)).requires_grad_()
    model.render(image, off, 0.6, 6.0).mean().backward()
    assert off.grad.abs().sum() > 0 and off.grad.isfinite().all()


def test_mending_is_not_taught_what_registration_does(model):
    """As before a blur: what it learns from is the map where all edges together say that it belongs."""
    image, disparity = scene()
    with torch.inference_mode():
        true, off = (
            mending_stage(model, {"image": image, "disparity": map, "true_disparity": disparity}, 0)["loss"]
            for map in (disparity, spoilt(disparity, Misfit(right=3)))
        )
    assert off < 1.5 * true
