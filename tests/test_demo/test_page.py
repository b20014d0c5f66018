"""Focus by click, field and slider, and what happens to files that are no photos."""

import pytest

pytestmark = pytest.mark.slow

SIZE = (240, 360)  # of the photo as everybody sees it


def test_first_result_needs_no_click(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    assert visitor.pixels("photo").shape == visitor.pixels("depth").shape == (360, 240, 3)  # upright


def test_click_focuses_on_what_was_clicked(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    first = visitor.address("photo")
    visitor.click("photo", 60, 100, SIZE)
    second = visitor.settle()
    assert visitor.focus() == pytest.approx((60, 100), abs=1)
    visitor.click("depth", 180, 300, SIZE)  # the depth map is as good as the photo
    third = visitor.settle()
    assert visitor.focus() == pytest.approx((180, 300), abs=1)
    assert len({first, second, third}) == 3


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
    assert visitor.focus() == pytest.approx((120, 180), abs=1)
    visitor.page.wait_for_timeout(2000)  # nothing staler comes in after it
    assert visitor.address("photo") == alone


def test_everything_by_keyboard(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    first = visitor.address("photo")
    visitor.page.get_by_label("Focus x").fill("40")
    visitor.page.get_by_label("Focus y").fill("320")
    assert visitor.settle() != first
    assert visitor.focus() == (40, 320)


@pytest.mark.parametrize(
    ("name", "sentence"), [("words.jpg", "must be a picture"), ("cut.jpg", "must be a whole, readable picture")]
)
def test_what_is_no_photo_gets_a_sentence(visit, photo, name, sentence):
    visitor = visit()
    bad = photo.with_name(name)
    bad.write_bytes(b"these are words" if name == "words.jpg" else photo.read_bytes()[:2000])
    visitor.choose(bad)
    toast = visitor.page.locator(".toast-body")
    toast.wait_for()
    assert sentence in toast.inner_text()
    assert str(photo.parent) not in toast.inner_text() and "/" not in toast.inner_text()  # no path of the server
    visitor.upload(photo)  # and the page goes on


def test_point_outside_the_photo_gets_the_accepted_range(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    first = visitor.address("photo")
    visitor.page.get_by_label("Focus x").fill("4000")
    visitor.page.get_by_label("Focus y").fill("10")
    toast = visitor.page.locator(".toast-body").first
    toast.wait_for()
    assert "0 <= x < 240" in toast.inner_text()
    assert visitor.address("photo") == first
