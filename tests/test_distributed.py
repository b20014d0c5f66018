"""Training on two processes: the same curve as one process with twice the batch, the same weights, one set of files."""

import csv
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from deeplens_hf.cli import build_parser

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = "--sources photos=1,collage=0,tabletop=0,layered=0"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """An image folder with depth; one photo in three has a mask, so that processes see different numbers of them."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    lines = ["file_name,depth_file_name,mask_file_name\n"]
    for number in range(6):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        ramp = np.linspace(0, 255, 60).astype(np.uint8)[:, None].repeat(80, 1)
        Image.fromarray(ramp if number % 2 else ramp[::-1].copy()).save(folder / f"{number}.depth.png")
        mask = f"{number}.mask.png" if number % 3 == 0 else ""
        if mask:
            Image.fromarray(np.uint8(255) * (rng.random((60, 80)) > 0.5)).save(folder / mask)
        lines.append(f"{number}.png,{number}.depth.png,{mask}\n")
    (folder / "metadata.csv").write_text("".join(lines))
    return folder


def train(photos, model_folder, out, *more, stage="depth", processes=1) -> subprocess.CompletedProcess:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)] if processes > 1 else []
    arguments = ["train", stage, "--from", model_folder, "--data", photos, "--out", out, "--device", "cpu"]
    arguments += ["--workers", "0", "--samples-every", "0", "--lr", "1e-3", *more]
    command = [sys.executable, *launcher, "-m", "deeplens_hf", *map(str, arguments)]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=400)


def curve(out: Path) -> list[dict[str, float]]:
    with (out / "curve.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(photos, model_folder, tmp_path):
    more = ("--steps", 4, *PHOTOS.split())
    one = train(photos, model_folder, tmp_path / "one", *more, "--batch-size", 2)
    assert one.returncode == 0, one.stderr
    two = train(photos, model_folder, tmp_path / "two", *more, "--batch-size", 1, processes=2)
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("weights: ") == 1, "one process writes"
    alone, shared = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(alone) == len(shared) == 4
    assert len({row["loss"] for row in alone}) == 4 and len({row["foreground"] for row in alone}) > 2
    for row, other in zip(alone, shared, strict=True):
        assert other == pytest.approx(row, rel=1e-3, abs=2e-5)
    first, second = (load_file(tmp_path / name / "weights" / "model.safetensors") for name in ("one", "two"))
    before = load_file(Path(model_folder) / "model.safetensors")
    moved = sum(float((first[name].float() - before[name].float()).abs().sum()) for name in first)
    apart = sum(float((first[name].float() - second[name].float()).abs().sum()) for name in first)
    assert moved > 0 and apart < 0.05 * moved, "half-precision files, Adam's first steps: not equal, but the same way"


@pytest.mark.slow
def test_two_processes_take_scenes_traced_and_in_layers_in_turns(photos, model_folder, tmp_path):
    """The fourth step trains the surfaces alone: a process that waited for the rest would wait for ever."""
    more = ("--steps", 4, "--lr", "1e-4", "--size", 64, "--scenes", 2, "--cache", tmp_path / "scenes")
    one = train(photos, model_folder, tmp_path / "one", *more, "--batch-size", 2, stage="render")
    assert one.returncode == 0, one.stderr
    two = train(photos, model_folder, tmp_path / "two", *more, "--batch-size", 1, stage="render", processes=2)
    assert two.returncode == 0, two.stderr
    for row, other in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert other == pytest.approx(row, rel=1e-3, abs=2e-5)


def test_the_job_says_what_it_needs_and_starts_a_command_that_is_one(monkeypatch):
    """docs/hf_job.py: its inline dependencies agree with pyproject.toml, and its command line is accepted."""
    script = (ROOT / "docs" / "hf_job.py").read_text()
    header = re.match(r"# /// script\n((?:# .*\n)+?)# ///\n", script)[1]
    needs = tomllib.loads(re.sub(r"^# ", "", header, flags=re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert needs["requires-python"] == project["requires-python"]
    (package,) = needs["dependencies"]
    name, extra = re.match(r"(\w+)\[(\w+)\] @ git\+https://", package).groups()
    assert name == project["name"] and extra in project["optional-dependencies"]

    started = []
    monkeypatch.setattr(sys, "argv", ["hf_job.py", "--data", "owner/photos", "--push-to", "owner/mine", "--steps", "7"])
    monkeypatch.setattr(
        subprocess, "run", lambda command: started.append(command) or subprocess.CompletedProcess(command, 3)
    )
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "docs" / "hf_job.py"))
    assert ended.value.code == 3, "the job fails where training does"
    words = started[0][started[0].index("deeplens_hf") + 1 :]
    args = build_parser(words).parse_args(words)
    assert (args.stage, args.data, args.push_to, args.steps) == ("depth", "owner/photos", "owner/mine", 7)


def test_commands_of_the_page_on_scale_are_accepted():
    text = (ROOT / "docs" / "scale.md").read_text().replace("\\\n", " ")
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    commands = [re.search(r"(?:^|-m )deeplens(?:_hf)? (.*)", line.partition(" #")[0]) for line in lines]
    commands = [shlex.split(found[1]) for found in commands if found]
    assert {command[0] for command in commands} == {"refocus", "train"} and len(commands) == 6
    for command in commands:
        build_parser(command).parse_args(command)
