"""The panels below the picture: how they come into sight, what a new photo leaves of them, and what they say."""

import numpy as np
import pytest
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api")
gradio = pytest.importorskip("gradio")
pytestmark = pytest.mark.slow

SIZE = (240, 360)  # of the photo as everybody sees it
PLACE = """() => {
    const panel = [...document.querySelectorAll("[role=tabpanel]")].find(panel => panel.offsetParent);
    const {top, bottom} = panel.getBoundingClientRect();
    return [top, bottom, innerHeight];
}"""
CONTRAST = """tab => {
    const light = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map(level => level / 255)
        .map(level => level <= .04045 ? level / 12.92 : ((level + .055) / 1.055) ** 2.4)
        .reduce((sum, level, i) => sum + level * [.2126, .7152, .0722][i], 0);
    const page = getComputedStyle(document.body).backgroundColor;
    const [low, high] = [light(getComputedStyle(tab).color), light(page)].sort((a, b) => a - b);
    return (high + .05) / (low + .05);
}"""
TELLS = """() => { // keeps each message from now on: they leave the page after ten seconds, before a busy machine asks
    window.told = new Set();
    new MutationObserver(() => document.querySelectorAll(".toast-message-text").forEach(said => window.told.add(said)))
        .observe(document.body, {childList: true, subtree: true});
}"""

NAMES = """(box, ratio) => { // whether both names lie in the lower corners of a picture so wide
    const wrap = box.querySelector(".slider-wrap"), {clientWidth, clientHeight} = wrap;
    const wide = Math.min(clientWidth, clientHeight * ratio);
    const [left, below] = [(clientWidth - wide) / 2, (clientHeight - wide / ratio) / 2];
    const [name, other] = ["::before", "::after"].map(part => getComputedStyle(wrap, part));
    return [[name.left, left], [other.right, left], [name.bottom, below], [other.bottom, below]]
        .every(([is, edge]) => edge + 2 < parseFloat(is) && parseFloat(is) < edge + 20);
}"""


def value(visitor, label: str) -> str:
    return visitor.page.get_by_role("textbox", name=label).input_value()


def source(visitor) -> str:
    return visitor.page.get_by_label("Depth from").first.input_value()


def swap(visitor, choice: str) -> None:
    visitor.page.get_by_label("Depth from").click()
    visitor.page.get_by_role("option", name=choice).click()


@pytest.mark.parametrize("window", [(1280, 720), (390, 844)], ids=["desktop", "phone"])
def test_a_tab_brings_its_panel_into_sight(visit, examples, window):
    visitor = visit(*window)
    assert visitor.page.evaluate("scrollY") == 0
    visitor.upload(examples / "coffee.jpg")
    for tab in ("Lens", "Before / after", "Save"):
        visitor.page.evaluate("scrollTo(0, 0)")
        visitor.page.get_by_role("tab", name=tab).evaluate("tab => tab.click()")  # does not scroll to it

        def seen() -> bool:
            top, bottom, height = visitor.page.evaluate(PLACE)
            return 0 <= top and bottom <= height

        visitor.until(seen, True)


@pytest.mark.parametrize("width", [390, 820, 1100, 1360])
def test_point_and_range_have_a_row_each(visit, photo, width):
    visitor = visit(width)
    visitor.upload(photo)
    fields = [visitor.page.get_by_label(f"Focus {axis}") for axis in "xy"]
    fields += [visitor.field(label) for label in ("Sharp from", "Sharp to")]
    handles = [field.element_handle() for field in fields]  # asked at once: the page may still scroll to the photo
    boxes = "fields => fields.map(field => field.getBoundingClientRect().toJSON())"
    (x, y, far, near) = visitor.page.evaluate(boxes, handles)
    assert x["y"] == y["y"] and (far["y"] == near["y"] or width == 390)
    assert far["y"] > x["y"] if width < 1000 else near["x"] > far["x"] > y["x"]


