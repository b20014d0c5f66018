"""docs/finetune.md, run to the letter on a Hub of our own, with fewer steps; photos in the forms that people have."""

import json
import os
import pickle
import re
import shlex
from io import BytesIO
from pathlib import Path

import hub_double
import numpy as np
import pytest
import torch
import yaml
from hub_client import Client
from hub_double import OWNER, HubDouble, Repo
from PIL import Image

from deeplens_hf.training.data import labels_mark
from deeplens_hf.training.photo_sets import PhotoSet, StreamedPhotos, open_table, unpack

ROOT = Path(__file__).resolve().parent.parent
BASE, TEACHER, MINE = "deeplens-hf/deeplens", "depth-anything/Depth-Anything-V2-Small-hf", "you/deeplens-insects"
TINY = "--steps 2 --batch-size 1 --scenes 2 --workers 0 --device cpu --samples-every 2"
ONLY_PHOTOS = "--sources photos=1,collage=0,tabletop=0,layered=0"


def blocks(language: str) -> list[str]:
    text = (ROOT / "docs" / "finetune.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines]


def serve(hub: HubDouble, repo_id: str, folder: Path) -> None:
    hub.repos[repo_id] = Repo()
    hub.repos[repo_id].commit("main", {file.name: file.read_bytes() for file in folder.iterdir()}, None)


def teacher(folder: Path) -> Path:
    """A depth model of the family that the tutorial names, small and untrained."""
    from transformers import AutoModelForDepthEstimation, DepthAnythingConfig, Dinov2Config

    backbone = Dinov2Config(
        image_size=28, patch_size=14, num_hidden_layers=4, hidden_size=32, num_attention_heads=2, intermediate_size=32,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=32, neck_hidden_sizes=[8] * 4, fusion_hidden_size=8,
        head_hidden_size=4, patch_size=14,
    )  # fmt: skip
    torch.manual_seed(0)
    network = AutoModelForDepthEstimation.from_config(config)
    for weights in network.parameters():
        torch.nn.init.normal_(weights, 0, 0.15)
    network.save_pretrained(folder)
    settings = {"image_processor_type": "DPTImageProcessor", "size": {"height": 28, "width": 28}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.slow
def test_the_tutorial(tmp_path, model_folder, pixels):
    for folder, names in (("my_photos", ["moth.jpg", "fly.jpg"]), ("held_out", ["bee.jpg"])):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.fromarray(pixels).save(tmp_path / folder / name)
    with HubDouble() as hub:
        serve(hub, BASE, model_folder)
        serve(hub, TEACHER, teacher(tmp_path / "teacher"))
        with Client(hub.environment(tmp_path / "home", OWNER)) as client:
            client.run(f"import os; os.chdir({str(tmp_path)!r}); from deeplens_hf import cli")
            for command in commands():
                if command[0] == "train":
                    more = ONLY_PHOTOS if command[1] == "depth" else "--size 64 --push-to you/at-once --private"
                    command += [*TINY.split(), *more.split()]
                if command[0] == "refocus":
                    command += ["--workers", "1", "--device", "cpu"]
                told = "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n"
                answer = client.run(f"{told}    answer = cli.main({command!r})")
                assert answer == 0, (command, answer)
            for block in blocks("python"):
                assert client.run(block + "\nanswer = 'fine'") == "fine"
        assert Image.open(tmp_path / "bee.png").size == (128, 96)
        for name in ("before/bee.jpg", "after/bee.jpg", "runs/depth/samples/step-000002.png"):
            assert (tmp_path / name).is_file(), name
        pushed = hub.repos[MINE]
        assert pushed.private
        files = pushed.files()
        record = json.loads(files["training.json"])
        assert [entry["stage"] for entry in record[-2:]] == ["depth", "render"]
        card = yaml.safe_load(files["README.md"].decode().split("---")[1])
        assert card["base_model"] in (BASE, [BASE])
        at_once = hub.repos["you/at-once"]
        assert at_once.private and at_once.files()["training.json"] == files["training.json"]
        assert at_once.files()["model.safetensors"] == files["model.safetensors"]
        depth, render = record[-2:]
        assert depth["from"] == render["from"] == BASE
        assert depth["freeze"] == ["depth.encoder"] and depth["photos"] == 2


@pytest.fixture
def photos(tmp_path, pixels):
    """An image folder: one photo that lies on its side, depth with 16 bits, a mask for one of three."""
    folder, lines = tmp_path / "photos", []
    folder.mkdir()
    ramp = np.linspace(0, 65535, 60).astype(np.uint16)[:, None].repeat(80, 1)  # (60, 80): bright below
    for number in range(3):
        exif = Image.Exif()
        exif[274] = 6 if number == 0 else 1  # turn by 90 degrees to see it upright
        Image.fromarray(pixels).save(folder / f"{number}.jpg", exif=exif)
        Image.fromarray(ramp.T.copy() if number == 0 else ramp).save(folder / f"{number}.depth.png")
        line = {"file_name": f"{number}.jpg", "depth_file_name": f"{number}.depth.png", "mask_file_name": None}
        if number == 1:
            Image.fromarray(np.eye(60, 80) > 0).save(folder / "1.mask.png")
            line["mask_file_name"] = "1.mask.png"
        lines.append(json.dumps(line) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines))
    return folder


def test_an_image_folder_is_unpacked_once(photos, tmp_path):
    """Upright, disparity as given, the mask where there is one; the next start finds it there."""
    records = unpack(PhotoSet(str(photos)), tmp_path / "out", with_depth=True)
    assert [Image.open(record.photo).size for record in records] == [(96, 128), (128, 96), (128, 96)]
    assert [record.foreground is not None for record in records] == [False, True, False]
    near = np.asarray(Image.open(records[1].disparity))
    assert near[0].max() < 4 and near[-1].min() > 251
    assert np.asarray(Image.open(records[1].foreground)).max() == 255
    times = [record.photo.stat().st_mtime_ns for record in records]
    again = unpack(PhotoSet(str(photos)), tmp_path / "out", with_depth=True)
    assert [record.photo.stat().st_mtime_ns for record in again] == times
    Image.new("RGB", (64, 64)).save(photos / "1.jpg")
    changed = unpack(PhotoSet(str(photos)), tmp_path / "out", with_depth=True)
    assert Image.open(changed[1].photo).size == (64, 64), "a folder that changed is read again"


def test_depth_may_be_a_distance_and_have_another_name(photos, tmp_path):
    far_below = unpack(PhotoSet(str(photos), depth_is="depth"), tmp_path / "out", with_depth=True)
    turned = np.asarray(Image.open(far_below[1].disparity)).astype(int)
    assert turned[1:20].mean() > turned[-20:].mean(), "what is far is dark"
    renamed = PhotoSet(str(photos), columns=(("depth", "mask"), ("mask", "depth")))
    with pytest.raises(ValueError, match="photo 0 of .*: depth must be there"):
        unpack(renamed, tmp_path / "out", with_depth=True)
    with pytest.raises(ValueError, match="columns must be ROLE=NAME .*got depth=z"):
        unpack(PhotoSet(str(photos), columns=(("depth", "z"),)), tmp_path / "out", with_depth=True)
    (photos / "metadata.jsonl").unlink()
    with pytest.raises(ValueError, match="has no depth to learn from"):
        unpack(PhotoSet(str(photos)), tmp_path / "out", with_depth=True)
    assert len(unpack(PhotoSet(str(photos)), tmp_path / "out", with_depth=False)) == 7, "the renderer takes any picture"


@pytest.mark.parametrize("streaming", [False, True])
def test_what_datasets_cannot_read_is_told_with_its_folder(photos, streaming):
    with pytest.raises(ValueError, match="^data: .*photos with metadata.jsonl: .*split.*val"):
        open_table(PhotoSet(str(photos), "val"), streaming)
    (photos / "metadata.jsonl").write_text('{"file_name": "0.jpg"}\n{"file_name": }\n')
    with pytest.raises(ValueError, match="^data: .*photos with metadata.jsonl: .* in row 1$"):
        open_table(PhotoSet(str(photos)), streaming)
    for file in photos.iterdir():
        file.unlink()
    (photos / "notes.txt").write_text("no pictures yet")
    with pytest.raises(ValueError, match="^data must be a folder of pictures .*photos has no pictures$"):
        open_table(PhotoSet(str(photos)), streaming)


def test_a_data_set_that_is_not_there_is_told_as_data(monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="^data: there is no folder owner/none, and as a data set on the Hub: .*none"):
        open_table(PhotoSet("owner/none"), streaming=False)


def test_only_folders_are_splits(pixels, tmp_path):
    folder = tmp_path / "photos"
    for names, train in (
        (["bee.jpg", "fly.png", "steam_train.jpg", "test.jpg", "dev-1.jpg", "val_d/moth.jpg"], 6),
        (["train/bee.jpg", "train/test-0.jpg", "test/fly.jpg"], 2),
    ):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / name)
        assert len(unpack(PhotoSet(str(folder)), tmp_path / "out", with_depth=False)) == train
    assert len(unpack(PhotoSet(str(folder), "test"), tmp_path / "out", with_depth=False)) == 1


