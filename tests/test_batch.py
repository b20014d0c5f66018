"""Many photos at once, as people run it: what is written, skipped, reported, and shared among machines."""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from test_phone_depth import gdepth

from deeplens_hf import cli
from deeplens_hf.commands import batch
from deeplens_hf.commands.batch import Shard, find_photos, is_many, read_data_set, refocus_many
from deeplens_hf.commands.workers import Task, choose_crew, run_tasks
from deeplens_hf.files.data_sets import open_picture

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def album(tmp_path: Path, pixels: np.ndarray) -> Path:
    """Three photos, one of them in a folder of its own, a broken one and a note."""
    (tmp_path / "album" / "trip").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "trip/a.png"):
        Image.fromarray(pixels).save(tmp_path / "album" / name)
    (tmp_path / "album" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "album" / "note.txt").write_text("no photo")
    return tmp_path / "album"


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_a_folder_with_a_bad_photo(album, model, model_folder, tmp_path, capfd):
    """Every good photo is written where it belongs, as `refocus` alone writes it; the bad one is told at the end."""
    arguments = ["--out", tmp_path / "out", "--model", model_folder, "--aperture", 6, "--workers", 1, "--device", "cpu"]
    command = [str(each) for each in ("refocus", album, *arguments)]
    assert cli.main(command) == 1
    told = capfd.readouterr()
    assert told.out.startswith("3 written, 0 already there, 1 failed, ")
    assert told.err.splitlines()[-1].startswith(f"deeplens: error: {album / 'broken.jpg'}: source must be a picture")
    assert files(tmp_path / "out") == ["a.png", "b.jpg", "trip/a.png"]
    expected = np.asarray(model.open(album / "a.png").refocus(aperture=6)).astype(int)
    assert np.abs(np.asarray(Image.open(tmp_path / "out" / "trip" / "a.png")) - expected).max() <= 1

    (album / "broken.jpg").unlink()
    before = (tmp_path / "out" / "a.png").stat().st_mtime_ns
    (tmp_path / "out" / "b.jpg").unlink()
    (tmp_path / "out" / ".b.jpg.0a1b2c3d.part").write_bytes(b"half a picture of a run that was killed")
    assert cli.main(command) == 0
    assert capfd.readouterr().out.startswith("1 written, 2 already there, 0 failed, ")
    assert files(tmp_path / "out") == ["a.png", "b.jpg", "trip/a.png"]
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns == before, "what is there is not rendered again"


def test_nothing_left_to_do_needs_no_model(album, tmp_path, capfd):
    out = tmp_path / "out"
    (out / "trip").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "trip/a.png", "broken.jpg"):
        (out / name).write_bytes(b"")
    assert cli.main(["refocus", str(album), "--out", str(out), "--model", str(tmp_path / "nowhere")]) == 0
    assert capfd.readouterr().out.startswith("0 written, 4 already there, 0 failed")


