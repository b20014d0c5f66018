"""The depth network's make, and Eq. 1 by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deeplens_hf.depth import ENCODERS, DepthPrediction, normalise_disparity, working_size
from deeplens_hf.training.losses import depth_loss, gradient_matching, outline_loss, standardise
from deeplens_hf.training.pretrained import download_mobilenet_v2, load_imagenet, map_mobilenet_v2


@pytest.mark.parametrize("encoder", list(ENCODERS))
def test_both_encoders_predict_two_maps_at_the_images_size(encoder):
    torch.manual_seed(0)
    module = DepthPrediction(encoder).eval()
    with torch.no_grad():
        disparity, foreground = module(torch.rand(2, 3, 64, 96))
    assert disparity.shape == foreground.shape == (2, 1, 64, 96)
    assert 0 <= float(foreground.min()) <= float(foreground.max()) <= 1


@pytest.mark.parametrize("encoder", list(ENCODERS))
def test_the_last_stage_is_atrous_and_keeps_resolution(encoder):
    features = ENCODERS[encoder]().eval()(torch.rand(1, 3, 64, 96))
    assert [tuple(f.shape[-2:]) for f in features] == [(32, 48), (16, 24), (8, 12), (4, 6)]
    assert [f.shape[1] for f in features] == list(ENCODERS[encoder].channels)
    dilated = [m for m in ENCODERS[encoder]().modules() if isinstance(m, nn.Conv2d) and m.dilation == (2, 2)]
    assert len(dilated) == 1


def test_fourteen_residual_blocks():
    mobilenet, resnet = ENCODERS["mobilenet_v2"](), ENCODERS["resnet-50"]()
    assert len(mobilenet.blocks) + 1 == 14  # the stem holds the first
    assert [len(stage.layers) for stage in resnet.stages] == [3, 4, 6, 1]


def test_heads_have_three_convolutions_and_the_pyramid_four_sizes():
    module = DepthPrediction()
    for head in (module.disparity_head, module.foreground_head):
        assert sum(isinstance(m, nn.Conv2d) for m in head.modules()) == 3
    assert len(module.pyramid.sizes) == len(module.pyramid.reduce) == 4


def test_an_unknown_encoder_is_named():
    with pytest.raises(ValueError, match="encoder must be one of mobilenet_v2, resnet-50; got 'vgg'"):
        DepthPrediction("vgg")


@pytest.mark.parametrize("size", [(64, 64), (3000, 4000), (64, 2000), (1080, 1920)])
def test_working_size_keeps_the_shape_and_fits_the_stride(size):
    h, w = working_size(size, 320)
    assert max(h, w) == 320 and h % 16 == w % 16 == 0 and min(h, w) >= 32
    if min(h, w) > 32:
        assert h / w == pytest.approx(size[0] / size[1], rel=0.1)


def test_disparity_fills_its_range_and_flat_maps_are_the_middle():
    maps = torch.stack([torch.linspace(-3, 9, 12).view(1, 3, 4), torch.full((1, 3, 4), 7.0)])
    out = normalise_disparity(maps)
    torch.testing.assert_close(out[0], torch.linspace(0, 1, 12).view(1, 3, 4))
    torch.testing.assert_close(out[1], torch.full((1, 3, 4), 0.5))


def test_training_leaves_the_encoders_statistics_alone():
    module = DepthPrediction().train()
    before = module.encoder.stem.first_conv.normalization.running_mean.clone()
    module(torch.rand(2, 3, 64, 64))
    torch.testing.assert_close(module.encoder.stem.first_conv.normalization.running_mean, before)


def test_equation_1_by_hand():
    disparity = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).view(1, 1, 2, 2).repeat_interleave(8, 2).repeat_interleave(8, 3)
    truth = torch.tensor([[0.0, 1.0], [2.0, 5.0]]).view(1, 1, 2, 2).repeat_interleave(8, 2).repeat_interleave(8, 3)
    # median (the lower of two) 1: [-1, 0, 1, 2] / mean |.| 1 and [-1, 0, 1, 4] / 1.5
    difference = [-1 + 1 / 1.5, 0, 1 - 1 / 1.5, 2 - 4 / 1.5]
    foreground, mask = torch.full_like(truth, 0.75), torch.ones_like(truth)
    parts = depth_loss(
        disparity, foreground, truth, mask, torch.ones(1), gamma=2.0, gradient_weight=0.0, outline_weight=0.0
    )
    assert float(parts["disparity"]) == pytest.approx(sum(abs(d) for d in difference) / 4, abs=1e-5)
    assert float(parts["foreground"]) == pytest.approx(0.25)
    assert float(parts["loss"]) == pytest.approx(float(parts["disparity"]) + 2 * 0.25, abs=1e-5)


def test_equation_1_ignores_scale_and_shift_but_not_the_sign():
    truth = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(standardise(truth * 7 + 3), standardise(truth), atol=1e-4, rtol=1e-4)
    mask = torch.zeros_like(truth)
    same = depth_loss(truth * 0.2 - 5, mask, truth, mask, torch.zeros(2))
    upside_down = depth_loss(-truth, mask, truth, mask, torch.zeros(2))
    assert float(same["loss"]) < 1e-3 < 0.5 < float(upside_down["loss"])


def test_photos_without_a_mask_teach_no_foreground():
    maps = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    wrong, mask = torch.stack([torch.ones(1, 32, 32), torch.full((1, 32, 32), 0.5)]), torch.zeros(2, 1, 32, 32)
    parts = depth_loss(maps, wrong, maps, mask, torch.tensor([0.0, 1.0]))
    assert float(parts["foreground"]) == pytest.approx(0.5)


def test_gradient_term_sees_edges_not_offsets():
    step = torch.zeros(1, 1, 32, 32)
    step[..., 16:] = 1
    assert float(gradient_matching(torch.full_like(step, 0.7))) == 0
    assert float(gradient_matching(step, scales=1)) == pytest.approx(1 / 31)


def test_a_missed_small_subject_costs_more_than_its_area():
    mask = torch.zeros(1, 1, 100, 100)
    mask[..., 40:60, 48:52] = 1  # less than 1 % of the picture: |S - Sg| would hardly notice
    missed, found = torch.full_like(mask, 1e-4), mask * 0.9998 + 1e-4
    assert float((missed - mask).abs().mean()) < 0.02 and float(outline_loss(missed, mask)) > 1
    assert float(outline_loss(found, mask)) < 0.1
    blurred = F.avg_pool2d(mask, 9, 1, 4)
    assert float(outline_loss(blurred, mask)) > 3 * float(outline_loss(found, mask)), "outlines are to be sharp"
    assert float(outline_loss(missed, torch.zeros_like(mask))) < 0.02, "nothing to be found, nothing missed"


def test_samples_without_a_disparity_teach_none():
    truth = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    wrong, mask = torch.stack([truth[0], 1 - truth[1]]), torch.zeros_like(truth)
    parts = depth_loss(wrong, mask, truth, mask, torch.ones(2), has_disparity=torch.tensor([1.0, 0.0]))
    assert float(parts["disparity"]) < 1e-5 and float(parts["gradient"]) < 1e-5


@pytest.mark.slow
def unfolded(encoder: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The deepest features by the library's own layers, convolution and batch norm apart."""
    x = encoder.stem(x)
    for block in encoder.blocks:
        x = block(x)
    return x


