"""Scenes that Blender lights: the program as a user runs it, where Blender's Python module is at hand."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "deeplens_hf" / "training"
PYTHON = os.environ.get("DEEPLENS_BPY")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="set DEEPLENS_BPY to a Python that has bpy (350 MB, and it wants numpy 1)"),
]


def rendered(program: str, folder: Path, *options: object) -> list[Path]:
    command = [PYTHON, PROGRAMS / program, folder, "--photos", ROOT / "examples", *options]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=300)
    return sorted(folder.iterdir())


def test_scenes_gleam_and_come_again(tmp_path):
    def made(folder: str, *options: object) -> dict[str, np.ndarray]:
        files = rendered("blender.py", tmp_path / folder, "--scenes", 6, "--size", 64, "--samples", 4, *options)
        return {file.name: np.load(file).astype(np.float32) for file in files}

    scenes = made("all")
    assert len(scenes) == 6 and {name.split("-")[0] for name in scenes} == {"day", "night"}
    for name, light in scenes.items():
        assert light.shape == (3, 64, 64) and 0 < float((light.max(0) > 1).mean()) < 0.3, name
    assert max(float(light.max()) for light in scenes.values()) > 4
    others = made("some", "--first", 1, "--step", 3)
    assert set(others) < set(scenes) and len(others) == 2
    for name, light in others.items():
        assert float(np.abs(light - scenes[name]).mean()) < 0.05 * float(scenes[name].mean()), name


def test_only_those_by_day_are_made(tmp_path):
    files = rendered("blender.py", tmp_path, "--scenes", 4, "--size", 32, "--samples", 1, "--only", "day")
    assert 0 < len(files) < 4 and all(file.name.startswith("day-") for file in files)


def test_depth_belongs_to_its_picture(tmp_path):
    """A step in depth mostly is an edge in the picture, and the nearest is 1, the farthest 0."""
    shares = []
    for file in rendered("blender_depth.py", tmp_path, "--scenes", 6, "--size", 96, "--samples", 4):
        scene = np.load(file)
        image, disparity = scene["image"].mean(-1), scene["disparity"].astype(float) / 255
        assert sorted(disparity.shape) == [72, 96] and image.shape == disparity.shape
        assert disparity.min() == 0 and disparity.max() == 1
        contrast, step = (np.abs(np.diff(values)) for values in (image, disparity))
        if (step > 0.1).sum() > 20:
            shares.append(np.median(contrast[step > 0.1]) / (np.median(contrast[step < 0.02]) + 1))
    assert len(shares) > 1 and np.median(shares) > 3
