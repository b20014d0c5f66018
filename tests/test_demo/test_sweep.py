"""What visitors leave on the disk, and gradio forgets, goes."""

import os
import time
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="NO BROWSER TESTS: gradio is not installed")

from deeplens_hf.demo import sweep as module  # noqa: E402
from deeplens_hf.demo.sweep import keep_tidy, sweep  # noqa: E402


def test_what_nobody_touched_for_long_goes_with_its_folders_and_nothing_else(tmp_path):
    for name in ("a/b/upload.jpg", "a/result.jpg", "c/astronaut.jpg", "tmp1234"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (0, 0))  # as a copy has it
    sweep(tmp_path, 100)
    assert len([file for file in tmp_path.rglob("*") if file.is_file()]) == 4, "all are new"
    sweep(tmp_path, 100, {"astronaut.jpg"}, now=time.time() + 101)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [tmp_path / "c" / "astronaut.jpg"]
    assert [file.name for file in tmp_path.iterdir()] == ["c"]
    sweep(tmp_path / "nowhere", 100)


def test_the_page_has_a_folder_of_its_own_and_empties_that_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    left, others = tmp_path / "deeplens_hf" / "left" / "photo.jpg", tmp_path / "another" / "photo.jpg"
    for file in (left, others):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x")
    swept = []
    monkeypatch.setattr(module, "Thread", lambda target, args, **_: swept.append(args) or Started())
    keep_tidy(["coffee.jpg"])
    assert os.environ["GRADIO_TEMP_DIR"] == str(tmp_path / "deeplens_hf")
    keep_tidy(["coffee.jpg"])  # of a second page in the same program
    assert os.environ["GRADIO_TEMP_DIR"] == str(tmp_path / "deeplens_hf")
    (folder, kept), _ = swept
    sweep(Path(folder), -10, kept)
    assert not left.exists() and others.exists() and kept == {"coffee.jpg"}


class Started:
    def start(self) -> None:
        pass
