"""The `deeplens` command, as people and scripts run it."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from deeplens_hf import ApertureShape, DeepLens, DeepLensConfig, __version__, cli
from deeplens_hf.files.writing import colour_disparity, save_disparity
from deeplens_hf.photo import Photo
from deeplens_hf.sharing import weights

ROOT = Path(__file__).resolve().parent.parent


def test_refocus(deeplens, model, model_folder, photo_file, tmp_path):
    out = tmp_path / "out.png"
    done = deeplens("refocus", photo_file, "--focus", "100,50", "--aperture", 6, "--model", model_folder, "-o", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(out)]
    assert done.stderr == f"weights: {model_folder} (from the argument)\n"
    expected = np.asarray(model.open(photo_file).refocus(point=(100, 50), aperture=6)).astype(int)
    assert np.abs(np.asarray(Image.open(out)) - expected).max() <= 1
    assert sorted(os.listdir(tmp_path)) == ["out.png", "photo.png"]


def test_a_name_that_the_terminal_cannot_show_is_no_failure(model_folder, photo_file, planes, tmp_path):
    np.save(tmp_path / "map.npy", planes)
    out = tmp_path / "写真.npy"
    arguments = ["depth", photo_file, "--depth", tmp_path / "map.npy", "--model", model_folder, "-o", out]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}  # Windows, into a file
    command = [sys.executable, "-m", "deeplens_hf", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, cwd=ROOT)
    assert done.returncode == 0 and out.exists(), done.stderr
    assert done.stdout.decode("cp1252").strip().endswith(r"\u5199\u771f.npy")


def test_refocus_with_your_own_depth_on_the_main_subject(model, model_folder, photo_file, planes, tmp_path):
    np.save(tmp_path / "depth.npy", planes)
    arguments = ["--depth", tmp_path / "depth.npy", "--model", model_folder, "-o", tmp_path / "out.tif"]
    assert cli.main(["refocus", str(photo_file), *map(str, arguments)]) == 0
    expected = np.asarray(model.open(photo_file, disparity=planes).refocus()).astype(int)
    assert np.abs(np.asarray(Image.open(tmp_path / "out.tif")) - expected).max() <= 1


def test_no_photo_and_no_map_is_replaced_by_its_result(model_folder, photo_file, planes, tmp_path, monkeypatch, capsys):
    save_disparity(planes, tmp_path / "map.png")
    (tmp_path / "link.png").symlink_to("photo.png")
    before = {name: (tmp_path / name).read_bytes() for name in ("photo.png", "map.png")}
    monkeypatch.chdir(tmp_path)
    for command, says in (
        ("refocus photo.png -o photo.png", "-o must not be photo.png, which it would replace"),
        ("refocus photo.png --depth map.png -o map.png", "-o must not be map.png"),
        ("depth photo.png -o photo.png", "-o must not be photo.png, which it would replace"),
        ("depth photo.png -o link.png", "-o must not be photo.png"),
        ("depth photo.png --depth map.png -o map.png", "-o must not be map.png"),
        ("depth photo.png -o d.png --preview photo.png", "--preview must not be photo.png, which it would replace"),
        ("depth photo.png --depth map.png -o d.npy --preview map.png", "--preview must not be map.png"),
        ("depth photo.png -o d.png --preview d.png", "--preview must be another file than -o"),
    ):
        assert cli.main([*command.split(), "--model", str(model_folder)]) == 2, command
        assert says in capsys.readouterr().err
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert sorted(os.listdir(tmp_path)) == ["link.png", "map.png", "photo.png"]


@pytest.mark.parametrize(
    "command, says",
    [
        ("refocus photo.png --rotation 20 -o out.png", "--rotation goes with --blades"),
        ("refocus photo.png --roundness 0.5 -o out.png", "--roundness goes with --blades"),
        ("refocus photo.png --workers 0 -o out.png", "--workers goes with many photos"),
        ("refocus photo.png --farthest nan -o out.png", "--farthest goes with --reference"),
        ("refocus photo.png --reference 1,2,3 --aperture f/2 -o .", "go with a single photo and a file as -o"),
        ("evaluate depth --data . --beside foo", "--beside goes with evaluate render, not depth"),
    ],
)
def test_no_option_is_ignored_without_a_word(command, says, model_folder, photo_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.opening, "load_model", lambda args: pytest.fail("told before the model takes its time"))
    assert cli.main([*command.split(), "--model", str(model_folder)]) == 2
    assert says in capsys.readouterr().err and os.listdir(tmp_path) == ["photo.png"]


def test_every_option_of_the_lens_reaches_the_picture(model_folder, photo_file, planes, tmp_path, monkeypatch):
    np.save(tmp_path / "depth.npy", planes)
    asked = []
    monkeypatch.setattr(Photo, "refocus", lambda photo, **settings: asked.append(settings) or photo.picture)
    options = "--aperture 12 --range 0.75,1 --blades 7 --rotation 20 --roundness 0.3 --ring 0.4 --cat-eye 0.8"
    options += f" --highlights 0 --grain 2 --depth {tmp_path}/depth.npy --model {model_folder} -o {tmp_path}/out.png"
    assert cli.main(["refocus", str(photo_file), *options.split()]) == 0
    lens = {"shape": ApertureShape(7, 20, 0.3, 0.4, 0.8), "highlights": 0, "grain": 2}
    assert asked == [{"point": None, "focus": (0.75, 1), "aperture": 12} | lens]


def test_an_f_number_is_the_lenss_where_depth_is_in_metres(model_folder, pixels, planes, tmp_path, capsys):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update({ExifTags.Base.FocalLength: 5.0, ExifTags.Base.FocalLengthIn35mmFilm: 40})
    for name, tags in (("told.jpg", exif), ("untold.jpg", Image.Exif())):
        Image.fromarray(pixels).save(tmp_path / name, exif=tags, quality=95)
    save_disparity(planes, tmp_path / "depth.png", (0.2, 2.0))
    arguments = ["--depth", str(tmp_path / "depth.png"), "--model", str(model_folder), "--range", "0.7,1"]
    sizes = {}
    for name, aperture in (("told.jpg", "f/2"), ("untold.jpg", "f/2"), ("untold.jpg", "11.2")):
        out = tmp_path / "out.png"
        assert cli.main(["refocus", str(tmp_path / name), "--aperture", aperture, *arguments, "-o", str(out)]) == 0
        sizes[name, aperture] = np.asarray(Image.open(out)).astype(int)
        nominal = "f/2 is nominal, not of a real lens: focal_length_mm must be given" in capsys.readouterr().err
        assert nominal == (name == "untold.jpg" and aperture == "f/2")
    assert np.array_equal(sizes["untold.jpg", "f/2"], sizes["untold.jpg", "11.2"])
    assert np.abs(sizes["told.jpg", "f/2"] - pixels).max() < np.abs(sizes["untold.jpg", "f/2"] - pixels).max()


def test_depth(model, model_folder, photo_file, tmp_path, capsys):
    disparity = model.open(photo_file).disparity
    files = [tmp_path / "d.png", tmp_path / "d.npy"]
    preview = ["--preview", str(tmp_path / "p.jpg")]
    for file in files:
        assert cli.main(["depth", str(photo_file), "-o", str(file), "--model", str(model_folder), *preview]) == 0
        assert capsys.readouterr().out.split() == [str(file), str(tmp_path / "p.jpg")]
    picture = Image.open(files[0])
    assert picture.mode == "I;16" and "nearest" in picture.text["Description"]
    assert np.abs(np.asarray(picture) / 65535 - disparity).max() < 1e-4
    assert np.abs(np.load(files[1]) - disparity).max() < 1e-5
    assert Image.open(tmp_path / "p.jpg").size == (128, 96)


def test_a_preview_shows_what_is_near_bright(model_folder, photo_file, planes, tmp_path):
    np.save(tmp_path / "depth.npy", planes)
    files = ["--depth", tmp_path / "depth.npy", "-o", tmp_path / "d.png", "--preview", tmp_path / "p.png"]
    assert cli.main(["depth", str(photo_file), *map(str, files), "--model", str(model_folder)]) == 0
    assert np.array_equal(Image.open(tmp_path / "p.png"), colour_disparity(planes))


def test_evaluate_render(model_folder, pixels, planes, tmp_path, capsys):
    layered = tmp_path / "truth" / "layered"
    layered.mkdir(parents=True)
    (tmp_path / "truth" / "traced").mkdir()
    for name in ("aif", "gt_mid", "gt_bg", "gt_near"):
        Image.fromarray(pixels).save(layered / f"a_{name}.png")
    Image.fromarray((planes * 65535).astype(np.uint16)).save(layered / "a_disp.png")
    torch.manual_seed(0)
    DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).save_pretrained(tmp_path / "other")
    arguments = ["--data", tmp_path, "--model", model_folder, "--beside", f"other={tmp_path / 'other'}"]
    arguments += ["--out", tmp_path / "report"]
    assert cli.main(["evaluate", "render", *map(str, arguments)]) == 0
    rows = json.loads((tmp_path / "report" / "render.json").read_text())["rows"]
    assert {row["renderer"] for row in rows} == {"deeplens", "other", "unlearned slabs", "scatter", "no blur"}
    ours, others = ([row["psnr"] for row in rows if row["renderer"] == name] for name in ("deeplens", "other"))
    assert ours != others, "each by its own weights"
    assert "| deeplens |" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["refocus", "--help"], ["--version"]], ids=" ".join)
def test_help_and_version_do_not_wait_for_torch(arguments):
    program = (
        f"import sys; from deeplens_hf import cli\ntry: cli.main({arguments})\nfinally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "False"


def test_help_names_every_command(deeplens):
    assert deeplens("--version").stdout == f"deeplens {__version__}\n"
    told = deeplens("--help").stdout
    assert all(command in told for command in ("refocus", "depth", "demo", "train", "evaluate"))


def test_demo_is_the_page_of_the_space(model_folder, monkeypatch):
    gradio = pytest.importorskip("gradio")
    launched = {}
    monkeypatch.setattr(gradio.Blocks, "launch", lambda page, **settings: launched.update(settings, page=page))
    monkeypatch.setenv("DEEPLENS_DEPTH_MODELS", "lab/depth")
    assert cli.main(["demo", "--model", str(model_folder), "--port", "7999"]) == 0
    assert launched["server_port"] == 7999 and launched["mcp_server"] and launched["max_file_size"] == "100mb"
    shown = json.dumps(launched["page"].config["components"], default=str)
    assert "night_bridge" in shown and "Ian Hex" in shown and "lab/depth" in shown  # examples, credits, models


@pytest.mark.parametrize("command, package, extra", [("demo", "gradio", "demo"), ("evaluate", "tqdm", "train")])
def test_a_missing_extra_says_what_to_install(command, package, extra, model_folder, tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith(("deeplens_hf.demo", "deeplens_hf.evaluation"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    arguments = ["--model", str(model_folder)] + (["render", "--data", str(tmp_path)] if command == "evaluate" else [])
    assert cli.main([command, *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"deeplens: error: {command} needs {package}: pip install deeplens_hf[{extra}]"


def test_a_fault_of_the_program_is_not_taken_for_a_missing_extra(monkeypatch, photo_file, tmp_path):
    monkeypatch.setattr(cli.refocus, "run", lambda args: importlib.import_module("deeplens_hf.no_such_module"))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["refocus", str(photo_file), "-o", str(tmp_path / "out.png")])


def test_ctrl_c_ends_with_130_and_leaves_no_file(model_folder, pixels, tmp_path):
    Image.fromarray(np.tile(pixels, (12, 12, 1))).save(tmp_path / "large.png")  # enough work to interrupt
    command = ["refocus", tmp_path / "large.png", "--model", model_folder, "-o", tmp_path / "out.png"]
    process = subprocess.Popen(
        [sys.executable, "-m", "deeplens_hf", *map(str, command)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    assert process.stderr.readline().startswith("weights: ")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert os.listdir(tmp_path) == ["large.png"]


def test_ctrl_c_while_weights_are_read_is_no_fault_of_theirs(model_folder, photo_file, tmp_path, monkeypatch, capsys):
    """Torch takes a KeyboardInterrupt there for a ValueError of its own."""

    def interrupted(*_, **__):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape of object") from None

    monkeypatch.setattr("deeplens_hf.sharing.hub.load_file", interrupted)
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        out = tmp_path / "out.png"
        assert cli.main(["refocus", str(photo_file), "--model", str(model_folder), "-o", str(out)]) == 130
        assert "error" not in capsys.readouterr().err and not out.exists()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, usual)


def test_which_weights(monkeypatch, tmp_path):
    own = tmp_path / "weights"
    monkeypatch.setattr(weights, "CHECKOUT_WEIGHTS", own)
    monkeypatch.delenv("DEEPLENS_MODEL", raising=False)
    assert weights.choose_weights(None) == weights.HUB_ID
    assert weights.describe_weights(None) == f"weights: {weights.HUB_ID} (from the Hub)"
    own.mkdir()
    assert weights.choose_weights(None) == weights.HUB_ID  # an empty folder holds no model
    (own / "config.json").write_text("{}")
    assert weights.choose_weights(None) == str(own)
    monkeypatch.setenv("DEEPLENS_MODEL", "somebody/else")
    assert weights.choose_weights(None) == "somebody/else"
    assert weights.describe_weights(None) == "weights: somebody/else (from DEEPLENS_MODEL)"
    assert weights.choose_weights("mine") == "mine"


def test_the_environment_chooses_the_weights(model_folder, photo_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DEEPLENS_MODEL", str(model_folder))
    assert cli.main(["refocus", str(photo_file), "-o", str(tmp_path / "out.jpg")]) == 0
    assert capsys.readouterr().err == f"weights: {model_folder} (from DEEPLENS_MODEL)\n"