def test_a_folder_of_depth_maps_is_no_depth_model(album, model_folder, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(batch, "run_tasks", lambda *_: pytest.fail("told before any worker starts"))
    command = ["refocus", album, "--depth", album / "trip", "--out", tmp_path / "out", "--model", model_folder]
    assert cli.main([str(each) for each in command]) == 2
    assert "--depth must be 'embedded' or a depth model" in capfd.readouterr().err


@pytest.mark.parametrize("told", [True, False])
def test_an_f_number_is_the_lenss_in_a_batch_as_it_is_alone(told, model_folder, tmp_path, pixels, capfd):
    """f/0.95 is no nominal aperture, but depth that came in metres and the EXIF tell that of the lens, or do not."""
    exif = Image.Exif()
    if told:
        lens = {ExifTags.Base.FocalLength: 5.0, ExifTags.Base.FocalLengthIn35mmFilm: 40}
        exif.get_ifd(ExifTags.IFD.Exif).update(lens)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", exif=exif, quality=95)
    (tmp_path / "photo.jpg").write_bytes(gdepth(file.getvalue()))
    command = ["refocus", tmp_path / "photo.jpg", "--depth", "embedded", "--model", model_folder, "--device", "cpu"]
    (tmp_path / "many").mkdir()
    for aperture, nominal in (("f/0.95", False), ("f/2", True)):
        done = []
        for out in (tmp_path / "one.png", tmp_path / "many"):
            more = ["--aperture", aperture, "-o", out, *(["--overwrite", "--suffix", ".png"] if out.is_dir() else [])]
            status = cli.main([str(each) for each in command + more])
            done.append((status == 0, "f/2 is nominal, not of a real lens" in capfd.readouterr().err))
        assert done == [(told or nominal, nominal and not told)] * 2
        if done[0][0]:
            one, many = (np.asarray(Image.open(tmp_path / each)) for each in ("one.png", "many/photo.png"))
            assert np.array_equal(one, many)


def test_settings_that_suit_no_photo_stop_at_once(album, model_folder, tmp_path, capfd):
    command = ["refocus", album, "--out", tmp_path / "out", "--model", model_folder, "--aperture", 99, "--workers", 1]
    assert cli.main([str(each) for each in command]) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith("deeplens: error: aperture must be a number from 0 to 16")
    assert files(tmp_path / "out") == []


def test_a_worker_that_dies_takes_one_photo_with_it(album, model_folder, tmp_path):
    """As when memory runs out: killed in the middle of a photo, it is replaced, and the others come out."""
    os.mkfifo(tmp_path / "pipe.png")  # opening it waits for the other end: the middle of a photo
    tasks = [
        Task("stuck", tmp_path / "pipe.png", tmp_path / "stuck.png"),
        Task("file", album / "a.png", tmp_path / "file.png"),
        Task("bytes", {"bytes": (album / "b.jpg").read_bytes()}, tmp_path / "bytes.jpg"),
    ]

    def kill_the_reader():
        with open(tmp_path / "pipe.png", "wb"):
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)

    threading.Thread(target=kill_the_reader, daemon=True).start()
    results = {task.name: error for task, error in run_tasks(tasks, [("cpu", 1)], str(model_folder), {"aperture": 4})}
    assert "ended with -9" in results["stuck"]
    assert results["file"] is None and results["bytes"] is None
    assert {file.name for file in tmp_path.glob("*.???")} == {"pipe.png", "file.png", "bytes.jpg"}
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_a_killed_program_goes_on_where_it_was(album, model_folder, tmp_path):
    """kill -9 after the first result: no half a file, no worker left; given again, only the rest is rendered."""
    (album / "broken.jpg").unlink()
    out = tmp_path / "out"
    arguments = ("refocus", album, "--out", out, "--model", model_folder, "--workers", "1", "--device", "cpu")
    command = [sys.executable, "-m", "deeplens_hf", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while not (out / "a.png").exists():
        assert process.poll() is None
        time.sleep(0.005)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "the workers end with their program"
        time.sleep(0.05)
    first = [name for name in files(out) if not name.endswith(".part")]
    for name in first:
        Image.open(out / name).load()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{3 - len(first)} written, {len(first)} already there, 0 failed")
    assert files(out) == ["a.png", "b.jpg", "trip/a.png"]


def test_machines_share_the_work(album, tmp_path, monkeypatch):
    """Each of three takes photos of its own, together they take all; torchrun and Slurm say which."""
    assert Shard.parse(None) == (0, 1)
    monkeypatch.setenv("SLURM_PROCID", "2")
    monkeypatch.setenv("SLURM_NTASKS", "5")
    assert Shard.parse(None) == (0, 1), "a batch script that starts one program means all the work"
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "5")
    assert Shard.parse(None) == (2, 5)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert Shard.parse(None) == (1, 3)
    assert Shard.parse("0/2") == (0, 2)
    for wrong in ("2/2", "a/b", "1"):
        with pytest.raises(ValueError, match="shard must be RANK/COUNT"):
            Shard.parse(wrong)

    seen = []
    monkeypatch.setattr(batch, "choose_crew", lambda *_: [("cpu", 1)])
    monkeypatch.setattr(batch, "run_tasks", lambda tasks, *_: ((task, None) for task in tasks))
    for rank in range(3):
        report = refocus_many([str(album)], tmp_path / "out", {}, "", shard=Shard(rank, 3))
        seen.append(report.written)
    assert sorted(seen) == [1, 1, 2]