def test_a_film_pressed_again_starts_anew_and_a_new_photo_ends_it(visit, photo, room):
    visitor = visit()
    visitor.upload(photo)
    visitor.tab("Rack focus")
    make, seconds = (
        visitor.page.get_by_role("button", name="Make the film"),
        visitor.page.get_by_label("number input for Seconds"),
    )
    status = visitor.page.locator("#film [data-testid=status-tracker]")
    seconds.fill("0.5")
    make.click()
    visitor.page.locator("#film video").wait_for()
    visitor.page.get_by_role("textbox", name="To").fill("nowhere")
    make.click()
    assert "cannot start or end at “nowhere”" in visitor.told()
    playwright.expect(status).to_be_hidden()  # no "Error" that stays
    assert visitor.page.locator("#film video").count() == 1
    visitor.page.get_by_role("textbox", name="To").fill("60, 100")
    seconds.fill("10")
    make.click()
    visitor.page.get_by_text("Rendering").first.wait_for()
    make.click()
    visitor.page.wait_for_timeout(1500)
    visitor.page.get_by_text("Rendering").first.wait_for()
    visitor.page.get_by_role("button", name="Cancel").click()
    playwright.expect(status).to_be_hidden(timeout=20_000)  # all of it takes longer
    assert visitor.page.locator("#film video").count() == 1  # that of before

    make.click()
    visitor.page.get_by_text("Rendering").first.wait_for()
    visitor.upload(room)
    playwright.expect(status).to_be_hidden(timeout=20_000)
    playwright.expect(visitor.page.locator("#film video")).to_have_count(0)
    playwright.expect(visitor.page.locator("#reels")).to_have_count(0)
    assert (value(visitor, "From"), value(visitor, "To")) == ("subject", "far")


@pytest.mark.parametrize("name", ["Save full resolution", "Save depth map (16-bit PNG)"])
def test_a_button_says_that_it_saves_and_then_what_it_did(visit, photo, tmp_path, name):
    visitor = visit()
    visitor.upload(photo)
    visitor.tab("Save")
    held = []
    visitor.page.route("**/queue/join*", lambda route: held.append(route))  # a long photo
    visitor.page.get_by_role("button", name=name).click()
    playwright.expect(visitor.page.get_by_role("button", name="Saving …")).to_be_disabled()
    visitor.until(lambda: len(held), 1)
    with visitor.page.expect_download():
        held[0].continue_()
    playwright.expect(visitor.page.get_by_role("button", name=name)).to_be_enabled()


@pytest.mark.parametrize("name", ["Save full resolution", "Save depth map (16-bit PNG)"])
def test_a_save_is_refused_once_another_photo_is_there_and_the_button_at_rest_again(visit, photo, room, tmp_path, name):
    visitor, held = visit(), []
    visitor.upload(photo)
    visitor.tab("Save")

    def hold(route):
        if held:
            route.continue_()
        else:
            held.append(route)

    visitor.page.route("**/queue/join*", hold)
    button = visitor.page.get_by_role("button", name=name)
    button.click()
    visitor.until(lambda: len(held), 1)
    visitor.upload(room)
    held[0].continue_()
    refused = visitor.page.locator(".toast-body.error")
    playwright.expect(refused).to_contain_text("Another photo has come in the meantime")
    playwright.expect(button).to_be_enabled()
    assert visitor.download(name, tmp_path).name.startswith("evening_room_")


