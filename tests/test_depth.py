"""The depth network's make, and Eq. 1 by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from deeplens_hf.depth import DepthPrediction, normalise_disparity, working_size
from deeplens_hf.layers import encoders
from deeplens_hf.layers.encoders import ENCODERS
from deeplens_hf.training.data import PhotoRecord
from deeplens_hf.training.losses import depth_loss, gradient_matching, outline_loss, standardise_robustly
from deeplens_hf.training.pretrained import load_imagenet, map_mobilenet_v2
from deeplens_hf.training.transplant import transplant


@pytest.mark.parametrize("encoder", list(ENCODERS))
def test_all_encoders_predict_two_maps_at_the_images_size(encoder):
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
    assert len(dilated) == (4 if encoder == "efficientnet-lite2" else 1)  # blocks of the stage that follow its first


def test_the_residual_blocks_are_those_of_the_report():
    mobilenet, efficientnet, resnet = (ENCODERS[name]() for name in ("mobilenet_v2", "efficientnet-lite2", "resnet-50"))
    assert len(mobilenet.blocks) + 1 == 14  # the stem holds the first
    assert len(efficientnet.blocks) == 20
    assert [len(stage.layers) for stage in resnet.stages] == [3, 4, 6, 1]


def test_heads_have_three_convolutions_and_the_pyramid_four_sizes():
    module = DepthPrediction()
    for head in (module.disparity_head, module.foreground_head):
        assert sum(isinstance(m, nn.Conv2d) for m in head.modules()) == 3
    assert len(module.pyramid.sizes) == len(module.pyramid.reduce) == 4


def test_an_unknown_encoder_is_named():
    with pytest.raises(
        ValueError, match="encoder must be one of mobilenet_v2, efficientnet-lite2, resnet-50; got 'vgg'"
    ):
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
    little = normalise_disparity(maps, torch.tensor([0.2, 0.2]).view(2, 1, 1, 1))
    torch.testing.assert_close(little[0], torch.linspace(0.4, 0.6, 12).view(1, 3, 4))
    torch.testing.assert_close(little[1], out[1])


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
    torch.testing.assert_close(standardise_robustly(truth * 7 + 3), standardise_robustly(truth), atol=1e-4, rtol=1e-4)
    mask = torch.zeros_like(truth)
    same = depth_loss(truth * 0.2 - 5, mask, truth, mask, torch.zeros(2))
    upside_down = depth_loss(-truth, mask, truth, mask, torch.zeros(2))
    assert float(same["loss"]) < 1e-3 < 0.5 < float(upside_down["loss"])


def test_photos_without_a_mask_teach_no_foreground():
    maps = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    wrong, mask = torch.stack([torch.ones(1, 32, 32), torch.full((1, 32, 32), 0.5)]), torch.zeros(2, 1, 32, 32)
    parts = depth_loss(maps, wrong, maps, mask, torch.tensor([0.0, 1.0]))
    assert float(parts["foreground"]) == pytest.approx(0.5)
    assert float(parts["outline"]) == pytest.approx(float(outline_loss(wrong, mask)[1]))


def test_gradient_term_sees_edges_not_offsets():
    step = torch.zeros(1, 1, 32, 32)
    step[..., 16:] = 1
    assert float(gradient_matching(torch.full_like(step, 0.7))) == 0
    assert float(gradient_matching(step, scales=1)) == pytest.approx(1 / 31)
    assert float(gradient_matching(step, scales=3)) == pytest.approx((1 / 31 + 1 / 15 + 1 / 7) / 3), "and in halves"


def test_a_missed_small_subject_costs_more_than_its_area():
    mask = torch.zeros(1, 1, 100, 100)
    mask[..., 40:60, 48:52] = 1  # less than 1 % of the picture: |S - Sg| would hardly notice
    missed, found = torch.full_like(mask, 1e-4), mask * 0.9998 + 1e-4
    assert float((missed - mask).abs().mean()) < 0.02 and float(outline_loss(missed, mask)) > 1
    assert float(outline_loss(found, mask)) < 0.1
    blurred = F.avg_pool2d(mask, 9, 1, 4)
    assert float(outline_loss(blurred, mask)) > 3 * float(outline_loss(found, mask)), "outlines are to be sharp"
    assert float(outline_loss(missed, torch.zeros_like(mask))) < 0.02, "nothing to be found, nothing missed"


def test_a_map_of_nan_costs_nan_and_stops_no_program():
    """The loop has the words for it; on a GPU torch's own cross-entropy would leave nobody to say them."""
    mask, likely = torch.zeros(1, 1, 32, 32), torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    mask[..., 5, 5] = 1  # too little of the picture for the overlap to count
    assert bool(outline_loss(likely * torch.nan, mask).isnan())
    entropy = F.binary_cross_entropy(likely.clamp(1e-4, 1 - 1e-4), mask)
    assert float(outline_loss(likely, mask, emphasis=0)) == pytest.approx(float(entropy), rel=1e-5)


