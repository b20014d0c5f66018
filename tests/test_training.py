"""Training as users run it: each stage from the command line's own function, resumed, recorded, learning something."""

import argparse
import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from deeplens_hf import DeepLens
from deeplens_hf.training.commands import add_arguments, run
from deeplens_hf.training.data import DepthPhotos, labelled_photos
from deeplens_hf.training.loop import Run, fit, launch, learning_rate
from deeplens_hf.training.rendered import RenderedScenes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four labelled photos in the format of the manifest; the last one is held out."""
    root = tmp_path_factory.mktemp("data")
    (root / "photos" / "train").mkdir(parents=True)
    rng, lines = np.random.default_rng(0), []
    for i in range(4):
        base = root / "photos" / "train" / f"{i:05d}"
        Image.fromarray(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(f"{base}.jpg")
        ramp = np.linspace(0, 255, 60).astype(np.uint8)[:, None].repeat(80, 1)
        Image.fromarray(ramp).save(f"{base}.disparity.png")
        mask = np.zeros((60, 80), np.uint8)
        mask[20:50, 30:60] = 255
        Image.fromarray(mask).save(f"{base}.foreground.png")
        line = {"id": base.name, "group": "toy", "foreground": "annotated" if i % 2 else None}
        lines.append(line | {"split": "val" if i == 3 else "train"})
    (root / "photos" / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def train(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([*map(str, arguments), "--workers", "0", "--device", "cpu"]))


class Numbers(Dataset):
    """Position -> (x, 3 x): a line to be learned."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, position):
        x = torch.rand(1, generator=torch.Generator().manual_seed(position))
        return {"x": x, "y": 3 * x}


def fit_line(out, steps, stop=None):
    torch.manual_seed(0)
    line = nn.Linear(1, 1)

    def loss(batch, step):
        if stop is not None and loss.calls == stop:
            raise KeyboardInterrupt
        loss.calls += 1
        return {"loss": (line(batch["x"]) - batch["y"]).square().mean()}

    loss.calls = 0
    fit({"line": line}, loss, Numbers(steps * 8), Run(out, steps, 8, 0.1, workers=0, save_every=10), launch())
    return line


def test_the_loop_learns_and_logs_a_curve(tmp_path):
    line = fit_line(tmp_path, 200)
    assert float(line.weight.detach()) == pytest.approx(3, abs=0.3)
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(200))
    assert float(rows[-1]["loss"]) < 0.05 * float(rows[0]["loss"])


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    whole = fit_line(tmp_path / "whole", 40)
    with pytest.raises(KeyboardInterrupt):
        fit_line(tmp_path / "parts", 40, stop=25)
    resumed = fit_line(tmp_path / "parts", 40)
    assert torch.equal(whole.weight, resumed.weight) and torch.equal(whole.bias, resumed.bias)


def test_the_learning_rate_warms_up_and_decays(tmp_path):
    plan = Run(tmp_path, 1000, 1, 1.0)
    rates = [learning_rate(plan, step) for step in range(1000)]
    assert rates[0] < 0.05 and max(rates) == pytest.approx(1, abs=0.01) and rates[-1] < 0.03
    assert rates.index(max(rates)) == pytest.approx(30, abs=2)


def test_photos_are_read_augmented_and_repeatable(data):
    records = labelled_photos(data, "train")
    assert len(records) == 3 and len(labelled_photos(data, "val")) == 1
    photos = DepthPhotos(records, (48, 64), 6, 12, seed=5)
    first, again, last = photos[2], photos[2], photos[11]
    assert first["image"].shape == (3, 48, 48) and last["image"].shape == (3, 64, 64)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert {float(photos[i]["has_foreground"]) for i in range(3)} == {0.0, 1.0}
    with pytest.raises(ValueError, match="no manifest.jsonl"):
        labelled_photos(data / "photos" / "train", "train")


def test_scenes_are_traced_once_and_shown_in_many_ways(tmp_path):
    scenes = RenderedScenes([], tmp_path, scenes=1, length=9, seed=0, size=64)
    samples = [scenes[i] for i in range(9)]
    files = list(tmp_path.iterdir())
    assert len(files) == 1
    assert len({tuple(s["image"].flatten()[:300].tolist()) for s in samples}) > 3
    assert all(torch.equal(scenes[4][name], samples[4][name]) for name in samples[4])


@pytest.mark.slow
def test_every_stage_trains_resumes_and_keeps_its_record(data, tmp_path):
    common = ("--data", data, "--seed", 3, "--batch-size", 1)
    render = train("render", *common, "--out", tmp_path / "render", "--steps", 3, "--size", 64, "--scenes", 2)
    again = train("render", *common, "--out", tmp_path / "render", "--steps", 3, "--size", 64, "--scenes", 2)
    first, second = (DeepLens.from_pretrained(folder).state_dict() for folder in (render, again))
    assert all(torch.equal(first[name], second[name]) for name in first), "a finished run changes nothing"

    started = ("--from", render, "--steps", 2)
    depth = train("depth", *common, *started, "--out", tmp_path / "depth")
    trained = DeepLens.from_pretrained(depth).state_dict()
    changed = {name.split(".")[0] for name in trained if not torch.equal(trained[name], first[name])}
    assert changed == {"depth"}, "each stage trains its own modules"

    end = ("--from", depth, "--steps", 3, "--size", 64, "--scenes", 2, "--cache", tmp_path / "render" / "scenes")
    whole = train("all", *common, *end, "--out", tmp_path / "all")
    final = DeepLens.from_pretrained(whole).state_dict()
    changed = {name.split(".")[0] for name in final if not torch.equal(final[name], trained[name])}
    assert changed == {"depth", "lens_blur", "upsampling"}
    assert [entry["stage"] for entry in json.loads((whole / "training.json").read_text())] == ["render", "depth", "all"]


@pytest.mark.slow
def test_the_2018_variant_trains_without_any_data(tmp_path):
    weights = train(
        "render", "--out", tmp_path, "--lens-blur", "convolutional", "--steps", 2, "--batch-size", 1,
        "--size", 64, "--scenes", 2,
    )  # fmt: skip
    assert DeepLens.from_pretrained(weights).config.lens_blur == "convolutional"


def test_a_stage_that_needs_photos_says_so(tmp_path):
    with pytest.raises(ValueError, match="train depth needs --data"):
        train("depth", "--out", tmp_path)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        train("render", "--out", tmp_path, "--steps", 0)
