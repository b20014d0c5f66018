"""The page as a visitor meets it: app.py as a process of its own, real HTTP, a real Chromium."""

import base64
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="NO BROWSER TESTS: playwright is not installed")
pytest.importorskip("gradio", reason="NO BROWSER TESTS: gradio is not installed")

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (  # root has no sandbox, the machine perhaps neither GPU nor camera; nothing is asked of the world outside
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
)
DEPTH_MODEL = "someone/flat-depth"  # a Hub id, offered on the page
PATIENCE = 90_000  # milliseconds, for two busy cores
LISTENS = """() => { // the viewfinder is there: a file over the page is its own
    const files = new DataTransfer();
    files.items.add(new File(["x"], "x"));
    return !document.dispatchEvent(new DragEvent("dragover", {cancelable: true, dataTransfer: files}));
}"""
playwright.expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def hub_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where huggingface_hub keeps what it has downloaded: a tiny depth-estimation model of random weights."""
    import torch
    from transformers import AutoModelForDepthEstimation, GLPNConfig

    folder = tmp_path_factory.mktemp("hub")
    repository = folder / f"models--{DEPTH_MODEL.replace('/', '--')}"
    files = repository / "snapshots" / "0"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0")
    torch.manual_seed(0)
    config = GLPNConfig(hidden_sizes=[8] * 4, decoder_hidden_size=8, depths=[1] * 4, num_attention_heads=[1] * 4)
    network = AutoModelForDepthEstimation.from_config(config)
    for weights in network.parameters():  # the usual start gives hardly any depth at this size
        torch.nn.init.normal_(weights, 0, 0.15)
    network.save_pretrained(files)
    settings = {"image_processor_type": "GLPNImageProcessor", "size_divisor": 32}
    (files / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def address(model_folder: Path, hub_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `python app.py` serves the page."""
    log = tmp_path_factory.mktemp("app") / "log.txt"
    settings = {
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_TEMP_DIR": str(tmp_path_factory.mktemp("files")),
        "DEEPLENS_MODEL": str(model_folder),
        "DEEPLENS_DEPTH_MODELS": DEPTH_MODEL,
        "HF_HUB_CACHE": str(hub_cache),
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }

    def start() -> subprocess.Popen:
        with socket.create_server(("127.0.0.1", 0)) as free:  # two that look for one from 7860 on would meet
            environment = os.environ | settings | {"GRADIO_SERVER_PORT": str(free.getsockname()[1])}
        with open(log, "w") as out:
            command = [sys.executable, "app.py"]
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)

    app = start()
    try:
        deadline = time.monotonic() + 300
        while "To create a public link" not in (told := log.read_text()):  # last of what gradio tells
            if app.poll() is not None and re.search("localhost is not accessible|empty port", log.read_text()):
                app = start()  # its own first request took 3 s, as on a busy machine, or another was there first
            assert app.poll() is None and time.monotonic() < deadline, f"no page:\n{told}"
            time.sleep(0.5)
        yield re.search(r"Running on local URL: +(\S+)", told)[1]
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        app.terminate()
        app.wait(timeout=30)


@pytest.fixture(scope="session")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as driver:
        found = next(filter(None, map(shutil.which, BROWSERS)), driver.chromium.executable_path)
        if not Path(found).exists():
            pytest.skip(f"NO BROWSER TESTS: none of {', '.join(BROWSERS)} on PATH, and none of Playwright's own")
        browser = driver.chromium.launch(executable_path=found, args=FLAGS, timeout=PATIENCE)
        yield browser
        browser.close()


