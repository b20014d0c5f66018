"""The card and the files beside it: figures out of the benchmarks' JSON, nothing made up, older formats still read."""

import copy
import json
import re
import shutil
import struct
from dataclasses import asdict
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from test_pictures import profile

from deeplens_hf import DeepLens, DeepLensConfig, WeightsError, cli
from deeplens_hf.commands import share
from deeplens_hf.evaluation import commands, edges
from deeplens_hf.sharing.card import _render_table, edited_by_hand, make_card, read_evaluation, told_by
from deeplens_hf.sharing.release import fingerprint
from deeplens_hf.sharing.weights import CHECKOUT_WEIGHTS, HUB_ID
from deeplens_hf.training.record import origin

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
FROZEN = sorted((ROOT / "tests" / "frozen").glob("config-*.json"))
RECORD = [{"stage": "render", "steps": 9, "batch_size": 2, "lr": 1e-3, "seed": 3, "photos": 20, "minutes": 1.5}]


def means(name: str) -> list[dict]:
    return json.loads((BENCHMARKS / f"{name}.json").read_text())["summary"]


def test_figures_are_those_of_the_benchmarks():
    card = make_card(DeepLensConfig(), 10, "lab/lens", RECORD, BENCHMARKS)
    for row in means("render"):
        assert f"{row['psnr']:.2f} / {row['psnr_edges']:.2f}" in card.text, row
    for row in means("depth"):
        line = next(line for line in card.text.splitlines() if line.startswith(f"| {row['set']}, {row['predictor']} |"))
        assert f"| {row['photos']} | {row['order']:.3f} | {row['error']:.3f} |" in line
    told = {(each.dataset_name, each.metric_name): each.metric_value for each in card.data.eval_results}
    near = next(row for row in means("render") if (row["renderer"], row["focus"]) == ("deeplens", "near"))
    assert told[f"{near['kind']}, focus near", "SSIM"] == round(near["ssim"], 4)
    assert "psnr" in card.data.metrics
    again = ModelCard(str(card))  # as the Hub reads it
    assert len(again.data.eval_results) == len(told)
    assert {each.dataset_name for each in again.data.eval_results} == {name for name, _ in told}


def test_the_template_holds_no_measured_figure():
    template = (ROOT / "model_card.md").read_text()
    for row in means("render"):
        assert f"{row['psnr']:.2f}" not in template
    for row in means("depth"):
        assert f"{row['order']:.3f}" not in template


def test_gains_over_the_unlearned_slabs_are_above_0_where_the_weights_are_better():
    row = {"kind": "layered", "focus": "near", "psnr_edges": None}
    summary = [row | {"renderer": "deeplens", "psnr": 33.5}, row | {"renderer": "unlearned slabs", "psnr": 31.0}]
    assert _render_table(summary)["gains"] == [("layered, near", 2.5)]


def test_nothing_is_said_that_nobody_knows():
    card = str(make_card(DeepLensConfig(encoder="resnet-50", lens_blur="convolutional"), 10))
    assert "Nothing has been measured of these weights" in card
    assert "is for the owner of these weights to say here" in card
    assert "ResNet-50" in card and "2018 report" in card and "soft slabs" not in card
    assert "model-index" not in card and "None" not in card and "{{" not in card and "{%" not in card
    assert "1,800" not in card, "the shipped weights' data"
    assert 'from_pretrained(".")' in card
    assert re.search(r"\n{3,}", card) is None


def test_the_shipped_weights_tell_their_data():
    card = make_card(DeepLensConfig(), 10, HUB_ID, RECORD, BENCHMARKS)
    assert "licensed for research only" in card.text and "## Limits and biases" in card.text
    assert card.data.base_model is None


def test_every_table_is_a_table():
    card = make_card(DeepLensConfig(), 10, "lab/lens", RECORD * 2, BENCHMARKS, ["a.jpg", "b.jpg"], "lab/base", ["a/b"])
    lines = card.text.splitlines()
    rules = [i for i, line in enumerate(lines) if re.fullmatch(r"\|(---\|)+", line)]
    assert len(rules) == 3  # stages, render, depth
    for rule in rules:
        columns = lines[rule].count("|")
        rows = lines[rule - 1 : rule + 3]
        assert {line.count("|") for line in rows if line} == {columns}
        assert lines[rule - 2] == "", "a table needs a blank line before it"


