"""The page as a visitor meets it: app.py as a process of its own, real HTTP, a real Chromium."""

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="NO BROWSER TESTS: playwright is not installed")
pytest.importorskip("gradio", reason="NO BROWSER TESTS: gradio is not installed")

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (  # root has no sandbox, the machine perhaps no GPU; and nothing is asked of the world outside
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
)
PATIENCE = 90_000  # milliseconds, for two busy cores

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `python app.py` serves the page."""
    log = tmp_path_factory.mktemp("app") / "log.txt"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "DEEPLENS_MODEL": str(model_folder),
    }
    with open(log, "w") as out:
        app = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=os.environ | settings, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=10).close()
                break
            except OSError:
                assert app.poll() is None and time.monotonic() < deadline, f"no page:\n{log.read_text()}"
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        app.terminate()
        app.wait(timeout=30)


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as driver:
        found = next(filter(None, map(shutil.which, BROWSERS)), driver.chromium.executable_path)
        if not Path(found).exists():
            pytest.skip(f"NO BROWSER TESTS: none of {', '.join(BROWSERS)} on PATH, and none of Playwright's own")
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: "playwright.Browser", address: str) -> Iterator["playwright.Page"]:
    """The page, freshly loaded. Whatever a test does, the browser's console has to stay free of errors."""
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    page.set_default_timeout(PATIENCE)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(address)
    page.locator("#upload input[type=file]").wait_for(state="attached")
    yield page
    page.close()
    assert not errors


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo stored lying on its side: 360 x 240 pixels in the file, 240 x 360 as everybody sees it."""
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned clockwise
    path = tmp_path / "photo.jpg"
    with Image.open(ROOT / "examples" / "coffee.jpg") as coffee:
        coffee.resize((360, 240)).save(path, exif=exif)
    return path


def upload(page: "playwright.Page", path: Path) -> None:
    page.locator("#upload input[type=file]").set_input_files(path)


def shown(page: "playwright.Page", pane: str, other_than: str | None = None) -> str:
    """The address of the picture in a pane, once there is another than that; gradio names pictures by their content."""
    page.wait_for_function(
        "([pane, old]) => ![undefined, '', old].includes(document.querySelector(`#${pane} img`)?.src)",
        arg=[pane, other_than],
    )
    return page.locator(f"#{pane} img").evaluate("img => img.src")


def pixels(page: "playwright.Page", address: str) -> np.ndarray:
    """The picture at that address, (H, W, 3) in [0, 255]."""
    return np.asarray(Image.open(io.BytesIO(page.request.get(address).body())).convert("RGB")).astype(float)


def click(page: "playwright.Page", pane: str, x: float, y: float) -> None:
    """Click the middle of pixel (x, y) of the picture in a pane, wherever and however large it is shown."""
    position = page.wait_for_function(
        """([pane, x, y]) => {
            const img = document.querySelector(`#${pane} img`), box = img.getBoundingClientRect();
            if (!img.complete || !img.naturalWidth) return false;  // just changing
            // the picture lies in the middle of its box, made smaller where it has to be
            const scale = Math.min(1, box.width / img.naturalWidth, box.height / img.naturalHeight);
            return {x: (box.width - scale * img.naturalWidth) / 2 + (x + 0.5) * scale,
                    y: (box.height - scale * img.naturalHeight) / 2 + (y + 0.5) * scale};
        }""",
        arg=[pane, x, y],
    ).json_value()
    page.locator(f"#{pane} img").click(position=position)


def wait_for_focus(page: "playwright.Page", x: int, y: int, timeout: float | None = None) -> None:
    """The number fields have to say (x, y), give or take the pixel that a click can be off."""
    page.wait_for_function(
        """([x, y]) => [['Focus x', x], ['Focus y', y]].every(([label, at]) =>
            Math.abs(document.querySelector(`input[aria-label="${label}"]`).valueAsNumber - at) <= 1)""",
        arg=[x, y],
        timeout=timeout,
    )


def ringed(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """The middle (x, y) of what was drawn between two states of a pane."""
    rows, columns = np.nonzero(np.abs(after - before).max(-1) > 80)  # JPEG's own changes are smaller
    return (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2


def test_first_result_needs_no_click(page, photo):
    upload(page, photo)
    result = pixels(page, shown(page, "result"))
    assert result.shape == (360, 240, 3)  # upright, at its own size
    assert pixels(page, shown(page, "view")).shape == pixels(page, shown(page, "depth")).shape == (360, 240, 3)


def test_click_focuses_on_what_was_clicked(page, photo):
    upload(page, photo)
    first, plain = shown(page, "result"), shown(page, "view")

    click(page, "view", 60, 100)
    wait_for_focus(page, 60, 100)
    second, marked = shown(page, "result", first), shown(page, "view", plain)
    assert ringed(pixels(page, plain), pixels(page, marked)) == pytest.approx((60, 100), abs=3)

    click(page, "depth", 180, 300)  # the depth map is as good as the photo
    wait_for_focus(page, 180, 300)
    shown(page, "result", second)
    marked = shown(page, "view", marked)
    assert ringed(pixels(page, plain), pixels(page, marked)) == pytest.approx((180, 300), abs=3)


def test_last_of_many_clicks_wins(page, photo):
    upload(page, photo)
    first = shown(page, "result")
    click(page, "view", 120, 180)
    alone = shown(page, "result", first)
    for x, y in ((30, 30), (200, 60), (100, 330), (220, 340)):
        click(page, "view", x, y)
    for attempt in range(5):  # a click that lands while a busy page swaps the pane's picture can miss: click again
        click(page, "view", 120, 180)
        try:
            wait_for_focus(page, 120, 180, timeout=10_000)
            break
        except playwright.TimeoutError:
            assert attempt < 4, "the last click never came in"
    page.wait_for_function("src => document.querySelector('#result img').src === src", arg=alone)
    page.wait_for_timeout(3000)  # nothing staler comes in after it
    assert shown(page, "result") == alone


def test_everything_by_keyboard(page, photo):
    upload(page, photo)
    first = shown(page, "result")
    page.get_by_label("Focus x").fill("40")
    page.get_by_label("Focus y").fill("320")
    second = shown(page, "result", first)
    slider = page.get_by_label("range slider for Aperture")
    slider.focus()
    slider.press("End")
    third = shown(page, "result", second)
    slider.press("Home")  # aperture 0: the photo as it was
    last = shown(page, "result", third)
    with Image.open(photo) as file:
        original = np.asarray(file.transpose(Image.Transpose.ROTATE_270)).astype(float)
    assert np.abs(pixels(page, last) - original).max() <= 1


@pytest.mark.parametrize(
    ("name", "sentence"), [("words.jpg", "must be a picture"), ("cut.jpg", "must be a whole, readable picture")]
)
def test_what_is_no_photo_gets_a_sentence(page, photo, name, sentence):
    bad = photo.with_name(name)
    bad.write_bytes(b"these are words" if name == "words.jpg" else photo.read_bytes()[:2000])
    upload(page, bad)
    toast = page.locator(".toast-body")
    toast.wait_for()
    assert sentence in toast.inner_text()
    assert str(photo.parent) not in toast.inner_text() and "/" not in toast.inner_text()  # no path of the server

    page.locator("#upload img").wait_for(state="detached")  # and the page goes on
    upload(page, photo)
    shown(page, "result")


def test_point_outside_the_photo_gets_the_accepted_range(page, photo):
    upload(page, photo)
    first = shown(page, "result")
    page.get_by_label("Focus x").fill("4000")
    page.get_by_label("Focus y").fill("10")
    toast = page.locator(".toast-body").first
    toast.wait_for()
    assert "0 <= x < 240" in toast.inner_text()
    assert shown(page, "result") == first
