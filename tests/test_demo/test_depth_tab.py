"""The depth map at work: the profile, the fields of a focal range, the brush by keyboard, real f-numbers."""

import numpy as np
import pytest

from deeplens_hf.optics import aperture_of_f_number

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow

SIZE = (240, 360)  # of the photo as everybody sees it
NEAR, FAR = (60, 180), (215, 40)  # pixels of it: the table is on the left, and the photo understood as lying
LISTEN = """() => {
    const readout = document.querySelector("#readout");
    window.heard = [];
    new MutationObserver(() => window.heard.push(readout.innerText))
        .observe(readout, {subtree: true, childList: true, characterData: true, attributes: true});
}"""


def ends(visitor) -> tuple[float, float]:
    """The focal range as the fields say it."""
    return tuple(float(visitor.field(label).input_value()) for label in ("Sharp from", "Sharp to"))


def band(visitor) -> tuple[float, float]:
    """The focal range as the profile of depths shows it."""
    x, width = (float(visitor.page.locator("#viewfinder .band").get_attribute(name)) for name in ("x", "width"))
    return x / 128, (x + width) / 128


def tinted(visitor, pane: str) -> np.ndarray:
    """Where the overlay says that it is sharp, (H, W)."""
    canvas = visitor.page.locator(f"[data-pane={pane}] canvas.sharp")
    width, alpha = canvas.evaluate(
        """canvas => {
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.width, Array.from(data.filter((_, i) => i % 4 === 3))];
        }"""
    )
    return np.array(alpha).reshape(-1, width) > 0


def test_profile_and_fields_show_the_plane_in_focus(visit, photo, model):
    opened = model.open(photo)
    visitor = visit()
    visitor.upload(photo)
    for point in (NEAR, FAR):
        visitor.click("photo", *point, SIZE)
        visitor.until(visitor.focus, pytest.approx(point, abs=1))
        plane = opened.focus_range(visitor.focus())
        visitor.until(lambda: band(visitor), pytest.approx(plane, abs=0.02))
        visitor.until(lambda: ends(visitor), pytest.approx(plane, abs=0.01))
    assert visitor.page.locator("#viewfinder .profile path").get_attribute("d").count("L") == 129


def test_fields_follow_a_range_dragged_and_the_range_the_fields(visit, photo, model):
    disparity = model.open(photo).disparity
    visitor = visit()
    visitor.upload(photo)
    visitor.page.get_by_role("button", name="Range").click()
    first = visitor.address("photo")
    visitor.drag("depth", NEAR, FAR, SIZE)
    second = visitor.changed(first)
    visitor.until(lambda: ends(visitor), pytest.approx(sorted(disparity[y, x] for x, y in (NEAR, FAR)), abs=0.03))
    visitor.until(lambda: band(visitor), pytest.approx(ends(visitor), abs=0.02))
    visitor.field("Sharp from").fill("0.25")
    visitor.field("Sharp to").fill("0.5")
    visitor.changed(second)
    visitor.until(lambda: band(visitor), pytest.approx((0.25, 0.5), abs=0.01))
    visitor.until(lambda: ends(visitor), (0.25, 0.5))
    assert np.isnan(visitor.focus()).all()  # a range has no point
    x = visitor.page.get_by_label("Focus x")
    playwright.expect(x).to_have_attribute("placeholder", "none: a range")
    visitor.page.get_by_role("button", name="Subject").click()
    playwright.expect(x).to_have_attribute("placeholder", "main subject")


def test_undo_right_after_strokes_takes_the_last_one_back(visit, photo):
    visitor, held = visit(), []
    visitor.upload(photo)
    visitor.settle()
    visitor.page.get_by_role("button", name="Depth brush").click()
    visitor.page.route("**/queue/join*", lambda route: held.append(route))
    for y in (60, 120):
        visitor.drag("photo", (60, y), (90, y), SIZE)
    visitor.page.locator("#viewfinder [data-act=undo]").click()  # none waits for the one before
    visitor.until(lambda: len(held), 3)
    for route in held:
        route.continue_()
    visitor.page.unroute("**/queue/join*")
    visitor.settle()
    visitor.page.wait_for_timeout(2000)
    strokes = visitor.page.locator("#viewfinder").evaluate("() => document.querySelector('[data-act=undo]').disabled")
    assert strokes is False  # one is left
    before = visitor.scene()
    visitor.page.locator("#viewfinder [data-act=undo]").click()
    visitor.another_scene(before)
    assert visitor.page.locator("#viewfinder [data-act=undo]").is_disabled()