def test_an_edit_by_hand_is_seen():
    card = str(make_card(DeepLensConfig(), 10, "lab/lens", RECORD))
    assert not edited_by_hand(card)
    assert not edited_by_hand(card.replace("\n", "\r\n")), "line ends are no edit"
    assert edited_by_hand(card.replace("Meant for photographs", "Meant for paintings"))
    assert edited_by_hand(card.replace("license: apache-2.0", "license: mit"))
    assert edited_by_hand(card + "\nMore.")
    assert edited_by_hand("# My model")


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ValueError, match="evaluation must be a folder that `deeplens evaluate --out` wrote"):
        make_card(DeepLensConfig(), 10, evaluation=tmp_path)


def test_dry_run_writes_what_would_be_pushed(model, model_folder, measured, tmp_path, capsys):
    arguments = ["push", "lab/lens", "--model", str(model_folder), "--evaluation", str(measured), "--photos"]
    assert cli.main([*arguments, "--dry-run", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    loaded = DeepLens.from_pretrained(tmp_path / "out")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
    header = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---\n")[1])
    assert header["base_model"] == HUB_ID, "the checkout's weights under another name"
    assert (tmp_path / "out" / "evaluation" / "depth.md").read_bytes() == (BENCHMARKS / "depth.md").read_bytes()
    assert cli.main([*arguments, "--dry-run", str(tmp_path / "out")]) == 2
    assert "--dry-run must name a new or empty folder" in capsys.readouterr().err


def sign(file, weights):
    file.write_text(json.dumps(json.loads(file.read_text()) | {"weights": weights}))


def test_figures_of_other_weights_are_refused(model, model_folder, measured, tmp_path, capsys):
    arguments = ["push", "lab/lens", "--model", str(model_folder), "--evaluation", str(measured), "--photos"]
    sign(measured / "depth.json", fingerprint(model))
    assert cli.main([*arguments, "--dry-run", str(tmp_path / "own")]) == 0
    sign(measured / "render.json", "0" * 64)
    assert cli.main([*arguments, "--dry-run", str(tmp_path / "others")]) == 2
    assert "evaluation must be of these weights" in capsys.readouterr().err and not (tmp_path / "others").exists()


def test_what_evaluate_wrote_names_the_weights(model, tmp_path, monkeypatch):
    row = {"disparity": "true", "kind": "layered", "scene": "a", "focus": "near"} | dict.fromkeys(edges.FIGURES, 30.0)
    monkeypatch.setattr(edges, "evaluate_edges", lambda *_: [row])
    commands.run("edges", model, tmp_path, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "edges.json").read_text())["weights"] == fingerprint(model)
    half = copy.deepcopy(model).half()
    assert fingerprint(half) == fingerprint(model), "weights are shared in half precision"
    half.depth = torch.compile(half.depth)
    assert fingerprint(half) == fingerprint(model), "a compiled part is the same part"
    half.upsampling.apply(lambda part: [torch.nn.init.ones_(p) for p in part.parameters(recurse=False)])
    assert fingerprint(half) != fingerprint(model)


def test_every_photo_is_shown_whatever_its_name(model_folder, measured, pixels, tmp_path):
    names = ("a/x.jpg", "b/X.png", "b/x.jpg", "x-2.jpg", "my photo (1) ü.jpg")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name)
    photos = [str(tmp_path / name) for name in names]
    command = ["push", "lab/lens", "--model", str(model_folder), "--evaluation", str(measured), "--photos", *photos]
    assert cli.main([*command, "--dry-run", str(tmp_path / "out")]) == 0
    there = sorted(file.name for file in (tmp_path / "out" / "previews").iterdir())
    assert there == ["X-2.jpg", "my photo (1) ü.jpg", "x-2-2.jpg", "x-3.jpg", "x.jpg"]
    shown = re.findall(r"^!\[.*\]\((previews/[^\s()]+)\)$", (tmp_path / "out" / "README.md").read_text(), re.M)
    assert sorted(unquote(each) for each in shown) == [f"previews/{name}" for name in there]