class Visitor:
    """Somebody with the page open."""

    def __init__(self, page: "playwright.Page"):
        self.page = page

    def upload(self, path: Path) -> None:
        """Hand a photo over and wait for the first result."""
        before = self.scene()
        self.choose(path)
        self.another_scene(before)

    def choose(self, path: Path) -> None:
        """Hand any file over."""
        self.page.locator("#upload input[type=file]").set_input_files(path)

    def settle(self) -> str:
        """Wait until the result shows what was asked for last; the address of its picture."""
        self.page.locator("#viewfinder .finder:not([data-empty]):not([data-busy])").wait_for()
        return self.address("photo")

    def until(self, ask: Callable[[], Any], wanted: Any) -> None:
        """Ask until the answer is the one wanted: what the page shows comes later than what causes it."""
        deadline = time.monotonic() + PATIENCE / 1000
        while (answer := ask()) != wanted and time.monotonic() < deadline:
            self.page.wait_for_timeout(50)
        assert answer == wanted

    def scene(self) -> str | None:
        """Which scene the viewfinder shows: another photo, or another depth, is another one."""
        return self.page.locator("#viewfinder .finder").evaluate("finder => finder.dataset.scene")

    def another_scene(self, before: str | None) -> str:
        """Wait for one, for its result, and for its depths, which ranges and strokes need."""
        self.page.wait_for_function(
            "id => ![undefined, id ?? undefined].includes(document.querySelector('.finder')?.dataset.scene)",
            arg=before,
        )
        self.page.locator("#viewfinder .profile path[d]").wait_for(state="attached")
        return self.settle()

    def address(self, pane: str) -> str:
        """Where the picture in a pane comes from: it is written into its address."""
        return self.page.locator(f"#viewfinder [data-pane={pane}] img").evaluate("img => img.src")

    def pixels(self, pane: str) -> np.ndarray:
        """What a pane shows, (H, W, 3) in [0, 255], at the size that came from the server."""
        picture = base64.b64decode(self.address(pane).partition(",")[2])
        return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(float)

    def where(self, pane: str, x: float, y: float, size: tuple[int, int]) -> tuple[float, float]:
        """On the screen, the middle of pixel (x, y) of a photo of `size`; waits while the page scrolls."""
        stage = self.page.locator(f"#viewfinder [data-pane={pane}] .stage")
        stage.scroll_into_view_if_needed()
        stage.element_handle().wait_for_element_state("stable")
        box = stage.bounding_box()
        return box["x"] + (x + 0.5) / size[0] * box["width"], box["y"] + (y + 0.5) / size[1] * box["height"]

    def click(self, pane: str, x: float, y: float, size: tuple[int, int]) -> None:
        """One press of the mouse: nothing is tried again."""
        self.page.mouse.click(*self.where(pane, x, y, size))

    def drag(self, pane: str, start: tuple, end: tuple, size: tuple[int, int]) -> None:
        """Press at one point, let go at another."""
        self.page.mouse.move(*self.where(pane, *start, size))
        self.page.mouse.down()
        self.page.mouse.move(*self.where(pane, *end, size), steps=4)
        self.page.mouse.up()

    def changed(self, before: str) -> str:
        """Wait for another result than that, and for no more to come."""
        self.page.wait_for_function(
            "old => document.querySelector('#viewfinder [data-pane=photo] img').src !== old", arg=before
        )
        while True:
            now = self.settle()
            self.page.wait_for_timeout(700)
            if now == self.settle():
                return now

    def focus(self) -> tuple[float, float]:
        """The point in focus as the number fields say it."""
        return tuple(
            self.page.get_by_label(label, exact=True).evaluate("field => field.valueAsNumber")
            for label in ("Focus x", "Focus y")
        )

    def tab(self, name: str) -> None:
        """Open a tab of the controls."""
        self.page.get_by_role("tab", name=name).click()

    def download(self, button: str, folder: Path) -> Path:
        """Press a button that gives a file; the file."""
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=button).click()
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path

    def field(self, label: str) -> "playwright.Locator":
        """A number field, or that of a slider."""
        return self.page.locator(f'input[type=number][aria-label$="{label}"]')

    def fetch(self, url: str) -> np.ndarray:
        """The picture at an address of the page, (H, W, 3) in [0, 255]."""
        body = self.page.request.get(url).body()
        return np.asarray(Image.open(io.BytesIO(body)).convert("RGB")).astype(float)

    def told(self) -> str:
        """What the page says in a box of its own, first that is."""
        toast = self.page.locator(".toast-body").first
        toast.wait_for()
        return toast.inner_text()


@pytest.fixture
def visit(browser: "playwright.Browser", address: str) -> Iterator[Callable[..., Visitor]]:
    """Opens the page, in a context of its own. Whatever a test does: no error in the console, no request elsewhere."""
    contexts, faults = [], []

    def visit(width: int = 1280, height: int = 1000, console: bool = True, **options) -> Visitor:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: faults.append(str(error)))
        if console:  # it tells of a request that a test ends as well
            page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: faults.append(request.url) if elsewhere(request.url) else None)
        page.goto(address)
        page.locator("#upload input[type=file]").wait_for(state="attached")
        page.wait_for_function(LISTENS)
        return Visitor(page)

    yield visit
    for context in contexts:
        context.close()
    assert not faults


def elsewhere(url: str) -> bool:
    """Whether a request leaves this machine."""
    return urlsplit(url).hostname not in (None, "127.0.0.1")


@pytest.fixture(scope="session")
def examples() -> Path:
    """The photos that the page offers."""
    return ROOT / "examples"


@pytest.fixture
def room() -> Path:
    """A drum in front, a bottle behind: far apart, and rich in detail both."""
    return ROOT / "tests" / "pictures" / "evening_room.jpg"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo stored lying on its side: 360 x 240 pixels in the file, 240 x 360 as everybody sees it."""
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned clockwise
    path = tmp_path / "photo.jpg"
    with Image.open(ROOT / "examples" / "coffee.jpg") as coffee:
        coffee.resize((360, 240)).save(path, exif=exif)
    return path