def test_each_result_has_a_name_of_its_own(album, pixels, tmp_path):
    """A HEIC that lies beside the JPEG of the same name, a folder within the photos' own, and clashes."""
    Image.fromarray(pixels).save(album / "b.heic", "PNG")
    out = album / "results"
    out.mkdir()
    (out / "a.png").write_bytes((album / "a.png").read_bytes())
    tasks = find_photos([str(album)], out)
    found = {str(task.source.relative_to(album)): str(task.out.relative_to(out)) for task in tasks}
    same = {name: name for name in ("a.png", "trip/a.png", "broken.jpg")}
    assert found == same | {"b.heic": "b.heic.jpg", "b.jpg": "b.jpg"}
    pattern = find_photos([str(album / "*.png")], tmp_path / "out", ".webp")
    assert [task.out.name for task in pattern] == ["a.webp"]
    with pytest.raises(ValueError, match="would be replaced"):
        find_photos([str(album)], album)
    with pytest.raises(ValueError, match="there is no 'nowhere'"):
        find_photos(["nowhere"], out)
    with pytest.raises(ValueError, match="no pictures"):
        (tmp_path / "empty").mkdir()
        find_photos([str(tmp_path / "empty")], out)


def test_no_result_lies_beside_its_photo(album):
    """Given again, the run would take it for a photo; and a JPEG there may be the camera's own."""
    (album / "trip" / "a.png").rename(album / "trip" / "a.heic")
    for photos, suffix in (([str(album)], ".webp"), ([str(album / "trip")], None), ([str(album / "a.png")], ".jpg")):
        out = album / "trip" if "trip" in photos[0] else album
        with pytest.raises(ValueError, match="out must not be the folder of the photos"):
            find_photos(photos, out, suffix)


def test_a_pattern_finds_no_results_of_its_own(album, monkeypatch):
    """Given again, a run blurs no picture twice; a folder of results that lies elsewhere hides no photo."""
    monkeypatch.chdir(album.parent)
    for folder in ("out", "trip/out"):
        (album / folder).mkdir()
        (album / folder / "a.png").touch()

    def found(pattern: str, out: str) -> list[str]:
        return [str(task.source) for task in find_photos([pattern], Path(out))]

    assert found("album/trip/**/*.png", "album/trip/out") == ["album/trip/a.png"]
    assert found("alb*/trip/**/*.png", str(album / "trip" / "out")) == ["album/trip/a.png"]
    assert found("album/trip/a.png", "album") == found("album/trip/a.*", ".") == ["album/trip/a.png"]
    assert found("album/out/a.png", "album/out/again") == ["album/out/a.png"]
    with pytest.raises(ValueError, match="would be replaced"):
        find_photos(["album/out/*.png"], album / "out")


def test_a_photo_that_keeps_its_suffix_keeps_its_name(album, tmp_path):
    """Whatever was there first: a result is never taken for another photo's."""
    for name in ("b.bmp", "B.HEIC"):
        Image.new("RGB", (80, 80)).save(album / name, "BMP")
    results = {Path(task.name).name: task.out.name for task in find_photos([str(album)], tmp_path / "out")}
    assert results["b.jpg"] == "b.jpg" and results["b.bmp"] == "b.bmp.jpg" and results["B.HEIC"] == "B.HEIC.jpg"


def test_two_photos_of_one_name_want_folders_of_their_own(album, tmp_path, monkeypatch):
    """No number after the name: another folder beside would change it, and a later run would skip the wrong one."""
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("b.jpg", "c.heic"):
        Image.new("RGB", (80, 80)).save(other / name, "PNG")
    says = "album/b.jpg and other/b.jpg would both become out/b.jpg; give each folder an --out of its own"
    for photos in (["album", "other"], ["other/b.jpg", "album/b.jpg"], ["album/*.jpg", "other"]):
        with pytest.raises(ValueError, match=says):
            find_photos(photos, Path("out"))
    with pytest.raises(ValueError, match="album/a.png and album/trip/a.png would both become out/a.png"):
        find_photos(["album/**/a.png"], Path("out"))
    (other / "b.jpg").rename(other / "b.heic")  # another name: its result is called the same, whatever lies beside
    assert [str(task.out) for task in find_photos(["other", "album/b.jpg"], Path("out"))] == [
        "out/b.heic.jpg", "out/b.jpg", "out/c.jpg",
    ]  # fmt: skip


