"""Depth of your own: distances as well as disparity, and any model that transformers loads for it."""

import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_double import HubDouble, Repo
from PIL import Image, TiffImagePlugin

from deeplens_hf import cli
from deeplens_hf.disparity import depth_models
from deeplens_hf.files.pictures import PhotoError
from deeplens_hf.files.writing import save_disparity

METRES = np.linspace(1, 5, 128)[None].repeat(96, 0)  # near on the left
EXPECTED = ((1 / METRES - 1 / 5) / (1 - 1 / 5)).astype(np.float32)


def near(disparity: np.ndarray, expected: np.ndarray, within: float = 1e-3) -> bool:
    return disparity.shape == expected.shape and float(np.abs(disparity - expected).max()) <= within


# ---- distances


def test_distances_become_disparity(model, pixels, tmp_path):
    np.save(tmp_path / "metres.npy", METRES)
    Image.fromarray((METRES * 1000).astype(np.uint16)).save(tmp_path / "millimetres.png")
    for source in (METRES, METRES.astype(np.float16), tmp_path / "metres.npy", tmp_path / "millimetres.png"):
        assert near(model.open(pixels, disparity=source, depth_is="depth").disparity, EXPECTED, 2e-3)
    assert near(model.open(pixels, disparity=1 / METRES, depth_is="disparity").disparity, 1 / METRES)  # keeps its scale


def test_unknown_distances_are_far_and_infinity_is_the_farthest(model, pixels):
    metres = METRES.copy()
    metres[:5, :5], metres[:5, 5:10] = 0, np.nan  # what depth cameras write where they saw nothing
    disparity = model.open(pixels, disparity=metres, depth_is="depth").disparity
    assert disparity[:5, :10].max() == 0 and near(disparity[5:], EXPECTED[5:])
    metres[:5, :10] = np.inf  # the sky
    disparity = model.open(pixels, disparity=metres, depth_is="depth").disparity
    assert near(disparity[5:], (1 / METRES[5:]).astype(np.float32)) and disparity[:5, :10].max() == 0


def test_masked_values_are_unknown(model, pixels):
    metres = np.geomspace(1, 10, 128)[None].repeat(96, 0)
    hidden = metres.copy()
    hidden[40:50, 40:50] = 0.001
    hidden = np.ma.masked_less(hidden, 0.5)
    photo = model.open(pixels, disparity=hidden, depth_is="depth")
    assert photo.disparity[45, 45] == 0 and photo.disparity[45, 0] == 1
    with pytest.raises(PhotoError, match="disparity must hold finite numbers only"):
        model.open(pixels, disparity=np.ma.masked_less(hidden / 10, 0.5))


def test_metres_need_no_reference(model, pixels):
    photo = model.open(pixels, disparity=METRES, depth_is="depth")
    calibration = photo.calibrate(focal_length_mm=50, sensor_width_mm=36)
    assert calibration.distance(photo.disparity) == pytest.approx(METRES, rel=1e-4)
    levels = model.open(pixels, disparity=(METRES * 50).astype(np.uint8), depth_is="depth")  # of some unit
    millimetres = Image.fromarray((METRES * 50_000).astype(np.int32))  # more than 16 bits, and no floats
    for photo in (levels, model.open(pixels, disparity=millimetres, depth_is="depth")):
        with pytest.raises(PhotoError, match="references must be one or two points"):
            photo.calibrate(focal_length_mm=50, sensor_width_mm=36)


def test_metres_stay_in_copies(model, pixels):
    photo = model.open(pixels, disparity=METRES, depth_is="depth")
    assert photo.dioptres == pytest.approx((1 / 5, 1))
    assert photo.reduced(64).dioptres == photo.corrected(photo.disparity).dioptres == photo.dioptres