def test_previews_show_the_photos_colours_without_its_profile(model):
    """Of one in linear light, which would look far too dark."""
    xyz = {"r": (28576, 14581, 912), "g": (25238, 46992, 6363), "b": (9376, 3963, 46787)}  # sRGB's colours, / 65536
    tags = {f"{name}XYZ".encode(): b"XYZ " + bytes(4) + struct.pack(">3i", *value) for name, value in xyz.items()}
    tags |= {f"{name}TRC".encode(): b"curv" + bytes(8) for name in xyz}
    photo = model.open(Image.new("RGB", (96, 80), (55, 55, 55)), disparity=np.zeros((80, 96), np.float32))
    photo.picture.info["icc_profile"] = profile(b"RGB ", b"XYZ ", tags | {b"wtpt": b"XYZ " + bytes(20)})
    sheet = np.array(share.preview(photo))  # three pictures side by side
    height = len(sheet)
    for side in (sheet[:, : height // 2], sheet[:, -height // 2 :]):  # the photo and the refocused one
        assert np.median(side, axis=(0, 1)) == pytest.approx((128,) * 3, abs=2)


def test_a_release_that_cannot_be_is_refused_before_the_work(model_folder, photo_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(share, "preview", lambda photo: pytest.fail("rendered a preview"))
    for repo_id, evaluation, says in (("lab/lens", tmp_path, "holds no result"), ("lens", BENCHMARKS, "owner/name")):
        arguments = ["--evaluation", str(evaluation), "--photos", str(photo_file), "--dry-run", str(tmp_path / "out")]
        assert cli.main(["push", repo_id, "--model", str(model_folder), *arguments]) == 2
        assert says in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "repo_id, evaluation, says",
    [
        ("lens", BENCHMARKS, "repo_id must be owner/name, got 'lens'"),
        ("lab/lens", "here", "evaluation must be a folder"),
    ],
)
def test_a_dry_run_refuses_what_a_push_would_and_writes_nothing(
    model_folder, tmp_path, capsys, monkeypatch, repo_id, evaluation, says
):
    monkeypatch.chdir(tmp_path)
    arguments = ["push", repo_id, "--model", str(model_folder), "--evaluation", str(evaluation), "--photos"]
    assert cli.main([*arguments, "--dry-run", "out"]) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_new_model_takes_over_nobodys_record(tmp_path, monkeypatch):
    (tmp_path / "training.json").write_text(json.dumps(RECORD))
    monkeypatch.chdir(tmp_path)
    DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).save_release(tmp_path / "out", "lab/lens")
    assert "| render | 9 |" not in (tmp_path / "out" / "README.md").read_text()
    DeepLens.from_pretrained(tmp_path / "out").save_pretrained(tmp_path)
    DeepLens.from_pretrained(".").save_release(tmp_path / "again", "lab/lens")
    assert "| render | 9 |" in (tmp_path / "again" / "README.md").read_text(), "beside the weights"
    (tmp_path / "link").symlink_to(tmp_path)
    DeepLens.from_pretrained(".").save_pretrained(tmp_path / "link")  # where it is
    DeepLens.from_pretrained(".").save_pretrained(tmp_path / "copy")
    assert json.loads((tmp_path / "copy" / "training.json").read_text()) == RECORD, "it goes where the weights go"


@pytest.mark.parametrize("file", FROZEN, ids=lambda file: file.stem)
def test_configurations_of_every_format_keep_loading(file, tmp_path):
    fields = json.loads(file.read_text())
    DeepLens(DeepLensConfig(**fields)).save_pretrained(tmp_path)
    shutil.copy(file, tmp_path / "config.json")
    config = asdict(DeepLens.from_pretrained(tmp_path).config)
    assert {name: config[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"blur_width": "24"}, "blur_width in config.json must be of type int; got '24'"),
        ({"lens_blur": "box"}, "lens_blur must be one of slabs, convolutional"),
        ({"lenses": 2}, r"fields that this deeplens_hf does not know: \['lenses'\]"),
        ({"depth_width": 10**6}, "depth_width must be at most 1024; got 1000000"),
        ({"depth_size": 10**30}, "depth_size must be at most 8192"),
        ({"format_version": 99, "lenses": 2}, "format_version 99 is newer"),
    ],
)
def test_a_configuration_that_cannot_be_read(change, told, tmp_path):
    config = DeepLensConfig(depth_width=32, blur_width=8)
    DeepLens(config).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(asdict(config) | change))
    with pytest.raises(WeightsError, match=told):
        DeepLens.from_pretrained(tmp_path)


