"""The README's pictures of the page: `python app.py`, then `python docs/make_screenshots.py [ADDRESS]`."""

import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
READY = "#viewfinder .finder:not([data-empty]):not([data-busy])"
SHOTS = (  # file, example to open, point to click as shares of the pane, browser context
    ("page.jpg", "night_bridge.jpg", (0.5, 0.77), {"viewport": {"width": 1360, "height": 1150}}),
    (
        "page_dark.jpg",
        "landscape.jpg",
        (0.27, 0.62),
        {"viewport": {"width": 1360, "height": 1036}, "color_scheme": "dark"},
    ),
    (
        "page_phone.jpg",
        "astronaut.jpg",
        (0.48, 0.25),
        {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
    ),
)


def main(address: str) -> None:
    with sync_playwright() as driver:
        found = shutil.which("chromium") or driver.chromium.executable_path
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        for name, example, (x, y), context in SHOTS:
            page = browser.new_context(**context).new_page()
            page.goto(address)
            page.locator("#upload input[type=file]").set_input_files(HERE.parent / "examples" / example)
            page.locator(READY).wait_for()
            stage = page.locator("[data-pane=photo] .stage")
            box = stage.bounding_box()
            stage.click(position={"x": x * box["width"], "y": y * box["height"]})
            page.locator(READY).wait_for()
            page.wait_for_timeout(1500)
            Image.open(BytesIO(page.screenshot())).convert("RGB").save(HERE / name, quality=85)
            print(HERE / name)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:] or ["http://127.0.0.1:7860"])
