"""The number fields and sliders: what is half typed or out of range changes nothing, and never stays."""

import pytest

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow

SIZE = (240, 360)  # of the photo as everybody sees it


def ends(visitor) -> tuple[float, float]:
    """The focal range as the fields say it."""
    return tuple(float(visitor.field(label).input_value() or "nan") for label in ("Sharp from", "Sharp to"))


def band(visitor) -> tuple[float, float]:
    """The focal range as the profile of depths shows it: what the picture was made with."""
    x, width = (float(visitor.page.locator("#viewfinder .band").get_attribute(name)) for name in ("x", "width"))
    return x / 128, (x + width) / 128


def write(visitor, field, text: str) -> None:
    """As people do: digit by digit in place of what is there."""
    field.click()
    field.press("ControlOrMeta+a")
    field.press("Delete")
    visitor.page.keyboard.type(text, delay=60)


def leave(visitor) -> None:
    """Go elsewhere by a click on what does nothing."""
    visitor.page.locator("#title h1").click()


@pytest.fixture
def ranged(visit, photo):
    """Sharp from 0.2 to 0.5."""
    visitor = visit()
    visitor.upload(photo)
    visitor.field("Sharp from").fill("0.2")
    visitor.field("Sharp to").fill("0.5")
    visitor.until(lambda: band(visitor), pytest.approx((0.2, 0.5), abs=0.01))
    return visitor


def test_an_end_typed_is_what_it_says(ranged):
    write(ranged, ranged.field("Sharp from"), "0.35")
    ranged.until(lambda: band(ranged), pytest.approx((0.35, 0.5), abs=0.01))
    write(ranged, ranged.field("Sharp to"), "0.9")
    ranged.until(lambda: band(ranged), pytest.approx((0.35, 0.9), abs=0.01))
    assert ends(ranged) == (0.35, 0.9)
    write(ranged, ranged.field("Sharp from"), "0.95")  # both beyond, one after the other
    write(ranged, ranged.field("Sharp to"), "0.99")
    ranged.until(lambda: band(ranged), pytest.approx((0.95, 0.99), abs=0.01))
    assert ends(ranged) == (0.95, 0.99)


def test_what_is_typed_fast_is_not_written_over(ranged):
    """By what comes of the digits before the last, which could be."""
    field = ranged.field("Sharp from")
    ranged.field("Sharp to").fill("0.9")
    for _ in range(10):
        field.fill("0.2")
        ranged.until(lambda: band(ranged), pytest.approx((0.2, 0.9), abs=0.01))
        field.press("ControlOrMeta+a")
        ranged.page.keyboard.type("0.95", delay=0)
        ranged.page.wait_for_timeout(800)
        assert field.input_value() == "0.95"


@pytest.mark.parametrize(
    ("label", "text"), [("Sharp from", "0.8"), ("Sharp to", "0.1"), ("Sharp to", "5"), ("Sharp to", "")]
)
def test_an_end_that_cannot_be_goes_back(ranged, label, text):
    shown = ranged.settle()
    field = ranged.field(label)
    field.fill(text)  # at once: its first digits could be
    playwright.expect(field).to_have_value(text)
    leave(ranged)
    ranged.until(lambda: ends(ranged), (0.2, 0.5))
    ranged.page.wait_for_timeout(700)
    assert ends(ranged) == (0.2, 0.5) and ranged.settle() == shown
    assert ranged.page.locator(".toast-body").count() == 0


def test_an_end_left_empty_says_the_plane_in_focus_again(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    visitor.click("photo", 60, 180, SIZE)
    visitor.until(visitor.focus, pytest.approx((60, 180), abs=1))
    shown = visitor.settle()
    visitor.until(lambda: ends(visitor), pytest.approx(band(visitor), abs=0.02))
    before = ends(visitor)
    write(visitor, visitor.field("Sharp to"), "")
    leave(visitor)
    visitor.until(lambda: ends(visitor), before)
    assert visitor.focus() == pytest.approx((60, 180), abs=1) and visitor.settle() == shown


def test_a_slider_stops_at_the_other_end(ranged):
    slider = ranged.page.locator('input[type=range][aria-label$="Sharp from"]')
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    y, at = box["y"] + box["height"] / 2, lambda share: box["x"] + 9 + share * (box["width"] - 18)
    ranged.page.mouse.move(at(0.2), y)
    ranged.page.mouse.down()
    ranged.page.mouse.move(at(0.8), y, steps=20)
    ranged.until(lambda: ends(ranged), (0.5, 0.5))
    ranged.page.mouse.move(at(0.3), y, steps=10)
    ranged.page.mouse.up()
    ranged.until(lambda: ends(ranged), pytest.approx((0.3, 0.5), abs=0.02))
    ranged.until(lambda: band(ranged), pytest.approx((0.3, 0.5), abs=0.03))


def test_a_point_outside_the_photo_leaves_the_one_before(visit, photo, tmp_path):
    visitor = visit()
    visitor.upload(photo)
    visitor.click("photo", 60, 100, SIZE)
    visitor.until(visitor.focus, pytest.approx((60, 100), abs=1))
    before, shown = visitor.focus(), visitor.settle()
    visitor.page.get_by_label("Focus x").fill("5000")
    assert "x below 240" in visitor.told()
    leave(visitor)
    visitor.until(visitor.focus, before)
    assert visitor.settle() == shown
    assert visitor.download("Save full resolution", tmp_path).name == "photo_refocused.jpg"


def test_a_lens_out_of_range_is_kept_within(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    first = visitor.address("photo")
    visitor.tab("Lens")
    write(visitor, visitor.field("Mirror ring"), "7")
    widest = visitor.changed(first)
    visitor.field("Mirror ring").fill("0.9")
    visitor.until(visitor.settle, widest)
    assert visitor.page.locator(".toast-body").count() == 0


@pytest.mark.parametrize(
    ("label", "told"),
    [("Focus point is at", "no distance"), ("Focal length", "no focal length"), ("Sensor width", "no sensor")],
)
def test_a_calibration_below_0_is_told_for_people(visit, photo, label, told):
    visitor = visit()
    visitor.upload(photo)
    visitor.click("photo", 60, 100, SIZE)
    visitor.until(visitor.focus, pytest.approx((60, 100), abs=1))
    visitor.tab("Depth")
    for name, value in (("Focus point is at", "2"), ("Focal length", "50"), ("Sensor width", "36")):
        visitor.field(name).fill("-2" if name == label else value)
    visitor.page.get_by_role("button", name="Calibrate").click()
    assert told in visitor.told()


def test_a_picture_on_its_way_is_seen_whatever_it_is_made_for(visit, photo):
    visitor, held = visit(), []
    visitor.upload(photo)
    visitor.settle()
    finder = visitor.page.locator("#viewfinder .finder")
    visitor.page.route("**/queue/join*", lambda route: held.append(route))
    visitor.page.locator("#stop input[type=range]").press("Home")
    visitor.until(lambda: len(held) > 0, True)
    playwright.expect(finder).to_have_attribute("data-busy", "")
    held[0].continue_()
    visitor.settle()
    visitor.page.unroute("**/queue/join*")
    visitor.tab("Lens")
    visitor.page.get_by_label("number input for Glow of lights").fill("1.3")  # none in this photo: the same picture
    visitor.page.wait_for_timeout(700)
    visitor.settle()
