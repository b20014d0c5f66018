"""The model as a whole: the contract, gradients, what a lens keeps, and weights that fit or fail loudly."""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from deeplens_hf import DeepLens, DeepLensConfig, WeightsError
from deeplens_hf.disparity.levels import counted_side, halvings_until
from deeplens_hf.optics import srgb_to_linear
from deeplens_hf.rendering.highlights import darkness

SMALL = DeepLensConfig(depth_width=32, blur_width=8, upsampling_width=8, blur_size=96)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return DeepLens(SMALL).eval()


def scene(size=(96, 128), seed=0):
    """A smooth image and two surfaces: (1, 3, H, W), (1, 1, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    image = F.interpolate(torch.rand(1, 3, 12, 16, generator=generator), size, mode="bicubic").clamp(0, 1)
    disparity = torch.full((1, 1, *size), 0.2)
    disparity[..., size[0] // 4 : size[0] * 3 // 4, size[1] // 3 : size[1] * 2 // 3] = 0.9
    return image, disparity


@pytest.mark.parametrize("lens_blur", ["slabs", "convolutional"])
@pytest.mark.parametrize("size", [(64, 80), (112, 160)])  # at the blur's own size, and from below it
def test_the_final_image_reaches_every_tensor(lens_blur, size):
    torch.manual_seed(0)
    config = DeepLensConfig(depth_width=32, blur_width=8, upsampling_width=8, blur_size=96, lens_blur=lens_blur)
    model = DeepLens(config).train()
    image, _ = scene(size)
    if lens_blur == "slabs":
        image = image * 0.57
        image[..., 8:14, 8:14] = 1.0  # a lamp at dusk: what knows the night and what knows the day share it
        assert 0 < float(darkness(srgb_to_linear(image))) < 1
    model(image, torch.tensor([0.3]), torch.tensor([9.0])).square().sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    silent = [name for name in silent if not name.startswith("orientation.")]  # which turns photos, or does not
    assert not silent


def test_gradients_for_disparity_focus_and_aperture_agree_with_finite_differences():
    torch.manual_seed(0)
    model = DeepLens(SMALL).eval().double()
    image, disparity = (x.double() for x in scene((64, 64)))
    # no two neighbours alike: at ties a maximum has no derivative
    noise = torch.rand(disparity.shape, generator=torch.Generator().manual_seed(2)).double()
    disparity = 0.8 * F.avg_pool2d(disparity, 9, 1, 4, count_include_pad=False) + 0.1 * noise
    inputs = {"disparity": disparity, "focus": torch.tensor([0.41]).double(), "aperture": torch.tensor([5.3]).double()}
    target = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3)).double()

    def loss(**values):
        return (model.render(image, **values) - target).square().sum()

    for value in inputs.values():
        value.requires_grad_(True)
    loss(**inputs).backward()
    for name, value in inputs.items():
        direction = torch.randn(value.shape, generator=torch.Generator().manual_seed(4)).double()
        direction = F.avg_pool2d(direction, 15, 1, 7) if value.ndim == 4 else direction
        step = 1e-5
        with torch.no_grad():
            up, down = (loss(**inputs | {name: value + sign * step * direction}) for sign in (1, -1))
        assert float((value.grad * direction).sum()) == pytest.approx(float(up - down) / (2 * step), rel=0.05, abs=1e-3)


@pytest.mark.parametrize("size", [(64, 64), (97, 131), (64, 400), (300, 70)])
def test_aperture_0_returns_the_photo(small, size):
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    disparity = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        out = small.render(image, disparity, 0.3, 0.0)
    assert out.shape == image.shape
    assert float((out - image).abs().max()) < 1 / 255


def test_constant_image_stays_constant(model):
    image = torch.tensor([0.1, 0.5, 0.9]).view(1, 3, 1, 1).expand(2, 3, 96, 120)
    disparity = torch.rand(2, 1, 96, 120, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        out = model.render(image, disparity, torch.tensor([0.2, 0.8]), torch.tensor([3.0, 16.0]))
    assert float((out - image).abs().max()) < 1.5 / 255


def test_the_same_picture_at_two_resolutions_blurs_the_same(model):
    image, disparity = scene((480, 640))
    with torch.inference_mode():
        large = model.render(image, disparity, 0.9, 8.0)
        small = model.render(
            F.interpolate(image, (240, 320), mode="area"), F.interpolate(disparity, (240, 320)), 0.9, 8.0
        )
    difference = (F.interpolate(large, (240, 320), mode="area") - small).abs()
    changed = (F.interpolate(image, (240, 320), mode="area") - small).abs()
    assert float(difference.mean()) < 0.15 * float(changed.mean())
    assert float(difference.mean()) < 0.01


def test_a_larger_photo_goes_through_the_upsampling_and_keeps_its_sharp_detail(model):
    image, disparity = scene((400, 1100))
    grain = torch.rand(1, 3, 400, 1100, generator=torch.Generator().manual_seed(9)) * 0.3
    image = image * 0.7 + grain
    with torch.inference_mode():
        out = model.render(image, disparity, 0.9, 8.0)
    inside, outside = (..., slice(150, 250), slice(480, 620)), (..., slice(20, 80), slice(20, 200))
    assert float((out - image)[inside].abs().mean()) < 0.02, "in focus"
    assert float(out[outside].diff(dim=-1).abs().mean()) < 0.2 * float(image[outside].diff(dim=-1).abs().mean())


def test_a_photo_that_is_halved_before_the_blur_blurs_as_far(model, monkeypatch):
    image, wall = torch.full((1, 3, 128, 256), 0.3), torch.full((1, 1, 128, 256), 0.2)
    image[..., 124:132] = 0.9
    with torch.inference_mode():
        wanted = model.render(image, wall, 0.8, 16.0)
        monkeypatch.setattr(model, "config", dataclasses.replace(model.config, blur_size=64))
        halved = model.render(image, wall, 0.8, 16.0)
    assert float((halved - wanted).abs().max()) < 0.06


def test_batches_mix_focus_and_aperture(model):
    image, disparity = scene((80, 96))
    focus, aperture = torch.tensor([0.2, 0.9]), torch.tensor([4.0, 12.0])
    with torch.inference_mode():
        both = model.render(image.repeat(2, 1, 1, 1), disparity.repeat(2, 1, 1, 1), focus, aperture)
        each = [model.render(image, disparity, float(f), float(a)) for f, a in zip(focus, aperture, strict=True)]
    torch.testing.assert_close(both, torch.cat(each), atol=2e-3, rtol=0)


def test_an_interval_in_focus_is_sharp_as_a_whole(model):
    image, _ = scene((80, 96))
    disparity = torch.linspace(0, 1, 96).view(1, 1, 1, 96).expand(1, 1, 80, 96).contiguous()
    with torch.inference_mode():
        out = model.render(image, disparity, (0.6, 1.0), 16.0)
        pairs = model.render(image, disparity, torch.tensor([[1.0, 0.6]]), 16.0)
        listed = model.render(image, disparity, [0.6, 1.0], 16.0)
    assert torch.equal(out, pairs) and torch.equal(out, listed)
    assert float((out - image)[..., 64:].abs().max()) < 3 / 255
    assert float((out - image)[..., :40].abs().max()) > 10 / 255


@pytest.mark.parametrize("focus", [[0.2, 0.4, 0.9], ((0.1, 0.3), (0.3, 0.5), (0.8, 1.0))])
def test_a_list_of_focuses_is_one_for_each_picture(model, focus):
    image, disparity = (torch.cat([each] * 3) for each in scene((64, 64)))
    with torch.inference_mode():
        together = model.render(image, disparity, focus, [4.0, 8.0, 2.0])
        apart = model.render(image, disparity, torch.tensor(focus), torch.tensor([4.0, 8.0, 2.0]))
    assert torch.equal(together, apart)


@pytest.mark.parametrize("focus", ["near", None, [[0.5]], [0.1, "far"]])
def test_what_is_no_focus_is_refused(model, focus):
    with pytest.raises(ValueError, match="focus must be a number"):
        model.render(*scene((64, 64)), focus, 8.0)


def test_a_focus_picked_from_a_map_may_be_off_by_rounding_as_the_map_may(model):
    image, disparity = scene((64, 64))
    rounded = disparity / disparity.max() * 1.0005
    with torch.inference_mode():
        nearest = model.render(image, rounded, 1.0, 8.0)
        for focus in (rounded.amax((1, 2, 3)), 1.0000002, (1.0, 1.0005)):
            torch.testing.assert_close(model.render(image, rounded, focus, 8.0), nearest)
    with pytest.raises(ValueError, match=r"focus must lie in \[0, 1\]"):
        model.render(image, disparity, 1.01, 8.0)


def test_autocast_changes_nothing(model):
    image, _ = scene((64, 64))
    with torch.no_grad():
        plain = model(image, 0.4, 8.0)
        with torch.autocast("cpu", torch.bfloat16):
            cast = model(image, 0.4, 8.0)
    assert torch.equal(cast, plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_cast_as_a_whole_says_what_to_do(dtype):
    image, disparity = scene((64, 64))
    cast = DeepLens(SMALL).eval().to(dtype)
    for call in (lambda: cast(image.to(dtype), 0.4, 8.0), lambda: cast.render(image, disparity, 0.4, 8.0)):
        with pytest.raises(ValueError, match="the model must be float32 or float64"):
            call()


def test_the_ends_of_an_interval_have_gradients(model):
    image, disparity = scene((64, 64))
    ends = (torch.tensor(0.3, requires_grad=True), torch.tensor(0.6, requires_grad=True))
    model.render(image, disparity, ends, 8.0).square().mean().backward()
    assert all(end.grad is not None and float(end.grad.abs()) > 0 for end in ends)


@pytest.mark.parametrize("size", [(24, 200), (112, 160), (600, 901)])  # lengthened; blurred at its size; halved
@pytest.mark.parametrize("focus, highlights", [(0.3, 1.0), ((0.1, 0.4), 1.0), (0.3, 0.0)])
def test_what_is_prepared_once_serves_every_lens(model, size, focus, highlights):
    image, disparity = scene(size)
    image[..., :12, :12] = 1.0  # a lamp, so that there is light to recover
    foreground = (disparity > 0.5).float()
    with torch.inference_mode():
        prepared = model.prepare(image, disparity, foreground)
        for each in (prepared, prepared._replace(levels=None)):
            for aperture in (3.0, 12.0):
                given = (image, disparity, focus, aperture, foreground)
                wanted = model.render(*given, highlights=highlights)
                torch.testing.assert_close(model.render(*given, highlights=highlights, prepared=each), wanted)


def test_what_was_prepared_of_another_photo_is_refused(model):
    other = model.prepare(*scene((96, 128)))
    with pytest.raises(ValueError, match="prepared must be of this photo"):
        model.render(*scene((128, 96)), 0.5, 4.0, prepared=other)
    with pytest.raises(ValueError, match="prepared.disparity must be a float tensor"):
        model.render(*scene((128, 96)), 0.5, 4.0, prepared=other._replace(levels=None))


def test_predicted_maps_have_the_images_size_and_range(small):
    with torch.inference_mode():
        maps = small.predict_depth(torch.rand(2, 3, 70, 150))
    assert maps.disparity.shape == maps.foreground.shape == (2, 1, 70, 150)
    assert 0 <= float(maps.disparity.min()) and float(maps.disparity.max()) <= 1
    assert 0 <= float(maps.foreground.min()) and float(maps.foreground.max()) <= 1


def ok():
    return {"image": torch.rand(1, 3, 64, 64), "disparity": torch.rand(1, 1, 64, 64), "focus": 0.5, "aperture": 4.0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image", torch.rand(3, 64, 64)),
        ("image", torch.rand(1, 4, 64, 64)),
        ("image", torch.zeros(1, 3, 64, 64, dtype=torch.uint8)),
        ("image", torch.rand(1, 3, 0, 64)),
        ("image", torch.rand(0, 3, 64, 64)),
        ("image", torch.rand(1, 3, 64, 64).double()),
        ("shape", None),
        ("image", torch.rand(1, 3, 64, 64) * 255),
        ("image", torch.full((1, 3, 64, 64), float("nan"))),
        ("disparity", torch.rand(1, 1, 64, 65)),
        ("disparity", torch.rand(2, 1, 64, 64)),
        ("disparity", torch.rand(1, 1, 64, 64) - 0.5),
        ("disparity", torch.full((1, 1, 64, 64), float("nan"))),
        ("focus", 1.5),
        ("focus", float("nan")),
        ("focus", torch.rand(2)),
        ("aperture", -1.0),
        ("aperture", float("nan")),
        ("aperture", 1000.0),
        ("aperture", torch.rand(1, 1)),
        ("foreground", torch.rand(1, 64, 64)),
    ],
)
def test_bad_tensors_are_refused_by_name(small, name, value):
    with pytest.raises(ValueError, match=f"^{name} must"):
        small.render(**(ok() | {name: value}))


def test_maps_of_another_precision_are_taken(small):
    given = ok() | {"foreground": torch.rand(1, 1, 64, 64)}
    double = {name: given[name].double() for name in ("disparity", "foreground")}
    torch.testing.assert_close(small.render(**(given | double)), small.render(**given), atol=1e-5, rtol=0)


def test_the_lens_blur_is_told_of_the_subject(model):
    image, disparity = scene((64, 64))
    subject, told = (disparity > 0.5).float(), []
    hook = model.lens_blur.register_forward_hook(lambda _, given, __: told.append(given[2]))
    try:
        with torch.inference_mode():
            for foreground in (subject, None):
                model.render(image, disparity, 0.2, 8.0, foreground)
    finally:
        hook.remove()
    assert torch.equal(told[0], 2 * subject - 1) and not told[1].any()


@pytest.mark.parametrize("size", [(40, 30), (1, 1), (20, 60)])
def test_small_pictures_blur_as_part_of_larger_ones(model, size):
    """The aperture counts pixels of the long side, and what the networks need beyond that does not widen the disc."""
    rows, columns = size
    image, disparity = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)), torch.ones(1, 1, *size)
    with torch.inference_mode():
        out = model.render(image, disparity, 0.0, 8.0, highlights=0)
        maps = model.predict_depth(image)
        radius = 8 * max(size) / 320
        larger = torch.nn.functional.pad(image, (0, 320 - columns, 0, 320 - rows), mode="replicate")
        wanted = model.render(larger, torch.ones(1, 1, 320, 320), 0.0, radius, highlights=0)[..., :rows, :columns]
    assert out.shape == image.shape and maps.disparity.shape == maps.foreground.shape == disparity.shape
    assert float((out - wanted).abs().max()) < 0.02


def test_save_and_load_bit_for_bit(small, tmp_path):
    small.save_pretrained(tmp_path / "saved")
    loaded = DeepLens.from_pretrained(tmp_path / "saved")
    assert loaded.config == SMALL and not loaded.training
    assert loaded.state_dict().keys() == small.state_dict().keys()
    for name, tensor in small.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    image, disparity = scene()
    with torch.inference_mode():
        assert torch.equal(loaded.render(image, disparity, 0.5, 8.0), small.render(image, disparity, 0.5, 8.0))


def test_the_config_comes_back_as_the_dataclass(small, tmp_path):
    """The mixin hands over a plain dict where it cannot read the type of `config` (postponed annotations, say)."""
    small.save_pretrained(tmp_path)
    assert type(DeepLens.from_pretrained(tmp_path).config) is DeepLensConfig
    assert json.loads((tmp_path / "config.json").read_text())["blur_size"] == 96
    with pytest.raises(ValueError, match="lens_blur must be one of slabs, convolutional; got 'box'"):
        DeepLensConfig(lens_blur="box")
    with pytest.raises(ValueError, match="format_version 99 is newer"):
        DeepLensConfig(format_version=99)


@pytest.mark.parametrize("fault", ["missing", "unknown", "misshapen", "truncated", "absent", "pickle"])
def test_weights_that_do_not_fit_fail_loudly(small, tmp_path, fault):
    small.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    name = "lens_blur.surfaces.unmixing.read.weight"
    if fault == "missing":
        del weights[name]
    elif fault == "unknown":
        weights["lens_blur.extra"] = torch.zeros(1)
    elif fault == "misshapen":
        weights[name] = weights[name][:1].clone()
    if fault == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif fault in ("absent", "pickle"):
        file.unlink()
        if fault == "pickle":
            torch.save(weights, tmp_path / "pytorch_model.bin")
    else:
        save_file(weights, file)
    with pytest.raises(WeightsError, match=f"{fault}|complete safetensors|holds no model.safetensors"):
        DeepLens.from_pretrained(tmp_path)


@pytest.mark.parametrize("long_side, halvings", [(768, 0), (1024, 0), (1025, 1), (2048, 1), (2049, 2), (4032, 2)])
def test_photos_are_halved_until_they_fit(long_side, halvings):
    assert halvings_until(long_side, 1024) == halvings


@pytest.mark.parametrize(
    ("size", "width"), [((64, 96), 192), ((64, 128), 192), ((64, 256), 272), ((64, 512), 384), ((64, 1024), 384)]
)
def test_a_panorama_is_looked_at_with_more_pixels(model, size, width, monkeypatch):
    """As low as 192 pixels leave it hardly anything can be seen of it; other photos are looked at as ever."""
    seen, infer = [], model.depth.infer
    monkeypatch.setattr(model, "config", dataclasses.replace(model.config, depth_size=192))
    monkeypatch.setattr(model, "ways", lambda image: image.new_tensor([[1, 0, 0, 0]]))  # noise shows no up
    monkeypatch.setattr(model.depth, "infer", lambda image: seen.append(tuple(image.shape[-2:])) or infer(image))
    for lies in (size, size[::-1]):
        model.predict_depth(torch.rand(1, 3, *lies))
    assert [max(each) for each in seen] == [width] * 2
    assert counted_side(size) == pytest.approx(max(size) * 192 / width, rel=0.03)


@pytest.mark.parametrize("value", [1.1, -0.1, float("nan")])
def test_pictures_out_of_range_are_refused(model, value):
    image = torch.full((1, 3, 64, 96), 0.5)
    image[0, 1, 7, 9] = value
    with pytest.raises(ValueError, match=r"image must lie in \[0, 1\] and hold no NaN"):
        model.predict_depth(image)


def test_arrays_in_place_of_tensors_are_told(model):
    """`photo.disparity` is one."""
    image, disparity = torch.rand(1, 3, 64, 80), torch.rand(1, 1, 64, 80)
    for name, given in (("image", (image.numpy(), disparity)), ("disparity", (image, disparity.numpy()))):
        with pytest.raises(ValueError, match=f"{name} must be a tensor; got ndarray"):
            model.render(*given, 0.5, 4.0)
    with pytest.raises(ValueError, match="image must be a tensor; got list"):
        model.predict_depth(image.tolist())
    with pytest.raises(ValueError, match="foreground must be a tensor; got ndarray"):
        model.render(image, disparity, 0.5, 4.0, foreground=disparity.numpy())


@pytest.mark.parametrize("name", ["image", "disparity", "foreground"])
def test_tensors_on_another_device_are_told_where_the_model_is(small, name):
    given = ok() | {"foreground": torch.rand(1, 1, 64, 64)}
    given[name] = given[name].to("meta")
    with pytest.raises(ValueError, match=f"^{name} must be on cpu, as the model is; got a tensor on meta"):
        small.render(**given)
    if name == "image":
        with pytest.raises(ValueError, match="^image must be on cpu"):
            small.predict_depth(given[name])
