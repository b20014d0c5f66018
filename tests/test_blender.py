"""Scenes that Blender lights: the program as a user runs it, where Blender's Python module is at hand."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).resolve().parent.parent / "deeplens_hf" / "training" / "blender.py"
PYTHON = os.environ.get("DEEPLENS_BPY")


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="set DEEPLENS_BPY to a Python that has bpy (350 MB, and it wants numpy 1)")
def test_scenes_gleam_and_come_again(tmp_path):
    photos = Path(__file__).resolve().parent.parent / "examples"

    def made(folder: str, *options: object) -> dict[str, np.ndarray]:
        small = ("--scenes", 6, "--size", 64, "--samples", 4, *options)
        command = [PYTHON, PROGRAM, tmp_path / folder, "--photos", photos, *small]
        subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=300)
        return {file.name: np.load(file).astype(np.float32) for file in sorted((tmp_path / folder).iterdir())}

    scenes = made("all")
    assert len(scenes) == 6 and {name.split("-")[0] for name in scenes} == {"day", "night"}
    for name, light in scenes.items():
        assert light.shape == (3, 64, 64) and 0 < float((light.max(0) > 1).mean()) < 0.3, name
    assert max(float(light.max()) for light in scenes.values()) > 4
    others = made("some", "--first", 1, "--step", 3)
    assert set(others) < set(scenes) and len(others) == 2
    for name, light in others.items():
        assert float(np.abs(light - scenes[name]).mean()) < 0.05 * float(scenes[name].mean()), name
