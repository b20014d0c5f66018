"""The larger network that teaches depth: people set into scenes, its weights, its training, its say in labels."""

import argparse
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deeplens_hf import DeepLens
from deeplens_hf.training import large_stage
from deeplens_hf.training.arguments import add_arguments
from deeplens_hf.training.commands import run
from deeplens_hf.training.data import PhotoRecord, labelled_photos
from deeplens_hf.training.ensemble import LARGE, EnsembledLabels, ensembled
from deeplens_hf.training.large import CHANNELS, LargeDepth, dinov2_small
from deeplens_hf.training.pretrained import map_dinov2
from deeplens_hf.training.standing import standing

GROUND = np.linspace(0, 255, 96).astype(np.uint8)[:, None].repeat(128, 1)  # disparity of a plain up to the horizon


@pytest.fixture
def data(tmp_path):
    """Two photos with the mask of a person, red, whose feet are seen, and one whom the photo cuts off."""
    folder = tmp_path / "data"
    (folder / "train").mkdir(parents=True)
    lines = []
    for name, bottom in (("00000", 44), ("00001", 48)):
        mask = np.zeros((48, 64), np.uint8)
        mask[8:bottom, 26:38] = 255
        photo = np.full((96, 128, 3), 90, np.uint8)
        photo[mask.repeat(2, 0).repeat(2, 1) > 0] = (250, 0, 0)
        Image.fromarray(photo).save(folder / "train" / f"{name}.jpg", quality=95)
        Image.fromarray(mask).save(folder / "train" / f"{name}.foreground.png")
        Image.fromarray(GROUND[::2, ::2]).save(folder / "train" / f"{name}.disparity.png")
        lines.append({"id": name, "group": "ccp_people", "foreground": "annotated", "split": "train"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def lit(tmp_path):
    folder = tmp_path / "lit"
    folder.mkdir()
    grey = np.random.default_rng(0).integers(60, 200, (96, 128, 3)).astype(np.uint8)
    np.savez(folder / "lit-0-128-00000.npz", image=grey, disparity=GROUND)
    return folder


@pytest.fixture(scope="module")
def large():
    torch.manual_seed(0)
    return LargeDepth(dinov2_small()).eval()


def peopled(record: PhotoRecord, disparity: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Forty scenes of grey ground with this person in them, where there was a place."""
    image = np.full((*disparity.shape, 3), 90, np.uint8)
    drawn = (standing(image, disparity, [record], np.random.default_rng(seed)) for seed in range(40))
    return [scene for scene in drawn if scene[2].any()]


# ---- people in scenes of exact depth


def test_who_is_seen_to_the_feet_is_as_far_away_as_the_ground_there(data):
    scenes = peopled(labelled_photos(data, "train")[0], GROUND)
    assert len(scenes) > 20
    compared = 0
    for picture, disparity, mask in scenes:
        solid = mask > 250
        assert np.all(picture[solid][:, 0] > picture[solid][:, 1].astype(int) + 60), "a person where the mask says so"
        if (mask[-1] > 0).any():
            continue  # the frame cuts their feet off
        lowest, column = np.argwhere(solid)[-1]
        aside = column - 40 if column > 64 else column + 40
        if not mask[lowest, aside]:  # ground, and nobody else
            assert abs(int(disparity[lowest, column]) - int(disparity[lowest, aside])) <= 6
            compared += 1
    assert compared > 5


def test_a_person_is_of_one_distance_from_foot_to_head(data):
    scenes = peopled(labelled_photos(data, "train")[0], GROUND)
    flat = [np.ptp(disparity[mask > 250].astype(int)) for _, disparity, mask in scenes]
    assert np.mean(np.array(flat) == 0) > 0.4  # the others show two or three people


def test_who_is_cut_off_stands_nearer_than_the_frame_shows(data):
    scenes = peopled(labelled_photos(data, "train")[1], GROUND)
    assert len(scenes) > 10
    for _, disparity, mask in scenes:
        assert (mask[-1] > 128).any()
        assert disparity[mask > 128].max() == 255


def test_what_is_nearer_hides_them(data):
    pillar = (slice(0, 80), slice(44, 86))
    disparity = GROUND.copy()
    disparity[pillar] = 230
    behind = 0
    for _, drawn, mask in peopled(labelled_photos(data, "train")[0], disparity):
        free = mask[pillar] == 0
        if not free.any():
            continue
        assert (drawn[pillar][mask[pillar] > 128] >= drawn[pillar][free].max()).all()
        behind += bool(free.all() and (mask[:80, [42, 87]] > 128).any())
    assert behind > 0, "nobody was half hidden"


def test_nobody_stands_on_a_wall_or_hangs_from_a_ceiling(data):
    person = labelled_photos(data, "train")[0]
    assert not peopled(person, np.full((96, 128), 128, np.uint8))
    assert not peopled(person, GROUND[::-1].copy())


# ---- the network


def test_it_looks_at_any_shape_and_only_its_decoder_learns(large):
    with torch.inference_mode():
        for h, w in ((96, 128), (200, 90)):
            disparity = large(torch.rand(2, 3, h, w))
            assert disparity.shape[:2] == (2, 1) and max(disparity.shape[-2:]) == 112
            assert disparity.shape[-2] / disparity.shape[-1] == pytest.approx(h / w, rel=0.1)
    trained = {name.split(".")[0] for name, value in large.named_parameters() if value.requires_grad}
    assert trained == {"decoder"}
    assert not large.train().backbone.training
    large.eval()


def test_it_comes_back_from_its_folder(large, tmp_path):
    large.save(tmp_path)
    image = torch.rand(1, 3, 96, 128)
    with torch.inference_mode():
        torch.testing.assert_close(LargeDepth.load(tmp_path)(image), large(image), atol=2e-2, rtol=0)  # fp16
    with pytest.raises(FileNotFoundError):
        LargeDepth.load(tmp_path / "nowhere")


def test_the_packages_names_are_mapped():
    net = dinov2_small().state_dict()
    names = {"q_proj": "attention.query", "k_proj": "attention.key", "v_proj": "attention.value"}
    given = {}
    for name, value in net.items():
        for ours, theirs in names.items():
            name = name.replace(f"attention.{ours}", f"attention.{theirs}")
        name = name.replace("o_proj", "output.dense")
        if name.endswith("position_embeddings"):
            given["onnx::Concat_1957"], given["onnx::Reshape_1962"] = value[:, :1], value[:, 1:]
        elif value.ndim == 2 and "layer." in name:
            given[f"/backbone/encoder/{name[8:-7].replace('.', '/').replace('layer/', 'layer.', 1)}/MatMul"] = value.T
        else:
            given[f"backbone.{name}"] = value
    mapped = map_dinov2(given)
    assert mapped.keys() == net.keys()
    for name, value in mapped.items():
        assert name == "embeddings.mask_token" or value.equal(net[name]), name
    assert mapped["embeddings.mask_token"].shape == (1, CHANNELS)
    del given["backbone.layernorm.weight"]
    with pytest.raises(KeyError, match="layernorm.weight"):
        map_dinov2(given)


# ---- its say


class Ramp(nn.Module):
    """Takes what lies in one direction for near."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, image):
        side = image.shape[self.dim]
        shape = [1, 1, 1, 1]
        shape[self.dim] = side
        ramp = torch.linspace(0, 1, side).view(shape).expand(len(image), 1, *image.shape[-2:])
        return (ramp, ramp) if self.dim == -2 else ramp


def test_it_says_more_of_the_broad_shape_than_the_small_look():
    image, flat = torch.full((1, 3, 128, 128), 0.5), torch.full((1, 1, 64, 64), 0.5)
    with torch.inference_mode():
        alone, both = (ensembled(Ramp(-2), image, flat, large)[0, 0] for large in (None, Ramp(-1)))
    middle = (slice(40, 88), slice(40, 88))
    down, across = (float(both[middle].diff(dim=dim).mean()) for dim in (0, 1))
    assert float(alone[middle].diff(dim=1).abs().mean()) < 1e-4
    assert across == pytest.approx(down * LARGE / (1 - LARGE), rel=0.15) and across > 1e-3


def test_labels_with_it_are_kept_apart(data, large, tmp_path):
    depth = DeepLens.from_pretrained("weights").depth
    assert EnsembledLabels(depth, tmp_path).name != EnsembledLabels(depth, tmp_path, large).name


# ---- `deeplens train large`, and what it made given to `deeplens train depth`


def trained(*given):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(
        parser.parse_args([*map(str, given), "--steps", "1", "--batch-size", "2", "--workers", "0", "--device", "cpu"])
    )


def test_it_is_trained_on_scenes_and_then_teaches(data, lit, large, tmp_path, monkeypatch):
    monkeypatch.setattr(large_stage, "load_dinov2_small", lambda: large.backbone)
    weights = trained(
        "large", "--data", data, "--lit", lit, "--out", tmp_path / "large", "--tabletops", 1, "--scenes", 1
    )
    record = json.loads((weights / "training.json").read_text())
    assert record[-1]["stage"] == "large" and record[-1]["lit"] == 1
    assert record[-1]["sources"]["standing"] > 0 == record[-1]["sources"]["photos"]
    made = LargeDepth.load(weights)
    assert not made.decoder.read.weight.equal(large.decoder.read.weight)
    layer = "backbone.layernorm.bias"
    assert made.state_dict()[layer].equal(large.state_dict()[layer].half().float())

    more = ["large", "--data", data, "--lit", lit, "--tabletops", 1, "--scenes", 1, "--from", weights, "--tune", "0.5"]
    shares = []
    learn = large_stage.fit
    monkeypatch.setattr(large_stage, "fit", lambda *given: shares.append(given[3].slow) or learn(*given))
    tuned = LargeDepth.load(trained(*more, "--out", tmp_path / "tuned"))
    assert shares == [{"backbone": 0.5}], "of the decoder's rate"
    assert not tuned.state_dict()[layer].equal(made.state_dict()[layer])

    mix = "photos=0.7,collage=0,tabletop=0,layered=0,standing=0.3"
    given = ["depth", "--data", data, "--lit", lit, "--from", "weights", "--sources", mix, "--large", weights]
    taught = trained(*given, "--ensemble", "weights", "--out", tmp_path / "depth")
    assert json.loads((taught / "training.json").read_text())[-1]["labels"] == "ensembled with large"
    with pytest.raises(ValueError, match="give both"):
        trained(*given, "--out", tmp_path / "alone")


def test_it_is_told_what_it_cannot_learn_from(data, lit, tmp_path):
    with pytest.raises(ValueError, match="scenes of known depth"):
        trained("large", "--data", data, "--lit", lit, "--out", tmp_path / "run", "--sources", "lit=0.5")
    with pytest.raises(ValueError, match="freeze, keep and push_to are for"):
        trained("large", "--data", data, "--out", tmp_path / "run", "--freeze", "depth")
    with pytest.raises(ValueError, match="no large.safetensors in weights"):
        trained("large", "--data", data, "--out", tmp_path / "run", "--from", "weights")
    with pytest.raises(ValueError, match="tune must be from 0 to 1, for train large"):
        trained("depth", "--data", data, "--out", tmp_path / "run", "--tune", "0.1")
    with pytest.raises(ValueError, match="standing need a folder of lit scenes"):
        trained("large", "--data", data, "--out", tmp_path / "r", "--sources", "photos=0,collage=0,standing=1")
