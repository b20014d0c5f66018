"""Focus by click, drag, field and slider; what is in focus is sharp; files that are no photos."""

import re

import numpy as np
import pytest
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow

SIZE = (240, 360)  # of the photo as everybody sees it
WIDE, ROOM = {"width": 1280, "height": 1000}, (854, 1280)


def sharpness(pixels: np.ndarray, x: float, y: float, reach: int = 24) -> float:
    """Variance of the Laplacian around (x, y)."""
    grey = pixels.mean(-1)[int(y) - reach : int(y) + reach, int(x) - reach : int(x) + reach]
    laplacian = 4 * grey[1:-1, 1:-1] - grey[2:, 1:-1] - grey[:-2, 1:-1] - grey[1:-1, 2:] - grey[1:-1, :-2]
    return float(laplacian.var())


def test_first_result_needs_no_click(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    assert visitor.pixels("photo").shape == visitor.pixels("depth").shape == (360, 240, 3)  # upright


def test_heic_opens_as_others_do(visit, photo, tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    heic = tmp_path / "photo.heic"
    with Image.open(photo) as picture:
        pillow_heif.from_pillow(picture.convert("RGB")).save(
            heic
        )  # lies on its side: the orientation is not taken over
    visitor = visit()
    visitor.upload(heic)
    assert visitor.pixels("photo").shape == (240, 360, 3)


@pytest.mark.parametrize(
    "window", [WIDE, {"width": 900, "height": 700, "device_scale_factor": 2}], ids=["wide", "narrow at ratio 2"]
)
def test_what_is_clicked_becomes_sharp(visit, room, window):
    near, far = (300, 720), (390, 300)  # the drum's cords, the bottle's label; pixels of the photo
    visitor = visit(**window)
    visitor.upload(room)
    scale = visitor.pixels("photo").shape[1] / ROOM[0]
    measured = {}
    for pane, (x, y) in (("photo", near), ("depth", far)):
        visitor.click(pane, x, y, ROOM)
        visitor.settle()
        visitor.until(visitor.focus, pytest.approx((x, y), abs=2))
        shown = visitor.pixels("photo")
        measured[pane] = [sharpness(shown, u * scale, v * scale) for u, v in (near, far)]
    assert measured["photo"][0] > 2 * measured["depth"][0]  # the drum, clicked against left
    assert measured["depth"][1] > 2 * measured["photo"][1]  # the bottle


def test_marker_shows_the_point_on_both_panes(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    visitor.click("depth", 60, 100, SIZE)
    visitor.settle()
    for pane in ("photo", "depth"):
        there = visitor.where(pane, 60, 100, SIZE)
        box = visitor.page.locator(f"[data-pane={pane}] .mark").first.bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        assert middle == pytest.approx(there, abs=3)


@pytest.mark.parametrize("pause", [0, 150, 400], ids=lambda pause: f"{pause}ms")
def test_last_of_five_rapid_clicks_wins(visit, photo, pause):
    visitor = visit()
    visitor.upload(photo)
    visitor.click("photo", 120, 180, SIZE)
    alone = visitor.settle()
    for x, y in ((30, 30), (200, 60), (100, 330), (220, 340), (120, 180)):
        visitor.click("photo", x, y, SIZE)
        visitor.page.wait_for_timeout(pause)
    assert visitor.settle() == alone
    visitor.until(visitor.focus, pytest.approx((120, 180), abs=1))
    visitor.page.wait_for_timeout(2000)  # nothing staler comes in after it
    assert visitor.address("photo") == alone


def test_range_dragged_out_is_sharp_and_tinted(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    visitor.page.get_by_role("button", name="Range").click()
    first = visitor.address("photo")
    visitor.drag("photo", (120, 60), (120, 320), SIZE)
    assert visitor.settle() != first
    visitor.page.get_by_role("button", name="Show what is sharp").click()
    tinted = visitor.page.locator("[data-pane=photo] canvas.sharp").evaluate(
        """canvas => {
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return data.filter((_, i) => i % 4 === 3 && data[i] > 0).length / data.length * 4;
        }"""
    )
    assert 0.02 < tinted < 0.98
    band = visitor.page.locator("#viewfinder .band")
    assert float(band.get_attribute("width")) > 2  # of 128: more than a plane


def test_everything_by_keyboard(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    first = visitor.address("photo")
    visitor.page.get_by_label("Focus x").fill("40")
    visitor.page.get_by_label("Focus y").fill("320")
    visitor.page.wait_for_function("() => document.querySelector('#viewfinder .mark:not([hidden])')")
    second = visitor.settle()
    assert second != first
    ring, readout = visitor.page.locator("#stop input[type=range]"), visitor.page.locator("#readout")
    ring.press("Home")
    playwright.expect(readout).to_contain_text("f/16")
    playwright.expect(ring).to_have_attribute("aria-valuetext", re.compile("^f/16, "))
    third = visitor.changed(second)
    ring.press("End")
    playwright.expect(readout).to_contain_text("f/1.4")
    fourth = visitor.changed(third)
    visitor.page.get_by_role("button", name="Subject").press("Enter")
    playwright.expect(visitor.page.get_by_label("Focus x")).to_have_value("")
    visitor.changed(fourth)


def test_fields_and_readout_do_not_wait_for_the_picture(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    first, held = visitor.address("photo"), []
    visitor.page.route("**/queue/join*", lambda route: held.append(route))  # nothing reaches the server
    visitor.click("photo", 60, 100, SIZE)
    visitor.until(visitor.focus, pytest.approx((60, 100), abs=1))
    visitor.page.locator("#stop input[type=range]").press("Home")
    playwright.expect(visitor.page.locator("#readout")).to_contain_text("f/16")
    visitor.until(lambda: len(held) > 0, True)
    assert visitor.address("photo") == first


def test_aperture_by_mouse_narrows_the_blur(visit, room):
    visitor = visit()
    visitor.upload(room)
    scale = visitor.pixels("photo").shape[1] / ROOM[0]
    wide = visitor.address("photo")
    blurred = sharpness(visitor.pixels("photo"), 390 * scale, 300 * scale)
    ring = visitor.page.locator("#stop input[type=range]")
    ring.click(position={"x": 2, "y": ring.bounding_box()["height"] / 2})
    visitor.changed(wide)
    assert sharpness(visitor.pixels("photo"), 390 * scale, 300 * scale) > 1.5 * blurred


@pytest.mark.parametrize(
    ("name", "sentence"), [("words.jpg", "not a picture that can be read"), ("cut.jpg", "damaged or not complete")]
)
def test_what_is_no_photo_gets_a_sentence(visit, photo, name, sentence):
    visitor = visit()
    bad = photo.with_name(name)
    bad.write_bytes(b"these are words" if name == "words.jpg" else photo.read_bytes()[:2000])
    visitor.choose(bad)
    told = visitor.told()
    assert sentence in told
    assert str(photo.parent) not in told and "/" not in told  # no path of the server
    visitor.upload(photo)  # and the page goes on


def test_next_photo_is_opened_while_the_emptied_box_waits_for_its_turn(visit, photo, room):
    visitor, held = visit(), []

    def hold(route):  # as behind others' pictures
        if not held and route.request.post_data_json["data"] == [None, None]:  # the box, and no film
            held.append(route)
        else:
            route.continue_()

    visitor.page.route("**/queue/join*", hold)
    visitor.upload(photo)
    visitor.until(lambda: len(held) > 0, True)
    visitor.upload(room)
    assert visitor.pixels("photo").shape[0] > SIZE[1]


def test_photo_that_comes_while_another_is_opened_is_not_taken_away(visit, photo, room):
    visitor, opening, admitting, first = visit(), [], [], []

    def hold(route):
        file, *others = route.request.post_data_json["data"]
        if file and "path" in file:
            (opening if others else admitting).append(route)  # beside what is to be opened, no film
        if route not in opening[:1] and (first or route not in admitting[1:]):
            route.continue_()

    visitor.page.route("**/queue/join*", hold)
    visitor.choose(photo)
    visitor.until(lambda: len(opening) > 0, True)
    visitor.choose(room)
    visitor.until(lambda: len(admitting) > 1, True)
    opening[0].continue_()
    visitor.another_scene(None)
    assert visitor.pixels("photo").shape[0] == SIZE[1]
    first.append(visitor.scene())
    for route in admitting[1:]:
        route.continue_()
    visitor.another_scene(first[0])
    assert visitor.pixels("photo").shape[0] > SIZE[1]
    assert len(opening) == 2  # each once


def test_too_large_a_photo_is_refused_before_it_is_read(visit, tmp_path):
    large = tmp_path / "large.png"
    Image.new("1", (9000, 9000)).save(large)
    visitor = visit()
    visitor.choose(large)
    assert "more than 50 megapixels" in visitor.told()


def test_point_outside_the_photo_gets_the_accepted_range(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    first = visitor.address("photo")
    visitor.page.get_by_label("Focus x").fill("4000")
    visitor.page.get_by_label("Focus y").fill("10")
    assert "x below 240" in visitor.told()
    assert visitor.address("photo") == first
