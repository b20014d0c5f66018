"""What only a GPU can show: the processor's pictures, gradients, half precision, training from its own memory."""

import argparse

import numpy as np
import pytest
import torch
from PIL import Image

from deeplens_hf import ApertureShape, DeepLens
from deeplens_hf.training.arguments import add_arguments
from deeplens_hf.training.commands import run
from deeplens_hf.training.stages import depth_stage

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="NO GPU HERE: NOTHING OF IT IS TESTED")


@pytest.fixture(scope="module")
def on_gpu(model_folder):
    return DeepLens.from_pretrained(model_folder).to("cuda")


@pytest.fixture(scope="module")
def street(pixels):
    """The photo, larger, with a lamp in the dark: (1, 3, 192, 256)."""
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255 * 0.5
    image = image.repeat_interleave(2, 2).repeat_interleave(2, 3)
    image[..., 90:96, 20:26] = 1.0
    return image


def test_maps_are_those_of_the_processor(model, on_gpu, street):
    with torch.inference_mode():
        here, there = model.predict_depth(street), on_gpu.predict_depth(street.cuda())
    for name in ("disparity", "foreground"):
        difference = (getattr(there, name).cpu() - getattr(here, name)).abs()
        assert difference.mean() < 5e-3 and difference.max() < 0.1, name  # convolutions in TF32


@pytest.mark.parametrize("shape", [ApertureShape(), ApertureShape(blades=6), ApertureShape(cat_eye=0.6)], ids=str)
def test_pictures_are_those_of_the_processor(model, on_gpu, street, planes, shape):
    disparity = torch.from_numpy(planes)[None, None].repeat_interleave(2, 2).repeat_interleave(2, 3)
    for aperture in (2.0, 16.0):
        with torch.inference_mode():
            here = model.render(street, disparity, 0.8, aperture, shape=shape)
            there = on_gpu.render(street.cuda(), disparity.cuda(), 0.8, aperture, shape=shape)
        difference = (there.cpu() - here).abs()
        assert difference.mean() < 2e-3 and difference.quantile(0.999) < 0.03


def test_a_photo_is_refocused_in_half_precision_too(model_folder, on_gpu, street):
    picture = Image.fromarray((street[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    half = DeepLens.from_pretrained(model_folder, dtype="float16").to("cuda")
    results = [np.asarray(each.open(picture).refocus(point=(60, 60), aperture=8), float) for each in (on_gpu, half)]
    assert results[0].shape == (192, 256, 3)
    assert np.abs(results[0] - results[1]).mean() < 2


def test_gradients_reach_picture_and_weights(on_gpu, street):
    image = street.cuda().requires_grad_()
    on_gpu(image, torch.tensor([0.5], device="cuda"), 6.0).mean().backward()
    assert float(image.grad.abs().sum()) > 0
    assert any(float(p.grad.abs().sum()) > 0 for p in on_gpu.depth.parameters() if p.grad is not None)
    on_gpu.zero_grad(set_to_none=True)


def test_depth_is_learned_in_bfloat16(model_folder):
    model = DeepLens.from_pretrained(model_folder).to("cuda")
    batch = {"image": torch.rand(2, 3, 64, 96), "disparity": torch.rand(2, 1, 64, 96)}
    batch |= {"foreground": (torch.rand(2, 1, 64, 96) > 0.5).float()}
    batch |= {name: torch.ones(2) for name in ("has_disparity", "has_foreground")}
    batch |= {f"{name}_mean": batch[name].sum() for name in ("has_disparity", "has_foreground")}
    with torch.autocast("cuda", torch.bfloat16):
        parts = depth_stage(model, {name: value.cuda() for name, value in batch.items()}, 0)
    assert parts["loss"].dtype == torch.float32 and torch.isfinite(parts["loss"])


@pytest.mark.parametrize("stage", ["mending", "hidden", "render"])
def test_scenes_are_drawn_ahead_and_learned_from_where_they_are(stage, model_folder, tmp_path):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = f"{stage} --from {model_folder} --out {tmp_path} --scenes 4 --steps 3 --batch-size 2 --size 64 --workers 2"
    weights = run(parser.parse_args([*given.split(), "--device", "cuda"]))
    assert len(list((tmp_path / "scenes").glob("*.npz"))) == 4
    assert DeepLens.from_pretrained(weights).device.type == "cpu"