@pytest.mark.parametrize(
    "source, depth_is, says",
    [
        (np.zeros((9, 9)), "depth", "must hold distances above 0"),
        (METRES, "distance", "depth_is must be 'disparity' or 'depth', got 'distance'"),
        (np.full((9, 9), np.nan), None, "finite numbers"),
        (None, "depth", "depth_is goes with disparity"),
    ],
)
def test_no_depth(model, pixels, source, depth_is, says):
    with pytest.raises(PhotoError, match=says):
        model.open(pixels, disparity=source, depth_is=depth_is)


# ---- models: tiny ones of random weights, saved as the Hub has them


def dinov2():
    from transformers import Dinov2Config

    return Dinov2Config(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip


def depth_anything(**options):
    from transformers import DepthAnythingConfig

    return DepthAnythingConfig(
        backbone_config=dinov2(), reassemble_hidden_size=32, neck_hidden_sizes=[8] * 4, fusion_hidden_size=8,
        head_hidden_size=4, patch_size=14, **options,
    )  # fmt: skip


def glpn():
    from transformers import GLPNConfig

    return GLPNConfig(hidden_sizes=[8] * 4, decoder_hidden_size=8, depths=[1] * 4, num_attention_heads=[1] * 4)


def zoedepth():
    from transformers import BeitConfig, ZoeDepthConfig

    return ZoeDepthConfig(
        backbone_config=BeitConfig(
            image_size=32, num_hidden_layers=4, hidden_size=16, intermediate_size=16, num_attention_heads=2,
            use_relative_position_bias=True, reshape_hidden_states=False,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        neck_hidden_sizes=[8] * 4, fusion_hidden_size=8, bottleneck_features=8, num_attractors=[4, 2, 2, 1],
        bin_embedding_dim=8, num_relative_features=8,
        bin_configurations=[{"n_bins": 8, "min_depth": 0.1, "max_depth": 10.0, "name": "nyu"}],
    )  # fmt: skip


def depth_pro():
    from transformers import DepthProConfig

    vit = {"model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
    vit |= {"image_size": 32, "patch_size": 8, "use_mask_token": False}
    return DepthProConfig(
        fusion_hidden_size=8, patch_size=32, intermediate_hook_ids=[1, 0], intermediate_feature_dims=[8, 8],
        scaled_images_ratios=[0.5, 1.0], scaled_images_overlap_ratios=[0.0, 0.2], scaled_images_feature_dims=[8, 8],
        image_model_config=vit, patch_model_config=vit, fov_model_config=vit, num_fov_head_layers=0,
        use_fov_model=True, merge_padding_value=1,
    )  # fmt: skip


FAMILIES = {  # what transformers calls the processor, its size, what the model predicts
    "depth_anything": (depth_anything, "DPTImageProcessor", 56, "disparity"),
    "depth_anything, metric": (
        lambda: depth_anything(depth_estimation_type="metric", max_depth=20), "DPTImageProcessor", 56, "metres",
    ),
    "glpn": (glpn, "GLPNImageProcessor", 64, "metres"),
    "zoedepth": (zoedepth, "ZoeDepthImageProcessor", 32, "metres"),
    "depth_pro": (depth_pro, "DepthProImageProcessor", 64, "dioptres"),
}  # fmt: skip


def save(family: str, folder: Path) -> Path:
    """Written as `save_pretrained` does and the Hub serves it: config.json, weights, preprocessor_config.json."""
    from transformers import AutoModelForDepthEstimation

    config, processor, size, _ = FAMILIES[family]
    torch.manual_seed(0)
    network = AutoModelForDepthEstimation.from_config(config())
    for weights in network.parameters():  # the usual start gives hardly any depth at this size
        torch.nn.init.normal_(weights, 0, 0.15)
    network.save_pretrained(folder)
    settings = {"image_processor_type": processor, "size": {"height": size, "width": size}, "size_divisor": 32}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def small_model(tmp_path_factory) -> Path:
    return save("depth_anything", tmp_path_factory.mktemp("depth_anything"))


@pytest.mark.parametrize("family", FAMILIES)
def test_any_family_gives_disparity_the_right_way_round(model, pixels, tmp_path, family):
    photo = model.open(pixels, disparity=str(save(family, tmp_path)))
    assert photo.disparity.shape == (96, 128)
    assert 0 <= photo.disparity.min() < photo.disparity.max() <= 1
    processor, network = depth_models._load(str(tmp_path), "cpu")
    with torch.no_grad():
        raw = network(**processor(images=photo.picture, return_tensors="pt")).predicted_depth[0].numpy()
    if family == "zoedepth":  # 24 and 20 of 176 and 136 pixels were mirrored beyond the edges
        raw = raw[round(20.8 / 137.6 * len(raw)) : -round(20.8 / 137.6 * len(raw))]
        raw = raw[:, round(24 / 176 * raw.shape[1]) : -round(24 / 176 * raw.shape[1])]
    inverse = 1 / raw if FAMILIES[family][-1] == "metres" else raw
    expected = (inverse - inverse.min()) / np.ptp(inverse)
    expected = Image.fromarray(expected).resize(photo.size, Image.Resampling.BILINEAR)
    assert near(photo.disparity, np.array(expected), 1e-3)
    if FAMILIES[family][-1] != "disparity":
        photo.calibrate(focal_length_mm=50, sensor_width_mm=36)  # metres: no reference needed


def test_a_model_is_loaded_once_and_sees_each_photo(model, pixels, small_model, monkeypatch):
    from transformers import AutoModelForDepthEstimation

    depth_models._load.cache_clear()
    loads, load = [], AutoModelForDepthEstimation.from_pretrained
    monkeypatch.setattr(
        AutoModelForDepthEstimation, "from_pretrained", lambda *a, **k: loads.append(a) or load(*a, **k)
    )
    first, second = (model.open(picture, disparity=small_model).disparity for picture in (pixels, pixels[:, ::-1]))
    assert len(loads) == 1
    assert np.abs(first - second).max() > 0.1


@pytest.mark.slow
def test_a_model_from_the_hub_by_its_id(model, model_folder, photo_file, small_model, tmp_path):
    with HubDouble() as hub:
        hub.repos["lab/depth-small"] = Repo()
        files = {path.name: path.read_bytes() for path in small_model.iterdir()}
        hub.repos["lab/depth-small"].commit("main", files, parent=None)
        command = [sys.executable, "-m", "deeplens_hf", "depth", photo_file, "--depth", "lab/depth-small"]
        command += ["--model", model_folder, "-o", tmp_path / "depth.npy"]
        done = subprocess.run(
            list(map(str, command)), env=os.environ | hub.environment(tmp_path / "home"), capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"weights: {model_folder} (from the argument)\n"  # no library's chatter beside it
    expected = model.open(photo_file, disparity=small_model).disparity
    assert near(np.load(tmp_path / "depth.npy"), expected, 1e-3)


def test_metres_are_none_where_something_else_is_said(model, pixels, small_model, monkeypatch):
    monkeypatch.setattr(depth_models, "_sense", lambda config: ("depth", True))
    assert model.open(pixels, disparity=small_model).dioptres is not None
    assert model.open(pixels, disparity=small_model, depth_is="disparity").dioptres is None


def test_what_it_counts_in_can_be_said(model, pixels, small_model):
    told = model.open(pixels, disparity=small_model).disparity
    turned = model.open(pixels, disparity=small_model, depth_is="depth").disparity
    assert np.corrcoef(told.ravel(), turned.ravel())[0, 1] < 0


def test_depth_pro_counts_in_metres_by_the_field_of_view_that_it_sees(model, pixels, tmp_path, monkeypatch):
    processor, network = depth_models._load(str(save("depth_pro", tmp_path)), "cpu")
    with torch.no_grad():
        raw = network(**processor(images=Image.fromarray(pixels), return_tensors="pt")).predicted_depth
    for degrees in (40.0, 90.0):
        monkeypatch.setattr(network.fov_model, "forward", lambda *_, told=degrees, **__: torch.tensor([told]))
        photo = model.open(pixels, disparity=str(tmp_path))
        focal = 0.5 / math.tan(math.radians(degrees) / 2)  # in picture widths
        assert photo.dioptres == pytest.approx((float(raw.min()) / focal, float(raw.max()) / focal), rel=1e-3)


def test_an_unknown_family_has_to_be_told(model, pixels, small_model, monkeypatch):
    monkeypatch.setattr(depth_models, "_sense", lambda config: (None, False))
    with pytest.raises(PhotoError, match="depth_is must be given"):
        model.open(pixels, disparity=small_model)
    assert near(
        model.open(pixels, disparity=small_model, depth_is="disparity").disparity.max(keepdims=True),
        np.ones((1, 1)),
        0.1,
    )


def test_what_is_no_model_is_one_sentence(model, pixels, model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for source in (tmp_path, model_folder, "nobody/no-such-model"):  # an empty folder, another kind of model, no model
        with pytest.raises(PhotoError, match="depth-estimation model that transformers loads; .* is not: ") as error:
            model.open(pixels, disparity=source)
        assert "\n" not in str(error.value)
    with pytest.raises(PhotoError, match="disparity must be an existing file"):
        model.open(pixels, disparity="maps/depth.png")  # a file's name, not an id


def test_code_that_comes_with_a_model_is_not_run(model, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # nor is anybody asked
    code = {"AutoConfig": "own.Config", "AutoModelForDepthEstimation": "own.Model"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": code}))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(PhotoError, match="depth-estimation model that transformers loads; .* is not: "):
        model.open(pixels, disparity=tmp_path)
    assert not (tmp_path / "ran").exists()


# ---- the command line


def test_refocus_with_a_model_and_with_distances(model, model_folder, photo_file, pixels, small_model, tmp_path):
    np.save(tmp_path / "metres.npy", METRES)
    for depth, depth_is in ((small_model, None), (tmp_path / "metres.npy", "depth")):
        arguments = ["refocus", photo_file, "--depth", depth, "--focus", "9,9", "--model", model_folder]
        arguments += ["-o", tmp_path / "out.png"] + (["--depth-is", depth_is] if depth_is else [])
        assert cli.main(list(map(str, arguments))) == 0
        expected = model.open(photo_file, disparity=depth, depth_is=depth_is).refocus(point=(9, 9), aperture=8)
        difference = np.asarray(Image.open(tmp_path / "out.png")).astype(int) - np.asarray(expected)
        assert np.abs(difference).max() <= 1


def test_export_keeps_the_metres(model, model_folder, photo_file, tmp_path):
    np.save(tmp_path / "metres.npy", METRES)
    arguments = ["depth", photo_file, "--depth", tmp_path / "metres.npy", "--depth-is", "depth"]
    arguments += ["--model", model_folder, "-o", tmp_path / "depth.png", "--preview", tmp_path / "preview.png"]
    assert cli.main(list(map(str, arguments))) == 0
    stored = Image.open(tmp_path / "depth.png")
    assert stored.mode == "I;16"
    assert [float(value) for value in stored.text["Dioptres"].split()] == pytest.approx([1 / 5, 1])
    photo = model.open(photo_file, disparity=tmp_path / "depth.png")
    with open(tmp_path / "depth.png", "rb") as file:  # whichever way it is given
        for source in (file, stored):
            assert model.open(photo_file, disparity=source).dioptres == pytest.approx((1 / 5, 1))
    photo.calibrate(focal_length_mm=50, sensor_width_mm=36)
    assert photo.calibration.distance(photo.disparity) == pytest.approx(METRES, rel=1e-3)
    assert photo.dioptres == pytest.approx((1 / 5, 1))


@pytest.mark.parametrize(
    "stored, read",
    [
        ((0.0123456789, 2.3456789), pytest.approx((0.0123456789, 2.3456789), rel=1e-7)),
        ((0.0, float("inf")), None),
        ((-1e300, 1e308), None),
        ((2.0, 0.2), None),  # the near end farther away than the far one: no such map
    ],
)
def test_metres_of_a_png_have_all_their_digits_or_are_none(model, pixels, planes, tmp_path, stored, read):
    save_disparity(planes, tmp_path / "map.png", stored)
    assert model.open(pixels, disparity=tmp_path / "map.png").dioptres == read


def test_no_embedded_depth_on_the_command_line(model_folder, photo_file, tmp_path, capsys):
    arguments = ["refocus", photo_file, "--depth", "embedded", "--model", model_folder, "-o", tmp_path / "out.png"]
    assert cli.main(list(map(str, arguments))) == 2
    assert capsys.readouterr().err.splitlines() == [
        "deeplens: error: disparity 'embedded' needs a portrait photo that carries its depth; this one carries none"
    ]


def test_a_small_map_of_few_grey_values_is_enlarged_as_the_slope_it_was(model):
    slope = np.tile(np.linspace(0, 1, 96, dtype=np.float32)[:, None], (1, 128))
    stairs = ((slope * 11).round() * 23).astype(np.uint8)  # 12 grey values
    photo = np.zeros((300, 400, 3), np.uint8)
    opened = model.open(photo, disparity=stairs).disparity[30:-30]
    wanted = np.linspace(0, 253 / 255, 300)[30:-30, None]
    assert np.abs(opened - wanted).mean() < 0.5 * 23 / 255 / 4  # rounding alone leaves a quarter of a step


# ---- what people's programs write


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_black_may_be_near(model, pixels, tmp_path, dtype):
    full = 1 if dtype is np.float32 else np.iinfo(dtype).max
    farther = (1 - 1 / METRES) * full  # as a program shows distance, black in front
    farther = (farther if full == 1 else farther.round()).astype(dtype)
    photo = model.open(pixels, disparity=farther, depth_is="inverted")
    assert near(photo.disparity, (1 / METRES).astype(np.float32), 3e-3) and photo.dioptres is None
    if dtype is np.uint8:
        Image.fromarray(farther).save(tmp_path / "black.png")
        arguments = ["depth", "--depth", tmp_path / "black.png", "--depth-is", "inverted", "-o", tmp_path / "out.npy"]
        Image.fromarray(pixels).save(tmp_path / "photo.png")
        assert cli.main([str(each) for each in (*arguments, tmp_path / "photo.png")]) == 0
        assert near(np.load(tmp_path / "out.npy"), photo.disparity)


def test_a_map_below_0_is_stretched_as_it_is(model, pixels):
    signed = np.linspace(-500, 500, 128)[None].repeat(96, 0).astype(np.int32)
    disparity = model.open(pixels, disparity=Image.fromarray(signed)).disparity
    assert near(disparity, np.linspace(0, 1, 128, dtype=np.float32)[None].repeat(96, 0), 2e-3)


def test_whole_numbers_of_a_tiff_mean_what_its_tags_say(model, pixels, tmp_path):
    ramp = np.linspace(0, 1, 128)[None].repeat(96, 0)
    levels = {"white is 0": (65535 * (1 - ramp)).astype(np.uint16), "no sign": (ramp * (2**32 - 1)).astype(np.uint32)}
    for name, values in levels.items():
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[262] = 0 if name == "white is 0" else 1
        picture = Image.fromarray(values.view(np.int32) if values.dtype == np.uint32 else values)
        picture.save(tmp_path / "map.tif", tiffinfo=tags)
        if values.dtype == np.uint32:
            without_sign_tag(tmp_path / "map.tif")
        found = model.open(pixels, disparity=tmp_path / "map.tif").disparity
        assert near(found, ramp.astype(np.float32), 5e-3), name


def without_sign_tag(file):
    """Pillow writes that numbers have a sign (tag 339: 2); other programs write 1."""
    content = file.read_bytes()
    entry = struct.pack("<HHLL", 339, 3, 1, 2)
    assert content.count(entry) == 1
    file.write_bytes(content.replace(entry, struct.pack("<HHLL", 339, 3, 1, 1)))
