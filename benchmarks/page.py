"""How fast the page is, in a real browser: `python benchmarks/page.py [--runs N]` writes page.json and page.md.

Starts app.py by itself. Times are from the visitor's act to the last picture on the screen, polled each frame.
"""

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
READY = "#viewfinder .finder:not([data-empty]):not([data-busy])"
AIMS = {
    "page interactive": 2.0,
    "first result after uploading 12 megapixels": 4.0,
    "result after a click": 0.8,
    "result after a step of the aperture": 0.8,
    "12 megapixels saved as JPEG": None,
}


def start() -> tuple[subprocess.Popen, str]:
    """The app, and where it serves the page."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port)}
    app = subprocess.Popen(
        [sys.executable, "app.py"], cwd=HERE.parent, env=os.environ | settings, stdout=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    while True:
        try:
            urllib.request.urlopen(address, timeout=10).close()
            return app, address
        except OSError:
            if app.poll() is not None:
                raise SystemExit("app.py did not start") from None
            time.sleep(0.5)


def visit(page: Page, address: str, photo: Path) -> dict[str, float]:
    """One visit: the seconds of each act."""
    seconds, clock = {}, time.perf_counter

    began = clock()
    page.goto(address)
    page.locator("#upload input[type=file]").wait_for(state="attached")
    seconds["page interactive"] = clock() - began

    def shown() -> str:
        return page.locator("[data-pane=photo] img").evaluate("img => img.src")

    def until_another(before: str) -> None:
        page.wait_for_function(
            """([ready, old]) => {
                const finder = document.querySelector(ready);
                return finder && finder.querySelector("[data-pane=photo] img").src !== old;
            }""",
            arg=[READY, before],
        )

    began = clock()
    page.locator("#upload input[type=file]").set_input_files(photo)
    page.locator(READY).wait_for()
    seconds["first result after uploading 12 megapixels"] = clock() - began

    page.locator("[data-pane=photo] .stage").scroll_into_view_if_needed()
    box = page.locator("[data-pane=photo] .stage").bounding_box()
    before, began = shown(), clock()
    page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["height"])
    until_another(before)
    seconds["result after a click"] = clock() - began

    ring = page.locator("#stop input[type=range]")
    ring.focus()
    before, began = shown(), clock()
    ring.press("ArrowRight")
    until_another(before)
    seconds["result after a step of the aperture"] = clock() - began

    began = clock()
    with page.expect_download():
        page.get_by_role("button", name="Save full resolution").click()
    seconds["12 megapixels saved as JPEG"] = clock() - began
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    app, address = start()
    try:
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
            photo = Path(folder) / "photo.jpg"
            with Image.open(HERE.parent / "examples" / "plants.jpg") as plants:
                plants.resize((4000, 3000), Image.Resampling.LANCZOS).save(photo, quality=92)
            found = shutil.which("chromium") or driver.chromium.executable_path
            browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
            visits = []
            for _ in range(runs + 1):  # the first one warms up and does not count
                page = browser.new_page(viewport={"width": 1360, "height": 1000})
                page.set_default_timeout(120_000)
                visits.append(visit(page, address, photo))
                page.close()
            browser.close()
    finally:
        app.terminate()
        app.wait(timeout=30)
    medians = {act: round(statistics.median(seconds[act] for seconds in visits[1:]), 2) for act in AIMS}
    load = os.getloadavg()[1]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load average {load:.1f}"
    (HERE / "page.json").write_text(json.dumps({"machine": machine, "runs": runs, "seconds": medians}, indent=1) + "\n")
    rows = [f"| {act} | {medians[act]:.2f} | {aim or '–'} |" for act, aim in AIMS.items()]
    head = f"# The page ({machine})\n\nMedian seconds of {runs} visits, in Chromium.\n\n| act | seconds | aim |\n"
    (HERE / "page.md").write_text(head + "| --- | ---: | ---: |\n" + "\n".join(rows) + "\n")
    print((HERE / "page.md").read_text())


if __name__ == "__main__":
    main()
