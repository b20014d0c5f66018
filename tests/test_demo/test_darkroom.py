"""What the page lends a GPU to, with a stand-in for ZeroGPU: what goes there and comes back, and in which order."""

import importlib.util
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from deeplens_hf.files.pictures import PhotoError
from deeplens_hf.photo import open_photo
from deeplens_hf.rack_focus import even, focus_path

gr = pytest.importorskip("gradio")

from deeplens_hf.demo.api import add_api  # noqa: E402
from deeplens_hf.demo.files import told  # noqa: E402
from deeplens_hf.demo.films import Films  # noqa: E402
from deeplens_hf.demo.page import build_demo  # noqa: E402
from deeplens_hf.demo.scene import Scene  # noqa: E402
from deeplens_hf.demo.studio import Studio  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
FAR, NEAR = (0.2, 0.2), (0.8, 0.8)
STAND_IN = """
import pickle, sys

TORCH_CAME_FIRST = "torch" in sys.modules
LENT = []  # the functions' names
JOBS = []  # kind, seconds, bytes of the result
schedule = lambda kind: None  # waits for a GPU, or says why there is none


def GPU(duration=60):
    def decorate(function):
        LENT.append(function.__name__)

        def elsewhere(*given):
            import gradio as gr

            seconds = duration(*given)
            schedule(given[0])
            try:
                result = pickle.dumps(function(*pickle.loads(pickle.dumps(given))))
            except gr.Error:
                raise
            except Exception as error:  # all that comes back of it
                raise gr.Error(type(error).__name__, title="ZeroGPU worker error", print_exception=False)
            assert b"torch" not in result  # results are of the CPU, the model stays where it is
            JOBS.append((given[0], seconds, len(result)))
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
    assert spaces.LENT == ["work"]  # each would be a process of its own to start
    assert {kind for kind, _, _ in spaces.JOBS} == {"predict", "look", "develop", "shoot"}
    for _, seconds, size in spaces.JOBS:
        assert 0 < seconds <= 60 and size < 1_000_000  # the weights alone are larger


def test_a_large_photo_is_lent_a_gpu_for_longer(zero, model, photo):
    module = zero[0]
    large = open_photo(model, np.zeros((3000, 4000, 3), np.uint8), np.zeros((3000, 4000), np.float32))
    assert module.seconds("develop", photo, NEAR, {}) < module.seconds("develop", large, NEAR, {}) <= 60


def test_what_is_wrong_is_told_across_too(zero, model, photo, photo_file, tmp_path):
    darkroom = zero[0].Darkroom(model)
    with pytest.raises(PhotoError, match="aperture must be a number from 0 to 16"):
        darkroom.look(photo, NEAR, {"aperture": 99})
    with pytest.raises(PhotoError, match="a depth-estimation model that transformers loads"):
        darkroom.open(str(photo_file), str(tmp_path))


def test_nobody_waits_while_another_waits_for_a_gpu_of_zerogpus(zero, model, photo, monkeypatch):
    module, spaces = zero
    darkroom, asked, free = module.Darkroom(model), threading.Event(), threading.Event()

    def schedule(kind):
        if kind == "develop":
            asked.set()
            assert free.wait(60)

    monkeypatch.setattr(spaces, "schedule", schedule)
    lens = {"aperture": 12}
    with ThreadPoolExecutor(2) as visitors:
        waits = visitors.submit(darkroom.develop, photo, NEAR, lens)
        assert asked.wait(60)
        try:
            assert visitors.submit(darkroom.look, photo, NEAR, lens).result(timeout=60).size == photo.size
            assert not waits.done()
        finally:
            free.set()
        assert waits.result(timeout=60).shape[:2] == photo.size[::-1]


def test_what_zerogpu_says_is_shown_as_it_says_it(zero, model, photo_file, monkeypatch):
    """Its title, and its link as one; what was going on ends well all the same."""
    module, spaces = zero
    monkeypatch.setattr("deeplens_hf.demo.studio.Darkroom", module.Darkroom)
    studio, shown = Studio(model, []), []
    scene = studio.open_upload({"path": str(photo_file), "orig_name": "photo.png"}, None)[0]
    wish = {"id": scene.id, "file": scene.file, "point": None, "range": None}
    lens = (9, "Round", 0, 0, 0, 0, 1, 0)

    def schedule(kind):
        raise gr.Error('No GPU. <a href="https://huggingface.co/join">Join</a>', title="ZeroGPU queue timeout")

    monkeypatch.setattr(spaces, "schedule", schedule)
    monkeypatch.setattr(gr, "Warning", lambda message, *_, title="Warning": shown.append((title, message)))
    assert studio.look(scene, wish, False, *lens)[-1] is scene
    assert shown == [("ZeroGPU queue timeout", 'No GPU. <a href="https://huggingface.co/join">Join</a>')]
    with pytest.raises(gr.Error) as refused, told(str(photo_file)):
        studio.save(scene, wish, "JPEG", False, *lens)
    assert (refused.value.title, refused.value.message) == shown[0]


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
    code = "import app, spaces; print(spaces.TORCH_CAME_FIRST, spaces.LENT, len(app.page.fns) > 20)"
    settings = {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT))), "DEEPLENS_MODEL": str(model_folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False ['work'] True"


def test_a_film_ends_at_the_farthest_thing_not_beyond_it(model):
    """What shows no up has little depth; nothing there is sharp at 0."""
    depths = np.linspace(0.375, 0.625, 64 * 96).reshape(64, 96)
    photo = open_photo(model, np.full((64, 96, 3), 0.5)).corrected(depths)
    scene = Scene("flat", photo, "predicted", "", "", depths)
    assert scene.nearly_flat
    assert Films._plane(scene, "far") == (0.375, 0.375)
    assert Films._plane(scene, "Near") == (0.625, 0.625)


def test_calls_of_programs_wait_in_lines_of_their_own(model, monkeypatch):
    """Whoever has the page open waits for one of them, not for all; and on ZeroGPU more than one may wait."""
    monkeypatch.setattr("gradio.utils.is_zero_gpu_space", lambda: True)  # gradio has its own limit there: one
    page = build_demo(model)
    of = {public: set() for public in (True, False)}
    for each in page.fns.values():
        of[each.api_visibility == "public"].add(each.concurrency_id)
    assert of[True] and not of[True] & of[False]
    assert page._queue.max_size >= 100


@pytest.fixture
def called(photo, monkeypatch, tmp_path):
    """The functions that programs call, by name, and the list of what they ask of the darkroom: planes, lens."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    asked = []

    class Listening:
        def open(self, path):
            return photo

        def look(self, photo, focus, lens):
            asked.append((focus, lens))
            return photo.picture

        def film(self, photo, planes, lens):
            asked.append((planes, lens))
            return [photo.picture] * 2

    with gr.Blocks() as page:
        add_api(Listening())
    return {each.name: each.fn for each in page.fns.values()}, asked


def test_what_a_program_asks_for_is_sharp_through_its_lens(called, photo_file):
    functions, asked = called
    functions["refocus"](str(photo_file), 110, 50, 5, 0.5)
    functions["refocus"](str(photo_file), 20, 50)
    wanted = [(NEAR, {"aperture": 5, "highlights": 0.5}), (FAR, {"aperture": 8, "highlights": 1})]
    assert asked == [(pytest.approx(focus), lens) for focus, lens in wanted]


def test_a_programs_film_has_its_ends_its_time_and_its_easing(called, photo_file):
    pytest.importorskip("av")
    functions, asked = called
    functions["rack_focus"](str(photo_file), 20, 50, 110, 50, 4, 0.5, "ease in")
    ((planes, lens),) = asked
    assert lens == {"aperture": 4} and len(planes) == 12
    np.testing.assert_allclose(planes, focus_path(FAR, NEAR, 0.5, "ease in"), atol=1e-6)