def test_the_right_button_neither_paints_nor_sets_a_range(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    visitor.settle()
    before, picture = visitor.scene(), visitor.address("photo")
    for mode in ("Range", "Depth brush"):
        visitor.page.get_by_role("button", name=mode).click()
        visitor.page.mouse.click(*visitor.where("photo", 60, 100, SIZE), button="right")
        visitor.page.wait_for_timeout(500)
    assert (visitor.scene(), visitor.address("photo")) == (before, picture)


def test_overlay_tints_what_is_in_focus_until_it_is_put_away(visit, photo, model):
    disparity = model.open(photo).disparity
    visitor = visit()
    visitor.upload(photo)
    visitor.field("Sharp from").fill("0.6")
    visitor.field("Sharp to").fill("0.9")
    visitor.until(lambda: band(visitor), pytest.approx((0.6, 0.9), abs=0.01))
    button = visitor.page.get_by_role("button", name="Show what is sharp")
    button.click()
    inside, outside = (0.63 < disparity) & (disparity < 0.87), (disparity < 0.57) | (disparity > 0.93)
    for pane in ("photo", "depth"):
        assert visitor.page.locator(f"[data-pane={pane}] canvas.sharp").is_visible()
        shown = tinted(visitor, pane)
        assert shown[inside].mean() > 0.99 and shown[outside].mean() < 0.01
    button.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    assert visitor.page.locator("canvas.sharp:visible").count() == 0


def test_brush_copies_the_depth_of_the_focus_point_by_keyboard(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    visitor.page.get_by_label("Focus x").fill(str(NEAR[0]))
    visitor.page.get_by_label("Focus y").fill(str(NEAR[1]))
    visitor.page.wait_for_function("() => document.querySelector('#viewfinder .mark:not([hidden])')")
    visitor.settle()
    before, plain = visitor.scene(), visitor.pixels("depth")
    visitor.tab("Depth")
    visitor.page.get_by_label("Depth brush paints").click()
    visitor.page.get_by_role("option", name="depth of the focus point").click()
    paint = visitor.page.get_by_role("button", name="Paint", exact=True)
    visitor.field("Paint at x").fill(str(FAR[0]))
    paint.press("Enter")
    assert "fill in both x and y" in visitor.told()  # y is missing
    visitor.field("Paint at y").fill(str(FAR[1]))
    paint.press("Enter")
    visitor.another_scene(before)
    painted = visitor.pixels("depth")
    there, source = painted[FAR[1], FAR[0]], plain[NEAR[1], NEAR[0]]
    assert np.abs(plain[FAR[1], FAR[0]] - source).mean() > 60
    assert np.abs(there - source).mean() < 20
    assert np.abs(painted[200:] - plain[200:]).mean() < 1  # nowhere else


def test_there_is_one_brush(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    visitor.page.get_by_role("button", name="Depth brush").click()
    visitor.tab("Depth")
    kind, size = (visitor.page.locator(f"[data-brush={name}]") for name in ("kind", "radius"))
    paints, field = visitor.page.get_by_label("Depth brush paints").first, visitor.field("Brush size")
    assert float(field.input_value()) == float(size.input_value())
    kind.select_option("copy")
    size.press("End")
    playwright.expect(paints).to_have_value("depth of the focus point")
    playwright.expect(field).to_have_value("0.3")
    paints.click()
    visitor.page.locator("li[aria-label=farther]").click()
    field.fill("0.12")
    playwright.expect(kind).to_have_value("farther")
    playwright.expect(size).to_have_value("0.12")


def test_calibrated_the_readout_says_the_real_blur(visit, photo, model):
    visitor = visit()
    visitor.upload(photo)
    readout = visitor.page.locator("#readout")
    nominal = ["f/2.8", f"blur radius {aperture_of_f_number(2.8):.1f}"]
    visitor.until(lambda: readout.inner_text().split("\n"), nominal)
    visitor.page.evaluate(LISTEN)
    visitor.click("photo", *NEAR, SIZE)
    visitor.until(visitor.focus, pytest.approx(NEAR, abs=1))
    before = visitor.settle()
    visitor.tab("Depth")
    for label, value in (("Focus point is at", "0.5"), ("Focal length", "50"), ("Sensor width", "36")):
        visitor.field(label).fill(value)
    visitor.page.get_by_role("button", name="Calibrate").click()
    visitor.changed(before)
    opened = model.open(photo)
    aperture = opened.calibrate([(visitor.focus(), 0.5)], 50, 36).aperture(2.8)
    assert abs(aperture - aperture_of_f_number(2.8)) > 0.5
    real = ["f/2.8", "50 mm lens", f"blur radius {aperture:.1f}"]
    visitor.until(lambda: readout.inner_text().split("\n"), real)
    ring = visitor.page.locator("#stop input[type=range]")
    playwright.expect(ring).to_have_attribute("aria-valuetext", ", ".join(real))
    shown = visitor.pixels("photo")
    expected = np.asarray(opened.refocus(point=visitor.focus(), aperture=aperture)).astype(float)
    assert np.abs(shown - expected).mean() < 2  # a JPEG of it
    visitor.field("Focus point is at").fill("")
    visitor.page.get_by_role("button", name="Calibrate").click()
    visitor.page.get_by_text("f-numbers are nominal").wait_for()
    visitor.until(lambda: readout.inner_text().split("\n"), nominal)
    heard = visitor.page.evaluate("window.heard")
    assert {text.split("\n")[0] for text in heard} == {"f/2.8"}  # at no time gradio's "processing"


def test_a_depth_that_is_there_is_not_made_again(photo, model):
    """What shows the source of a scene just made tells of it as of a choice."""
    from deeplens_hf.demo.answers import SKIP
    from deeplens_hf.demo.studio import Studio

    studio = Studio(model, ())
    scene = studio.open_upload({"path": str(photo), "orig_name": photo.name}, None)[0]
    assert studio.swap_depth(scene, scene.source, "near") == (SKIP,) * 4