def test_a_mask_that_cannot_be_the_photos_is_told_as_a_mask(photos, pixels, tmp_path):
    for mask, message in (
        (Image.fromarray(pixels[:60, :80]), "mask must be a grey picture; this one has colours"),
        (Image.new("L", (60, 80)), "mask must lie as the upright photo, 128 x 96; this one is 60 x 80"),
    ):
        mask.save(photos / "1.mask.png")
        with pytest.raises(ValueError, match=f"photo 1 of .*: {message}"):
            unpack(PhotoSet(str(photos)), tmp_path / "out", with_depth=True)


def test_a_stream_is_the_same_wherever_one_starts(photos):
    """What a resumed run, a worker or another process reads at a position does not depend on what it read before."""
    whole = StreamedPhotos(PhotoSet(str(photos)), length=8, batch_size=2, seed=5)
    samples = [whole[position] for position in range(8)]  # beyond the three photos: again, in another order
    late = StreamedPhotos(PhotoSet(str(photos)), length=8, batch_size=2, seed=5)
    for position in (5, 7, 1):
        assert all(torch.equal(late[position][name], samples[position][name]) for name in samples[position])
    assert samples[0]["image"].shape == samples[1]["image"].shape, "one shape a step"
    assert {float(sample["has_foreground"]) for sample in samples} == {0.0, 1.0}
    with pytest.raises(ValueError, match="takes no labels"):
        StreamedPhotos(PhotoSet(str(photos), labels="embedded"), length=8, batch_size=2, seed=5)