def test_a_lost_antler_costs_more_than_as_much_of_a_flank():
    mask = torch.zeros(1, 1, 96, 96)
    mask[..., 40:80, 20:70] = 1
    mask[..., 10:40, 40:42] = 1
    gone, cut = mask.clone(), mask.clone()
    gone[..., 10:40, 40:42] = 0
    cut[..., 50:80, 20:22] = 0  # as many pixels
    assert float(outline_loss(gone, mask)) > 1.5 * float(outline_loss(cut, mask))


def test_samples_without_a_disparity_teach_none():
    truth = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    wrong, mask = torch.stack([truth[0], 1 - truth[1]]), torch.zeros_like(truth)
    parts = depth_loss(wrong, mask, truth, mask, torch.ones(2), has_disparity=torch.tensor([1.0, 0.0]))
    assert float(parts["disparity"]) < 1e-5 and float(parts["gradient"]) < 1e-5


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


def test_strides_are_padded_as_the_weights_makers_did():
    """TensorFlow's "same": an even side gets its odd border pixel right and below, an odd one on both sides alike."""
    encoder = ENCODERS["efficientnet-lite2"]().eval()
    for side, tap in ((64, 0), (65, 1)):  # the kernel's corner, or its middle, lies on the first pixel
        image = torch.zeros(1, 3, side, side)
        image[..., 0, 0] = 1.0
        with torch.no_grad():
            encoder.stem.weight.zero_()
            encoder.stem.weight[:, :, tap, tap] = 1.0
            seen = F.conv2d(encoders.before_stride(image, encoder.stem), encoder.stem.weight, stride=2)
        assert seen.shape[-1] == (side + 1) // 2 and float(seen[0, 0, 0, 0]) == 3.0


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet-lite2"])
def test_imagenet_weights_are_mapped_right(name, monkeypatch):
    """Proof by what only trained weights give: on a photo each layer's response has the mean stored beside it."""
    skimage = pytest.importorskip("skimage.data")
    photos = [torch.from_numpy(p[:256, :256].copy()).permute(2, 0, 1) for p in (skimage.astronaut(), skimage.chelsea())]
    encoder = ENCODERS[name]().eval()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (encoder.mean, encoder.std))
    images = (torch.stack(photos).float() / 255 - mean) / std
    folded, errors = encoders.folded, []

    def watched(conv, norm, x):
        response = F.conv2d(x, conv.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups).mean((0, 2, 3))
        errors.append(((response - norm.running_mean).abs() / (norm.running_var + norm.eps).sqrt()).mean())
        return folded(conv, norm, x)

    def mismatch():
        """Distance of each layer's mean response from the stored one, in stored standard deviations."""
        errors.clear()
        with torch.no_grad():
            encoder(images)
        return torch.stack(errors)

    monkeypatch.setattr(encoders, "folded", watched)
    load_imagenet(encoder)
    trained = mismatch()
    assert float(trained.max()) < 0.5  # every layer sees what it saw in training
    torch.manual_seed(0)
    with torch.no_grad():  # the same numbers at other places do not
        for m in encoder.modules():
            if isinstance(m, nn.Conv2d):
                m.weight.copy_(m.weight[torch.randperm(len(m.weight))])
    assert float(mismatch().mean()) > 5 * float(trained.mean())


def test_weights_that_are_not_all_of_mobilenet_are_refused():
    with pytest.raises(ValueError, match="312 tensors"):
        map_mobilenet_v2({"weight": torch.zeros(1)})


def test_a_decoder_is_set_upon_an_encoder_whose_features_are_the_old_ones_mixed(tmp_path):
    """Features that are a linear mixture of the old ones are unmixed: the transplanted decoder predicts the same."""
    torch.manual_seed(0)
    old, new = DepthPrediction(width=32).eval(), DepthPrediction(width=32).eval()
    mixtures = [torch.linalg.qr(torch.randn(c, c)).Q for c in old.encoder.channels]

    class Mixed(nn.Module):
        mean, std = old.encoder.mean, old.encoder.std

        def forward(self, x):
            return [torch.einsum("dc,bchw->bdhw", q, f) for q, f in zip(mixtures, old.encoder(x), strict=True)]

    new.encoder = Mixed()
    records = []
    for i in range(3):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (96, 128, 3), np.uint8)).save(tmp_path / f"{i}.png")
        records.append(PhotoRecord(tmp_path / f"{i}.png", tmp_path, None, "any"))
    image = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        wanted, before = old(image), new(image)
        transplant(old, new, records)
        found = new(image)
    for w, b, f in zip(wanted, before, found, strict=True):
        assert float((f - w).abs().mean()) < 0.05 * float((b - w).abs().mean())