def test_the_example_chosen_last_wins_and_an_upload_ends_its_outline(visit, photo):
    visitor = visit()
    buttons, outlined = visitor.page.locator("#examples button"), visitor.page.locator("#examples .selected")
    names = ["Astronaut", "Chelsea", "Coffee", "Landscape", "Night bridge", "Plants"]
    playwright.expect(buttons).to_have_count(6)
    visitor.until(lambda: buttons.evaluate_all("all => all.map(button => button.ariaLabel)"), names)
    for i, name in enumerate(("Landscape", "Plants", "Astronaut")):
        visitor.page.get_by_role("button", name=name).click(delay=0)
        veil = visitor.page.locator("#examples [data-testid=status-tracker]")
        assert float(veil.evaluate("veil => getComputedStyle(veil).opacity")) == 0
        visitor.page.wait_for_timeout(200 * (i < 2))
    visitor.another_scene(None)
    visitor.until(lambda: visitor.pixels("photo").shape == visitor.pixels("depth").shape == (512, 512, 3), True)
    playwright.expect(outlined).to_have_text("Astronaut")
    visitor.page.wait_for_timeout(1500)  # nothing staler comes in after it
    assert visitor.pixels("depth").shape == (512, 512, 3)
    visitor.upload(photo)
    playwright.expect(outlined).to_have_count(0)


def test_depth_of_ones_own_has_a_name_and_is_turned_at_once(visit, photo, room, tmp_path):
    ramp = tmp_path / "ramp.png"
    Image.fromarray(np.linspace(64, 255, 360).astype(np.uint8)[:, None].repeat(240, 1)).save(ramp)
    visitor = visit()
    visitor.upload(photo)
    visitor.tab("Depth")
    swap(visitor, "my depth map")
    assert "no depth map of yours yet" in visitor.told()
    visitor.until(lambda: source(visitor), "predicted")
    before = visitor.scene()
    visitor.page.locator("#own input[type=file]").set_input_files(ramp)
    before = visitor.another_scene(before) and visitor.scene()
    assert source(visitor) == "my depth map"
    near = visitor.pixels("depth").mean((1, 2))
    visitor.page.get_by_label("far", exact=True).check()
    before = visitor.another_scene(before) and visitor.scene()
    far = visitor.pixels("depth").mean((1, 2))
    assert near[-20] > near[20] + 60 and far[20] > far[-20] + 60
    swap(visitor, "predicted")
    before = visitor.another_scene(before) and visitor.scene()
    swap(visitor, "my depth map")  # it is still there
    before = visitor.another_scene(before) and visitor.scene()
    assert np.abs(visitor.pixels("depth").mean((1, 2)) - far).max() < 2
    visitor.page.evaluate(TELLS)
    swap(visitor, "the phone")
    visitor.page.get_by_text("This photo carries no depth").first.wait_for()
    visitor.page.get_by_label("number input for Brush size").click()
    visitor.page.wait_for_timeout(800)
    told = visitor.page.evaluate("[...window.told].map(said => said.textContent)")
    assert sum("This photo carries no depth" in each for each in told) == 1
    visitor.upload(room)
    assert source(visitor) == "predicted"


def test_calibration_ends_with_the_photo_and_without_a_distance(visit, photo, room):
    visitor = visit()
    visitor.upload(photo)
    visitor.tab("Depth")
    labels = ("Focus point is at", "Focal length", "Sensor width", "Paint at x")
    for label in labels[1:]:
        visitor.field(label).fill("50")
    visitor.page.get_by_role("button", name="Calibrate").click()
    assert "f-numbers are nominal" in visitor.told()
    visitor.upload(room)
    visitor.until(lambda: [visitor.field(label).input_value() for label in labels], [""] * 4)


