"""What teaches depth beside labels as they came: flat scenes, and the network's own averaged looks."""

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deeplens_hf import DeepLens
from deeplens_hf.layers.pooling import window_mean
from deeplens_hf.training.arguments import add_arguments
from deeplens_hf.training.commands import run
from deeplens_hf.training.data import labelled_photos, to_tensor
from deeplens_hf.training.ensemble import TEACHER, EnsembledLabels, ensembled
from deeplens_hf.training.scenes.planes import plane_scene


class Brightness(nn.Module):
    """Takes what is bright for near."""

    def forward(self, image):
        return image.mean(1, keepdim=True), torch.ones_like(image[:, :1])


@pytest.fixture
def data(tmp_path):
    """Two photos, dark at the top, labelled near on the right."""
    folder = tmp_path / "data"
    (folder / "train").mkdir(parents=True)
    lines = []
    for name in ("00000", "00001"):
        rows = np.linspace(0, 255, 96).astype(np.uint8)[:, None, None]
        Image.fromarray(np.broadcast_to(rows, (96, 128, 3)).copy()).save(folder / "train" / f"{name}.jpg", quality=95)
        columns = np.linspace(0, 255, 64).astype(np.uint8)[None].repeat(48, 0)
        Image.fromarray(columns).save(folder / "train" / f"{name}.disparity.png")
        lines.append({"id": name, "group": "bsds500", "foreground": None, "split": "train"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


# ---- flat scenes


def test_a_flat_scene_is_a_plane_whatever_is_on_it_and_mostly_a_floor():
    y, x = (np.mgrid[:48, :48] + 0.5) / 48
    plane, turns = np.stack([np.ones(48 * 48), x.ravel(), y.ravel()], 1), []
    for seed in range(40):
        picture, disparity = plane_scene(seed, 48)
        assert picture.shape == (48, 48, 3) and 0 <= picture.min() < picture.max() <= 1
        assert disparity.min() == 0 and disparity.max() == 1
        slope, *_ = np.linalg.lstsq(plane, disparity.ravel(), rcond=None)
        assert np.abs(plane @ slope - disparity.ravel()).max() < 1e-4
        turns.append(np.arctan2(slope[2], slope[1]))
    assert {int(turn // (np.pi / 2)) for turn in turns} == {-2, -1, 0, 1}, "each side is nearest now and then"
    assert np.mean(np.abs(np.array(turns) - np.pi / 2) < np.pi / 4) > 0.45, "the lower one most often"
    np.testing.assert_array_equal(plane_scene(3, 48)[0], plane_scene(3, 48)[0])


def test_what_is_far_on_a_plane_is_drawn_finer():
    finer = []
    for seed in range(24):
        picture, disparity = plane_scene(seed, 96)
        detail = np.abs(np.diff(picture.mean(2), axis=1))[:, :-1]
        near = disparity[:, 1:-1] > 0.5
        finer.append(np.log((detail[~near].mean() + 1e-4) / (detail[near].mean() + 1e-4)))
    assert np.mean(finer) > 0.05


def test_somebodys_outline_is_painted_on_the_plane(data, tmp_path):
    mask = tmp_path / "mask.png"
    Image.new("L", (64, 64), 255).save(mask)
    assert any((plane_scene(seed, 48, (), [mask])[0] != plane_scene(seed, 48)[0]).mean() > 0.05 for seed in range(4))


def test_a_plane_of_hardly_any_pixels_is_refused():
    with pytest.raises(ValueError, match="size: must be at least 32"):
        plane_scene(0, 16)


# ---- labels from the network's own looks


def test_labels_are_mirrored_with_the_photo():
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    label = torch.rand(1, 1, 48, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        straight = ensembled(Brightness(), image, label)
        mirrored = ensembled(Brightness(), image.flip(-1), label.flip(-1))
    assert straight.shape == (1, 1, 96, 128) and float(straight.min()) == 0 and float(straight.max()) == 1
    torch.testing.assert_close(mirrored.flip(-1), straight, atol=1e-4, rtol=0)


class SoftBrightness(Brightness):
    """... and blurs it over 13 pixels."""

    def forward(self, image):
        soft = window_mean(image.mean(1, keepdim=True), 6)
        return soft, soft


def test_labels_have_their_edges_where_the_photo_has_them(model):
    image = torch.full((1, 3, 448, 448), 0.2)
    image[..., 224:] = 0.8
    flat = torch.full((1, 1, 64, 64), 0.5)
    with torch.inference_mode():
        label = ensembled(SoftBrightness(), image, flat, mending=model.mending)[0, 0, 224]  # a row, (448,)
    assert label[:216].max() < 0.1 and label[232:].min() > 0.9
    assert label[225] - label[222] > 0.6  # of a ramp of 13 pixels it is a quarter


def test_the_teacher_has_its_share_of_the_say_and_the_photo_is_looked_at_once(data, tmp_path):
    record = labelled_photos(data, "train")[0]
    labels = EnsembledLabels(Brightness(), tmp_path / "labels")
    first = labels(record)
    disparity = to_tensor(first)[0]
    assert disparity.shape == (96, 128)
    down, across = (float(disparity.diff(dim=dim).mean()) * side for dim, side in ((0, 96), (1, 128)))
    assert down == pytest.approx((1 - TEACHER) / TEACHER * across, rel=0.25) and across > 0.1
    labels.depth, looked = None, labels.depth  # what is asked again comes from the folder
    assert labels(record).tobytes() == first.tobytes()
    namesake = tmp_path / "others" / record.photo.name  # of another folder, for which the cache serves, too
    namesake.parent.mkdir()
    Image.new("RGB", (128, 96), "white").save(namesake)
    labels.depth = looked
    assert labels(replace(record, photo=namesake)).tobytes() != first.tobytes()


def test_people_of_hand_drawn_masks_hold_together_and_others_keep_their_relief(data, tmp_path):
    mask = np.zeros((48, 64), np.uint8)
    mask[8:36, 26:34] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    labels = EnsembledLabels(Brightness(), tmp_path / "labels")
    plain, other = labelled_photos(data, "train")
    person = to_tensor(labels(replace(plain, group="ccp_people", foreground=tmp_path / "mask.png")))
    thing = to_tensor(labels(replace(other, foreground=tmp_path / "mask.png")))
    inside = (..., slice(22, 66), slice(56, 64))
    assert person[inside].std() < 0.05 < 0.1 < thing[inside].std()  # the photo, and so the label, is near below
    far = (..., slice(0, 90), slice(96, 128))  # from its mask
    torch.testing.assert_close(thing[far], to_tensor(labels(plain))[far])


def trained(stage, data, out, *more):
    """The record's last entry after two steps of a stage."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    mix = "photos=1,collage=0,tabletop=0,layered=0,plane=0.05"
    given = [stage, "--data", str(data), "--out", str(out), "--sources", mix, *more]
    run(parser.parse_args([*given, "--steps", "2", "--batch-size", "2", "--workers", "0", "--device", "cpu"]))
    return json.loads((out / "weights" / "training.json").read_text())[-1]


def test_training_learns_from_looks(data, tmp_path):
    entry = trained("depth", data, tmp_path / "run", "--from", "weights", "--ensemble", "weights")
    assert entry["labels"] == "ensembled" and entry["sources"]["plane"] == 0.05
    assert list((tmp_path / "run" / "scenes").glob("label-*.png"))
    subjects = tmp_path / "subjects"
    subjects.mkdir()
    Image.new("L", (128, 96), 255).save(subjects / "00001.png")
    entry = trained("depth", data, tmp_path / "masks", "--from", "weights", "--subjects", str(subjects))
    assert entry["subjects"] == 1
    with pytest.raises(ValueError, match="subjects is for train depth"):
        trained("render", data, tmp_path / "other", "--subjects", str(subjects))
    with pytest.raises(ValueError, match="ensemble is for train depth"):
        trained("render", data, tmp_path / "other", "--ensemble", "weights")


def test_weights_get_another_encoder(data, tmp_path):
    start = DeepLens.from_pretrained("weights")
    other = "efficientnet-lite2" if start.config.encoder == "mobilenet_v2" else "mobilenet_v2"
    entry = trained("depth", data, tmp_path / "run", "--from", "weights", "--encoder", other)
    model = DeepLens.from_pretrained(tmp_path / "run" / "weights")
    assert model.config.encoder == other and "==" in entry["encoder_from"]
    for name, value in model.lens_blur.state_dict().items():  # all but depth stays
        assert value.equal(start.lens_blur.state_dict()[name]), name
    assert not model.orientation.write.weight.any()
    with pytest.raises(ValueError, match="encoder beside --from is for train depth"):
        trained("render", data, tmp_path / "other", "--from", "weights", "--encoder", other)
