"""What the page lends a GPU to, with a stand-in for ZeroGPU: what goes there and comes back, and in which order."""

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from deeplens_hf.photo import open_photo
from deeplens_hf.rack_focus import even, focus_path

pytest.importorskip("gradio")

ROOT = Path(__file__).resolve().parents[2]
FAR, NEAR = (0.2, 0.2), (0.8, 0.8)
STAND_IN = """
import pickle, sys

TORCH_CAME_FIRST = "torch" in sys.modules
LENT = {}  # name of the function: seconds, bytes of each result


def GPU(duration=60):
    def decorate(function):
        seconds, sizes = LENT.setdefault(function.__name__, (duration, []))

        def elsewhere(*given):
            result = pickle.dumps(function(*pickle.loads(pickle.dumps(given))))
            assert b"torch" not in result  # results are of the CPU, the model stays where it is
            sizes.append(len(result))
            return pickle.loads(result)

        return elsewhere

    return decorate
"""


@pytest.fixture
def zero(tmp_path, monkeypatch):
    """deeplens_hf.demo.darkroom as it is where `spaces` is installed, and the stand-in."""
    (tmp_path / "spaces.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "spaces", raising=False)
    name = "deeplens_hf.demo.darkroom"
    spec = importlib.util.find_spec(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module, sys.modules["spaces"]
    del sys.modules["spaces"]


@pytest.fixture
def photo(model, pixels, planes):
    return open_photo(model, pixels, planes)


def test_on_zerogpu_the_same_pictures_come_back(zero, model, photo_file, photo):
    module, spaces = zero
    darkroom = module.Darkroom(model)
    lens = {"aperture": 12, "highlights": 1}
    opened = darkroom.open(str(photo_file))
    assert np.array_equal(opened.disparity, open_photo(model, photo_file).disparity)
    assert darkroom.look(photo, NEAR, lens).tobytes() == photo.refocus(focus=NEAR, **lens).tobytes()
    assert np.array_equal(darkroom.develop(photo, NEAR, lens), photo.render(focus=NEAR, **lens))
    assert len(list(darkroom.film(photo, focus_path(FAR, NEAR, 0.5, fps=8), lens))) == 4
    assert set(spaces.LENT) == {"predict", "measure", "look", "develop", "shoot"}
    for name in ("predict", "look", "develop", "shoot"):
        seconds, sizes = spaces.LENT[name]
        assert 0 < seconds <= 60 and sizes and max(sizes) < 1_000_000  # the weights alone are larger


def test_what_is_wrong_is_told_across_too(zero, model, photo):
    darkroom = zero[0].Darkroom(model)
    with pytest.raises(ValueError, match="aperture must be a number from 0 to 16"):
        darkroom.look(photo, NEAR, {"aperture": 99})


def test_others_get_their_turn_between_the_frames_of_a_film(model, photo, monkeypatch):
    from deeplens_hf.demo import darkroom as module

    monkeypatch.setattr(module, "TURN", 0.0)
    darkroom, lens = module.Darkroom(model), {"aperture": 12}
    planes, frames, begun = focus_path(FAR, NEAR, 10, "linear", 24), [], threading.Event()

    def roll():
        for frame in darkroom.film(photo, planes, lens):
            frames.append(frame)
            begun.set()

    film = threading.Thread(target=roll)
    film.start()
    assert begun.wait(60)
    looks = []
    for _ in range(3):
        darkroom.look(photo, NEAR, lens)
        looks.append(len(frames))
    film.join()
    assert looks[-1] < len(planes) == len(frames)
    for number in (0, 50, -1):
        assert frames[number].tobytes() == even(photo.refocus(focus=planes[number], **lens)).tobytes()


@pytest.mark.slow
def test_app_starts_with_spaces_first(tmp_path, model_folder):
    (tmp_path / "spaces.py").write_text(STAND_IN)
    code = "import app, spaces; print(spaces.TORCH_CAME_FIRST, sorted(spaces.LENT), len(app.page.fns) > 20)"
    settings = {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT))), "DEEPLENS_MODEL": str(model_folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False ['develop', 'look', 'measure', 'predict', 'shoot'] True"


def test_a_film_ends_at_the_farthest_thing_not_beyond_it(model):
    """What shows no up has little depth; nothing there is sharp at 0."""
    from deeplens_hf.demo.scene import Scene
    from deeplens_hf.demo.studio import Studio

    depths = np.linspace(0.375, 0.625, 64 * 96).reshape(64, 96)
    photo = open_photo(model, np.full((64, 96, 3), 0.5)).corrected(depths)
    scene = Scene("flat", photo, "predicted", "", "", depths)
    assert scene.nearly_flat
    assert Studio._plane(scene, "far") == (0.375, 0.375)
    assert Studio._plane(scene, "Near") == (0.625, 0.625)