def test_hidden_folders_are_left_alone(album, tmp_path):
    (album / ".thumbnails").mkdir()
    Image.new("RGB", (80, 80)).save(album / ".thumbnails" / "a.png")
    assert not any("thumbnails" in task.name for task in find_photos([str(album)], tmp_path / "out"))


def test_a_target_that_cannot_be_is_refused_before_the_work(album, tmp_path, monkeypatch, capsys):
    assert cli.main(["refocus", str(album / "a.png"), str(album / "b.jpg"), "-o", str(tmp_path / "out.jpg")]) == 2
    assert "out must be a folder for many photos" in capsys.readouterr().err and not (tmp_path / "out.jpg").exists()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    for photo, out in ((album, tmp_path / "out"), (album / "a.png", tmp_path / "out.png")):
        assert cli.main(["refocus", str(photo), "-o", str(out)]) == 2
        assert "that may be written to" in capsys.readouterr().err


def test_a_mistyped_photo_is_not_looked_for_on_the_hub(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batch, "read_data_set", lambda *_: pytest.fail("asked the Hub"))
    assert cli.main(["refocus", "trip/photo.jpg", "--out", "res"]) == 2
    assert "there is no 'trip/photo.jpg'" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_told_as_such(tmp_path, monkeypatch, capsys):
    """Of the form owner/name, it may be a data set; without a network nobody can tell."""
    import datasets

    def unreachable(*_, **__):
        raise ConnectionError("Couldn't reach 'photos/hollyday' on the Hub")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    assert cli.main(["refocus", "photos/hollyday", "--out", "res"]) == 2
    assert "there is no folder 'photos/hollyday', and as a data set on the Hub: Couldn't" in capsys.readouterr().err


def test_a_link_that_leads_nowhere_is_no_pattern(album, tmp_path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    with pytest.raises(ValueError, match="there is no .*gone.jpg"):
        batch.find_photos([str(album / "a.png"), str(tmp_path / "gone.jpg")], tmp_path / "out")


def test_nothing_but_failures_is_told_apart(album, model_folder, tmp_path, capfd):
    arguments = ["--out", tmp_path / "out", "--model", model_folder, "--workers", 1, "--device", "cpu"]
    assert cli.main([str(each) for each in ("refocus", album, *arguments, "--focus", "5000,5000")]) == 2
    assert capfd.readouterr().out.startswith("0 written, 0 already there, 4 failed")


def test_one_or_many(album, tmp_path):
    one = str(album / "a.png")
    assert not is_many([one], Path("out.jpg")) and not is_many([one], Path("out.gif"))
    assert not is_many(["missing.jpg"], Path("out.jpg"))
    assert is_many([one], tmp_path) and is_many([one, one], Path("out.jpg")) and is_many([str(album)], Path("out"))
    assert is_many(["owner/name"], Path("out")) and is_many(["trip/*.jpg"], Path("out"))
    assert is_many(["owner/name"], Path("out.v2")) and is_many(["trip/*.jpg"], Path("out.v2")), "no picture's suffix"


def test_a_data_set_is_numbered_and_may_be_a_stream(album, tmp_path, monkeypatch):
    (album / "broken.jpg").unlink()
    (tmp_path / "someone").mkdir()
    (album).rename(tmp_path / "someone" / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tasks, _ = read_data_set("someone/photos", "train", tmp_path / "out", None)
    tasks = list(tasks)
    assert [task.out.stem for task in tasks] == ["00000000", "00000001", "00000002"]
    assert sorted(task.out.suffix for task in tasks) == [".jpg", ".png", ".png"]
    for task in tasks:
        Image.open(open_picture(task.source)).load()
    with pytest.raises(ValueError):
        read_data_set("someone/photos", "no such split", tmp_path / "out", None)


def test_workers_share_devices_and_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert choose_crew(None, None) == [("cpu", 2)] * 4
    assert choose_crew(None, 1) == [("cpu", 8)]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert choose_crew(None, None) == [("cuda:0", 4), ("cuda:1", 4)]
    assert choose_crew(None, 3) == [("cuda:0", 2), ("cuda:1", 2), ("cuda:0", 2)]
    assert choose_crew("cuda:1", 1) == [("cuda:1", 8)]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_crew(None, None) == [("cuda:1", 4)], "under torchrun each program has a GPU of its own"