def test_precision(tmp_path):
    torch.manual_seed(0)
    model = DeepLens(DeepLensConfig(depth_width=32, depth_size=64, blur_width=8)).eval()
    model.save_pretrained(tmp_path)
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = model.predict_depth(image).disparity
        half = DeepLens.from_pretrained(tmp_path, dtype="bfloat16")
        assert next(half.depth.parameters()).dtype == torch.bfloat16
        maps = half.predict_depth(image)
        assert maps.disparity.dtype == torch.float32
        assert (maps.disparity - wanted).abs().mean() < 0.02
        assert half.render(image, maps.disparity, 0.5, 8.0).dtype == torch.float32
        double = DeepLens.from_pretrained(tmp_path, dtype=torch.float64)
        assert (double.predict_depth(image.double()).disparity - wanted).abs().max() < 1e-4
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 96, 3), dtype=np.uint8))
    results = [np.asarray(each.eval().open(picture).refocus(aperture=4)).astype(int) for each in (model, double)]
    assert np.abs(results[0] - results[1]).max() <= 1
    with pytest.raises(ValueError, match="dtype must be one of float32, float64, bfloat16, float16; got 'int8'"):
        DeepLens.from_pretrained(tmp_path, dtype="int8")


def test_what_cannot_be_loaded_so_is_told(tmp_path):
    DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="revision is of repositories on the Hub"):
        DeepLens.from_pretrained(tmp_path, revision="main")
    with pytest.raises(ValueError, match="device must be a device of this machine, got 'gpu'"):
        DeepLens.from_pretrained(tmp_path, map_location="gpu")


def test_a_configuration_of_brackets_alone_is_no_json(tmp_path):
    DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(WeightsError, match="config.json is no JSON"):
        DeepLens.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "text, told",
    [("{", "is no JSON"), ("[" * 100_000, "is no JSON"), ('["mine"]', "must be a list of entries")],
    ids=["cut", "brackets", "list"],
)
def test_a_record_that_cannot_be_read(text, told, tmp_path):
    DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).save_pretrained(tmp_path / "weights")
    (tmp_path / "weights" / "training.json").write_text(text)
    with pytest.raises(WeightsError, match=told):
        DeepLens.from_pretrained(tmp_path / "weights").save_release(tmp_path / "release", "lab/lens")


def test_a_folder_that_was_trained_from_is_no_repository(tmp_path, monkeypatch):
    """A card made in another folder would take first/weights for a model of that name on the Hub."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first" / "weights").mkdir(parents=True)
    assert origin("first/weights", [{"stage": "render"}]) == "./first/weights"
    assert origin("first/weights", [{"from": "lab/base"}, {"stage": "render"}]) == "lab/base"
    assert origin("first/weights", [{"from": "lab/older"}, {"from": "lab/base"}]) == "lab/base", "the last one"
    assert origin("lab/base", []) == "lab/base"
    assert origin(str(CHECKOUT_WEIGHTS), [{"from": "weights"}]) == HUB_ID
    model = DeepLens(DeepLensConfig(depth_width=32, blur_width=8))
    model.save_release(tmp_path / "release", "lab/lens", record=[{"stage": "render", "from": "./first/weights"}])
    assert "base_model" not in (tmp_path / "release" / "README.md").read_text().split("---")[1]


@pytest.mark.parametrize("folder", ["/home/alice/secret/weights", r"C:\Users\alice\secret\weights", "./secret/weights"])
def test_folders_of_ones_own_are_not_told_to_others(tmp_path, folder):
    model = DeepLens(DeepLensConfig(depth_width=32, blur_width=8))
    model.save_release(tmp_path, "lab/lens", record=[{"stage": "depth", "from": "lab/base"}, {"from": folder}])
    record = json.loads((tmp_path / "training.json").read_text())
    assert [entry["from"] for entry in record] == ["lab/base", "a folder"]
    assert model._base_model(record[1:], "lab/lens") is None, "nor is it taken for a folder of who reads it"
    assert not any(b"secret" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_what_others_wrote_into_a_record_or_a_card_stops_no_push(tmp_path):
    model = DeepLens(DeepLensConfig(depth_width=32, blur_width=8))
    record = [{"stage": "depth", "from": 5}, {"stage": "render", "from": ["a"]}]
    model.save_release(tmp_path, "lab/lens", record=record)
    assert json.loads((tmp_path / "training.json").read_text()) == record
    assert told_by("---\nlicense: [x\n---\n# A card") == {}


def test_an_evaluation_of_nothing_is_none(tmp_path):
    (tmp_path / "render.json").write_text('{"summary": [], "rows": []}')
    with pytest.raises(ValueError, match="holds no result"):
        read_evaluation(tmp_path)


@pytest.mark.slow
def test_weights_of_a_compiled_module_have_their_plain_names(tmp_path):
    model = DeepLens(DeepLensConfig(depth_width=32, blur_width=8))
    model.upsampling = torch.compile(model.upsampling)
    model.save_pretrained(tmp_path)
    DeepLens.from_pretrained(tmp_path)  # strict