def test_a_stream_can_be_sent_to_a_worker_that_is_not_forked(photos):
    stream = StreamedPhotos(PhotoSet(str(photos)), length=8, batch_size=2, seed=5)
    first = stream[0]
    sent = pickle.loads(pickle.dumps(stream))
    for position, sample in ((4, stream[4]), (0, first)):
        assert all(torch.equal(sent[position][name], sample[name]) for name in sample)


def encoded(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


DATA_SETS = [  # what `datasets` asks of the Hub, beside what models need
    (rf"GET /api/datasets/{hub_double.ID}/tree/([^/]+)(?:/.*)?", hub_double.Handler.tree),
    (rf"GET /api/datasets/{hub_double.ID}(?:/revision/(.+))?", hub_double.Handler.info),
    (rf"GET /datasets/{hub_double.ID}/resolve/([^/]+)/(.+)", hub_double.Handler.resolve),
]


@pytest.mark.slow
def test_a_data_set_on_the_hub(tmp_path, model_folder, pixels, monkeypatch):
    """Its id in place of a folder: unpacked, streamed and refocused, where a broken picture is one that fails."""
    monkeypatch.setattr(hub_double, "ROUTES", hub_double.ROUTES + DATA_SETS)
    files = {"metadata.csv": b"file_name,depth_file_name\n0.png,0.depth.png\n1.png,1.depth.png\n"}
    for name in ("0.png", "1.png"):
        files |= {name: encoded(Image.fromarray(pixels)), name.replace(".", ".depth."): encoded(Image.new("L", (8, 6)))}
    trip = {"a.png": files["0.png"], "b.png": b"no picture", "c.png": files["1.png"]}
    program = f"""
import contextlib, io, os
os.chdir({str(tmp_path)!r})
from pathlib import Path
from deeplens_hf import cli
from deeplens_hf.training.photo_sets import PhotoSet, StreamedPhotos, unpack
photos = PhotoSet("owner/photos")
records = unpack(photos, Path("unpacked"), with_depth=True)
first = unpack(photos, Path("unpacked"), with_depth=True, most=1)
sample = StreamedPhotos(photos, length=4, batch_size=2, seed=0)[3]
told = io.StringIO()
with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
    command = ["refocus", "owner/trip", "--out", "out", "--model", {str(model_folder)!r}, "--workers", "1"]
    status = cli.main([*command, "--device", "cpu", "--suffix", ".jpg"])
answer = [len(records), len(first), float(sample["has_disparity"]), status, told.getvalue()]
"""
    with HubDouble() as hub, Client(hub.environment(tmp_path / "home", OWNER)) as client:
        for name, content in (("owner/photos", files), ("owner/trip", trip)):
            hub.repos[name] = Repo()
            hub.repos[name].commit("main", content, None)
        answer = client.run(program)
    assert answer[:4] == [2, 1, 1.0, 1], answer
    assert "2 written, 0 already there, 1 failed" in answer[4] and "owner/trip[1]: source must be" in answer[4]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["00000000.jpg", "00000002.jpg"]


@pytest.mark.parametrize("kind", ["ones", "deep ones", "bytes in 16 bits", "transparency"])
def test_masks_as_programs_write_them(photos, tmp_path, kind):
    subject = np.zeros((60, 80), np.uint8)
    subject[20:40, 30:60] = 1
    values = {"ones": subject, "deep ones": subject.astype(np.uint16), "bytes in 16 bits": subject * np.uint16(255)}
    clear = Image.merge("LA", (Image.new("L", (80, 60), 255), Image.fromarray(subject * 255)))
    (clear if kind == "transparency" else Image.fromarray(values[kind])).save(photos / "1.mask.png")
    records = unpack(PhotoSet(str(photos)), tmp_path / "out", with_depth=True)
    mask = np.asarray(Image.open(records[1].foreground).resize((80, 60)))
    assert mask[30, 45] > 250 and mask[5, 5] < 5


def test_an_empty_mask_stays_empty(photos, tmp_path):
    Image.new("RGBA", (80, 60), "black").save(photos / "1.mask.png")
    records = unpack(PhotoSet(str(photos)), tmp_path / "out", with_depth=True)
    assert np.asarray(Image.open(records[1].foreground)).max() == 0


def test_few_of_the_levels_are_spread_before_they_become_bytes(photos, tmp_path):
    ramp = np.linspace(100, 300, 60)[:, None].repeat(80, 1).astype(np.uint16)  # millimetres, say, of 65535
    Image.fromarray(ramp).save(photos / "1.depth.png")
    records = unpack(PhotoSet(str(photos)), tmp_path / "out", with_depth=True)
    levels = np.asarray(Image.open(records[1].disparity))
    assert levels.min() == 0 and levels.max() == 255 and len(np.unique(levels)) > 40


def test_an_older_file_in_place_of_a_newer_one_is_read(photos, tmp_path):
    before = unpack(PhotoSet(str(photos)), tmp_path / "out", with_depth=True)[1].disparity.read_bytes()
    with Image.open(photos / "1.depth.png") as depth:
        Image.fromarray(255 - np.asarray(depth)).save(tmp_path / "other.png")
    os.utime(tmp_path / "other.png", (1e9, 1e9))
    os.replace(tmp_path / "other.png", photos / "1.depth.png")
    assert unpack(PhotoSet(str(photos)), tmp_path / "out", with_depth=True)[1].disparity.read_bytes() != before


def test_corrected_labels_are_another_run(photos, tmp_path):
    records = unpack(PhotoSet(str(photos)), tmp_path / "out", with_depth=True)
    before = labels_mark(records)
    assert before == labels_mark(unpack(PhotoSet(str(photos)), tmp_path / "out", with_depth=True))
    with Image.open(records[1].disparity) as depth:
        Image.fromarray(255 - np.asarray(depth)).save(records[1].disparity)
    assert labels_mark(records) != before