def test_blades_that_are_none_are_neither_rounded_nor_turned(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    visitor.tab("Lens")
    fields = [visitor.field("Rounded blades"), visitor.field("Turned by (degrees)")]
    for blades, able in (("Round", False), ("6", True), ("Round", False)):
        visitor.page.get_by_label(blades, exact=True).check()
        for field in fields:
            playwright.expect(field).to_be_enabled(enabled=able)
    ring = visitor.page.locator("#stop input[type=range]")
    ring.press("ArrowLeft")
    assert ring.evaluate("ring => getComputedStyle(ring).outlineStyle") == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_has_the_keyboard_is_outlined(visit, photo, scheme):
    visitor = visit(color_scheme=scheme)
    visitor.upload(photo)

    def outlined(field) -> bool:
        field.focus()
        visitor.page.keyboard.press("Shift")
        return field.evaluate("field => getComputedStyle(field).outlineStyle") == "solid"

    number = visitor.page.get_by_label("Focus x")
    assert outlined(number) and outlined(visitor.field("Sharp from"))
    assert number.evaluate("field => getComputedStyle(field).colorScheme") == (scheme if scheme == "dark" else "normal")
    visitor.tab("Lens")
    assert outlined(visitor.page.get_by_role("radio", name="Round"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_chosen_can_be_read_and_compared(visit, photo, scheme):
    visitor = visit(color_scheme=scheme)
    visitor.upload(photo)
    visitor.tab("Lens")
    tab = visitor.page.get_by_role("tab", name="Lens")
    visitor.until(lambda: tab.evaluate(CONTRAST) > 4.5, True)
    round_ones = visitor.page.get_by_label("Round", exact=True)
    colour = round_ones.evaluate("radio => getComputedStyle(radio).backgroundColor")
    round_ones.hover()
    visitor.page.wait_for_timeout(400)  # it fades
    assert round_ones.evaluate("radio => getComputedStyle(radio).backgroundColor") == colour
    visitor.tab("Before / after")
    for name in ("Photo", "Refocused"):
        visitor.page.locator("#compare").get_by_alt_text(name, exact=True).wait_for()


@pytest.mark.parametrize("window", [(1280, 1000), (390, 844)], ids=["desktop", "phone"])
def test_names_lie_on_the_pictures_compared(visit, photo, examples, window):
    visitor = visit(*window)
    compared = visitor.page.locator("#compare")
    for path, ratio in ((photo, SIZE[0] / SIZE[1]), (examples / "landscape.jpg", 1.6)):
        visitor.upload(path)
        visitor.tab("Before / after")
        compared.locator("img").nth(1).wait_for()
        visitor.until(lambda ratio=ratio: compared.evaluate(NAMES, ratio), True)
        box = compared.bounding_box()
        assert box["height"] == pytest.approx(min(box["width"] / ratio, 500), abs=2)  # no band above or below it
        compared.get_by_label("fullscreen").click()
        visitor.until(lambda ratio=ratio: compared.bounding_box()["height"] >= window[1], True)
        visitor.until(lambda ratio=ratio: compared.evaluate(NAMES, ratio), True)
        visitor.page.keyboard.press("Escape")
        visitor.until(lambda: compared.bounding_box()["height"] < window[1], True)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("photo must be a picture (JPEG, PNG, TIFF, WebP, HEIC ...), x.txt is none", "Please choose a JPEG"),
        ("photo must have at most 50 megapixels, this one has 9000 x 9000", "more than 50 megapixels"),
        ("disparity must be a readable .npy file of numbers: ... allow_pickle=False", "not a depth map"),
        ("references must have distances in metres above 0, got -1", "in metres, as a number above 0"),
        ("aperture must be f/1.93 or narrower for this photo, got 'f/1.4'", "choose f/1.93 or narrower."),
        ("point must be (x, y) with 0 <= x < 240 and 0 <= y < 360, got (4000, 10)", "x below 240 and y below 360,"),
        ("point must be (x, y) with 0 <= x < 240 and 0 <= y < 360, got (None, 10)", "both x and y"),
        ("focal_length_mm must be given: the photo's EXIF does not tell it", "does not say its focal length"),
        ("focus must be a number from 0 to 1, got 5", "from 0, the farthest, to 1, the nearest"),
        ("what nobody has thought of", "what nobody has thought of"),
    ],
)
def test_what_the_library_says_is_said_for_people(said, told):
    from deeplens_hf.demo.words import plain

    sentence = plain(said)
    assert told in sentence and "must be" not in sentence and "_" not in sentence
