"""The page under fingers, on a phone, and for who does not see it."""

import pytest

pytest.importorskip("playwright.sync_api", reason="NO BROWSER TESTS: playwright is not installed")

SIZE = (240, 360)  # of the photo, upright
PHONE = {"width": 390, "height": 844, "has_touch": True, "is_mobile": True, "device_scale_factor": 1}


class Fingers:
    """Touches as the screen reports them."""

    def __init__(self, visitor):
        self.page = visitor.page
        self.client = visitor.page.context.new_cdp_session(visitor.page)

    def send(self, kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        self.client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
        self.page.wait_for_timeout(20)

    def swipe(self, start: tuple[float, float], across: float, down: float) -> None:
        self.send("touchStart", start)
        for step in range(1, 13):
            self.send("touchMove", (start[0] + across * step / 12, start[1] + down * step / 12))
        self.send("touchEnd")
        self.page.wait_for_timeout(500)


def slider(visitor, label: str):
    return visitor.page.get_by_label(f"range slider for {label}")


def test_scrolling_from_a_slider_leaves_it_as_it_was(visit, photo):
    visitor = visit(**PHONE)
    visitor.upload(photo)
    fingers = Fingers(visitor)
    stop = slider(visitor, "Aperture")
    stop.scroll_into_view_if_needed()
    visitor.page.wait_for_timeout(500)
    before, scrolled = stop.input_value(), visitor.page.evaluate("scrollY")
    box = stop.bounding_box()
    fingers.swipe((box["x"] + 60, box["y"] + box["height"] / 2), 3, -120)
    assert visitor.page.evaluate("scrollY") > scrolled + 50
    assert stop.input_value() == before
    assert visitor.page.locator("#readout b").inner_text() == "f/2.8"
    box = stop.bounding_box()
    fingers.swipe((box["x"] + 60, box["y"] + box["height"] / 2), 40, 0)  # along it
    assert stop.input_value() != before


def test_scrolling_from_an_end_of_the_range_leaves_the_focus_point(visit, photo):
    visitor = visit(**PHONE)
    visitor.upload(photo)
    before = visitor.settle()
    visitor.page.touchscreen.tap(*visitor.where("photo", 120, 300, SIZE))
    visitor.changed(before)
    near = slider(visitor, "Sharp to")
    near.scroll_into_view_if_needed()
    visitor.page.wait_for_timeout(500)
    wish, box = visitor.page.evaluate("JSON.stringify(inView().wish)"), near.bounding_box()
    Fingers(visitor).swipe((box["x"] + 40, box["y"] + box["height"] / 2), 2, -120)
    visitor.settle()
    assert visitor.page.evaluate("JSON.stringify(inView().wish)") == wish and '"point":[' in wish
    visitor.page.touchscreen.tap(near.bounding_box()["x"] + 300, near.bounding_box()["y"] + box["height"] / 2)
    visitor.until(lambda: visitor.page.evaluate("inView().wish.range !== null"), True)  # a tap on it is meant


@pytest.mark.parametrize("mode", ["Depth brush", "Range"])
def test_two_fingers_zoom_and_draw_nothing(visit, photo, mode):
    visitor = visit(**PHONE)
    visitor.upload(photo)
    visitor.page.get_by_role("button", name=mode).tap()
    scene, wish = visitor.scene(), visitor.page.evaluate("JSON.stringify(inView().wish)")
    x, y = visitor.where("photo", 120, 180, SIZE)
    fingers = Fingers(visitor)
    fingers.send("touchStart", (x - 20, y))
    fingers.send("touchStart", (x - 20, y), (x + 20, y))
    for step in range(10):
        fingers.send("touchMove", (x - 20 - 6 * step, y), (x + 20 + 6 * step, y))
    fingers.send("touchEnd")
    visitor.until(lambda: visitor.page.evaluate("visualViewport.scale") > 1.1, True)
    visitor.settle()
    assert visitor.scene() == scene and visitor.page.evaluate("JSON.stringify(inView().wish)") == wish
    assert visitor.page.locator("[data-act=undo]").is_disabled()


def test_photo_follows_to_the_controls_that_change_it(visit, photo):
    visitor = visit(**PHONE)
    visitor.upload(photo)
    stage = visitor.page.locator("[data-pane=photo] .stage")

    def in_sight() -> bool:
        box = stage.bounding_box()
        return 0 <= box["y"] < box["y"] + box["height"] < 844 / 3

    visitor.tab("Lens")
    visitor.until(in_sight, True)
    before, long = visitor.settle(), visitor.page.evaluate("document.body.scrollHeight")
    ring = slider(visitor, "Mirror ring")
    ring.fill("0.6")
    visitor.changed(before)  # and one sees it
    assert in_sight()
    box = stage.bounding_box()
    visitor.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    visitor.until(lambda: visitor.page.evaluate("inView().wish.point") is not None, True)
    assert abs(visitor.focus()[1] - SIZE[1] / 4) < 8
    visitor.tab("Before / after")  # has pictures of its own
    visitor.until(in_sight, False)
    visitor.tab("Lens")
    visitor.until(in_sight, True)
    visitor.page.evaluate("scrollTo(0, 0)")
    visitor.until(in_sight, False)  # back in its place, which nothing else had taken
    assert visitor.page.evaluate("document.body.scrollHeight") == long


def test_it_follows_in_the_frame_of_a_space_too(visit, address, photo):
    page = visit(**PHONE).page
    page.set_content(f"<iframe src={address} style='width: 100%; height: 800px; border: 0'></iframe>")
    frame = page.frame_locator("iframe")
    frame.locator("#viewfinder .finder").wait_for(state="attached")
    frame.locator("#upload input[type=file]").set_input_files(photo)
    frame.locator(".finder:not([data-empty]):not([data-busy])").wait_for()
    frame.get_by_role("tab", name="Lens").click()
    frame.locator(".finder[data-passed]").wait_for()
    top = frame.locator("[data-pane=photo] .stage").evaluate("stage => stage.getBoundingClientRect().top")
    assert 0 <= top < 20


def test_who_does_not_see_the_pictures_hears_of_them(visit, photo):
    visitor = visit()
    visitor.page.evaluate(
        """() => {
            window.heard = [];
            const told = document.querySelector(".finder [role=status]");
            const hear = () => told.textContent && heard.push(told.textContent);
            new MutationObserver(hear).observe(told, {childList: true});
        }"""
    )
    visitor.upload(photo)
    before = visitor.settle()
    visitor.field("Focus x").fill("30")
    visitor.field("Focus y").fill("40")
    visitor.changed(before)
    with visitor.page.expect_download():
        visitor.page.get_by_role("button", name="Save full resolution").press("Enter")
    heard = visitor.page.evaluate("heard")
    assert heard[0] == "Photo opened, 240 by 360 pixels" and heard[-1] == "Saved"
    assert heard.count("Picture ready") >= 2
    saving = "document.activeElement.innerText"
    visitor.until(lambda: visitor.page.evaluate(saving), "Save full resolution")  # the keyboard is where it was


def test_what_is_uploaded_need_not_be_fetched_back(visit, photo):
    """The upload box would show it: on a slow line the opened photo would have to wait for that."""
    visitor = visit()
    given_up = []
    visitor.page.route(lambda url: "/file=" in url and url.endswith("photo.jpg"), lambda route: None)  # no answer
    visitor.page.on("requestfailed", lambda request: given_up.append(request.url))
    visitor.upload(photo)
    visitor.until(lambda: any(url.endswith("photo.jpg") for url in given_up), True)