def test_batch_norms_are_folded_into_the_convolutions():
    torch.manual_seed(0)
    encoder = ENCODERS["mobilenet_v2"]().eval()
    for norm in (m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)):
        for values, low, high in ((norm.running_mean, -1, 1), (norm.running_var, 0.5, 2), (norm.weight, 0.5, 2)):
            nn.init.uniform_(values, low, high)
        nn.init.uniform_(norm.bias, -1, 1)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image)[-1], unfolded(encoder, image), atol=1e-3, rtol=1e-4)
    encoder(image)[-1].sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_imagenet_weights_are_mapped_right():
    """Proof by what only trained weights give: on a photo each layer's input statistics are those stored beside it."""
    skimage = pytest.importorskip("skimage.data")
    weights = download_mobilenet_v2()
    assert len(map_mobilenet_v2(weights)) == 312
    with pytest.raises(ValueError, match="312 tensors"):
        map_mobilenet_v2(dict(list(weights.items())[1:]))

    photos = [torch.from_numpy(p[:256, :256].copy()).permute(2, 0, 1) for p in (skimage.astronaut(), skimage.chelsea())]
    images = torch.stack(photos).float() / 255

    def mismatch(module):
        """Distance of each layer's mean response to these photos from the stored one, in stored standard deviations."""
        errors = []

        def look(norm, inputs, _):
            mean = inputs[0].mean((0, 2, 3))
            errors.append(((mean - norm.running_mean).abs() / (norm.running_var + norm.eps).sqrt()).mean())

        hooks = [m.register_forward_hook(look) for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
        with torch.no_grad():
            unfolded(module, (images - 0.45) / 0.225)
        for hook in hooks:
            hook.remove()
        return torch.stack(errors)

    encoder = ENCODERS["mobilenet_v2"]().eval()
    load_imagenet(encoder)
    trained = mismatch(encoder)
    assert float(trained.max()) < 0.5  # every layer sees what it saw in training
    torch.manual_seed(0)
    with torch.no_grad():  # the same numbers at other places do not
        for m in encoder.modules():
            if isinstance(m, nn.Conv2d):
                m.weight.copy_(m.weight[torch.randperm(len(m.weight))])
    assert float(mismatch(encoder).mean()) > 5 * float(trained.mean())
