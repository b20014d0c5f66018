"""The viewfinder in the hand: what it dims, says, lights, compares, undoes, and what a dropped file does."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow

SIZE = (240, 360)  # of the photo as everybody sees it
HINTS = {
    "Point": "click what shall be sharp",
    "Range": "drag from the nearest to the farthest thing that shall be sharp",
    "Depth brush": "paint where the depth is wrong",
}


TYPELESS = """([name, bytes, way]) => { // a file that the browser knows no type of, as Windows gives it
    const files = new DataTransfer();
    files.items.add(new File([Uint8Array.from(atob(bytes), one => one.charCodeAt(0))], name, {type: ""}));
    const field = document.querySelector("#upload input[type=file]");
    if (way === "dialog") {
        field.files = files.files;
        field.dispatchEvent(new Event("change", {bubbles: true}));
        return;
    }
    const target = way === "box" ? field.parentElement : document.body;
    for (const kind of ["dragenter", "dragover", "drop"])
        target.dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: files}));
}"""


def button(visitor, name: str) -> "playwright.Locator":
    """One of the viewfinder's."""
    return visitor.page.locator("#viewfinder .tools").get_by_role("button", name=name, exact=True)


def lit(visitor) -> set[str]:
    """The buttons that are pressed in."""
    return set(visitor.page.locator("#viewfinder .tools [aria-pressed=true]").all_inner_texts())


def seen(visitor, pane: str) -> np.ndarray:
    """What a pane looks like on the screen, at the photo's size."""
    picture = Image.open(io.BytesIO(visitor.page.locator(f"[data-pane={pane}] .stage").screenshot()))
    return np.asarray(picture.convert("RGB").resize(SIZE, Image.Resampling.BOX)).astype(float)


def colour(pixels: np.ndarray) -> np.ndarray:
    """How far from grey."""
    return pixels.max(-1) - pixels.min(-1)


def drop(visitor, x: float, y: float, *paths: Path) -> None:
    """Files from a desktop, let go the moment they come over (x, y) of the window."""
    client = visitor.page.context.new_cdp_session(visitor.page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind, at in (("dragEnter", (5, 5)), ("dragOver", (5, 5)), ("drop", (x, y))):
        client.send("Input.dispatchDragEvent", {"type": kind, "x": at[0], "y": at[1], "data": data})


@pytest.fixture
def wide(examples, tmp_path) -> dict[float, Path]:
    """A landscape, by width / height."""
    paths = {ratio: tmp_path / f"wide_{ratio}.jpg" for ratio in (2.1, 2.4)}
    with Image.open(examples / "landscape.jpg") as landscape:
        for ratio, path in paths.items():
            ImageOps.fit(landscape.convert("RGB"), (round(200 * ratio), 200)).save(path)
    return paths


def test_all_that_is_not_sharp_goes_grey_and_dark(visit, photo, model):
    """The photo is a brown table with an orange cup, the depth map orange as well: a tint alone is not seen."""
    disparity = model.open(photo).disparity
    visitor = visit()
    visitor.upload(photo)
    plain = {pane: seen(visitor, pane) for pane in ("photo", "depth")}
    button(visitor, "Show what is sharp").click()
    for far, near in ((0.6, 0.9), (0.2, 0.5)):  # it follows
        before = visitor.address("photo")
        visitor.field("Sharp from").fill(str(far))
        visitor.field("Sharp to").fill(str(near))
        visitor.changed(before)
        inside, outside = (far + 0.05 < disparity) & (disparity < near - 0.05), abs(disparity - 0.55) > 0.4
        for pane, was in plain.items():
            now = seen(visitor, pane)
            assert colour(now)[outside].mean() < 3 < 20 < colour(now)[inside].mean()
            assert now[outside].mean() < 0.6 * was[outside].mean()
            assert now[inside].mean() > 0.8 * was[inside].mean()
    button(visitor, "Show what is sharp").click()
    assert np.abs(seen(visitor, "depth") - plain["depth"]).mean() < 1


def test_wide_pictures_lie_one_above_the_other(visit, wide):
    visitor = visit(1280, 720)
    boxes = {}
    for ratio, path in wide.items():
        visitor.upload(path)
        stages = visitor.page.locator("#viewfinder .stage")  # asked at once: the page above them may still settle
        boxes[ratio] = stages.evaluate_all("stages => stages.map(stage => stage.getBoundingClientRect().toJSON())")
    beside, above = boxes[2.1], boxes[2.4]
    assert beside[0]["y"] == beside[1]["y"]
    assert above[0]["x"] == above[1]["x"] and above[1]["y"] > above[0]["y"] + above[0]["height"]
    assert above[0]["width"] > 1.5 * beside[0]["width"]


@pytest.mark.parametrize("window", [{}, {"width": 390, "height": 844, "has_touch": True}], ids=["desk", "phone"])
def test_hint_says_what_the_mode_wants_and_a_photo_starts_with_point(visit, photo, examples, window):
    visitor = visit(**window)
    visitor.upload(photo)
    hint = visitor.page.locator("#viewfinder [data-pane=photo] .hint")
    for mode, words in HINTS.items():
        button(visitor, mode).click()
        assert hint.is_visible() and hint.inner_text() == words
    visitor.upload(examples / "coffee.jpg")
    assert hint.inner_text() == HINTS["Point"]
    before = visitor.address("photo")
    visitor.click("photo", 100, 100, (600, 400))
    visitor.changed(before)
    visitor.until(visitor.focus, pytest.approx((100, 100), abs=2))


def test_lit_is_what_is_in_focus(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    assert lit(visitor) == {"Subject"}
    visitor.click("photo", 60, 180, SIZE)
    visitor.settle()
    assert lit(visitor) == {"Point"}
    button(visitor, "Range").click()
    assert lit(visitor) == {"Range"}
    button(visitor, "Subject").click()
    visitor.settle()
    assert lit(visitor) == {"Subject", "Range"}
    button(visitor, "Point").click()
    assert lit(visitor) == {"Subject"}
    modes = visitor.page.get_by_role("group", name="What a click does").get_by_role("button")
    playwright.expect(modes).to_have_text(list(HINTS))


def test_what_is_in_focus_already_is_not_waited_for(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    button(visitor, "Subject").click()
    visitor.page.wait_for_timeout(500)
    visitor.settle()
    before = visitor.address("photo")
    visitor.click("photo", 60, 180, SIZE)
    visitor.changed(before)
    visitor.click("photo", 60, 180, SIZE)
    visitor.page.wait_for_timeout(500)
    visitor.settle()


def test_next_photo_is_brought_into_sight_from_below_it(visit, photo, examples):
    visitor = visit(1280, 720)
    visitor.upload(photo)
    visitor.tab("Depth")
    visitor.page.evaluate("scrollTo(0, 1e5)")
    stage = visitor.page.locator("#viewfinder .stage").first
    visitor.until(lambda: stage.bounding_box()["y"] < -50, True)
    before = visitor.scene()
    drop(visitor, 600, 700, examples / "coffee.jpg")
    visitor.another_scene(before)
    visitor.until(lambda: stage.bounding_box()["y"] >= 0, True)


def test_original_is_there_while_the_button_is_held(visit, photo):
    visitor = visit(has_touch=True)
    visitor.upload(photo)
    with Image.open(photo) as opened:
        original = np.asarray(ImageOps.exif_transpose(opened)).astype(float)
    visitor.click("photo", 60, 180, SIZE)
    visitor.settle()
    visitor.until(visitor.focus, pytest.approx((60, 180), abs=1))
    change = np.abs(original - visitor.pixels("photo")).mean(-1)
    blurred = change > 30
    assert blurred.sum() > 100
    button(visitor, "Show what is sharp").click()  # nothing of it, nor of the marks, shall be on the original
    hold = button(visitor, "Hold to compare")
    box, asked = hold.bounding_box(), []
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visitor.page.on("request", lambda request: asked.append(request.url))
    mouse, keys = visitor.page.mouse, visitor.page.keyboard
    client = visitor.page.context.new_cdp_session(visitor.page)

    def touch(kind: str, *points: dict) -> None:
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def let_go_elsewhere() -> None:
        mouse.move(x, y + 300)
        mouse.up()

    mouse.move(x, y)
    hold.focus()
    ways = [
        (mouse.down, let_go_elsewhere),
        (lambda: keys.down(" "), lambda: keys.up(" ")),
        (lambda: keys.down("Enter"), lambda: keys.up("Enter")),
        (lambda: touch("touchStart", {"x": x, "y": y}), lambda: touch("touchEnd")),
    ]
    name = visitor.page.locator("#viewfinder [data-pane=photo] figcaption")
    for press, release in ways:
        press()
        visitor.until(name.inner_text, "Original")
        off = np.abs(seen(visitor, "photo") - original).mean(-1)
        assert off.mean() < 8 and off[blurred].mean() < change[blurred].mean() / 1.5
        release()
        visitor.until(lambda: name.inner_text().split()[0], "Result")
        assert colour(seen(visitor, "photo")).mean() < colour(original).mean() / 2  # dimmed again
    assert asked == []


def test_undo_stands_by_the_brush(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    undo = button(visitor, "Undo")
    assert undo.is_hidden()
    button(visitor, "Depth brush").click()
    assert undo.is_disabled()
    plain, scenes = visitor.pixels("depth"), [visitor.scene()]
    for y in (60, 300):
        visitor.drag("depth", (60, y), (180, y), SIZE)
        visitor.another_scene(scenes[-1])
        scenes.append(visitor.scene())
    for _ in range(2):
        undo.click()
        visitor.another_scene(scenes[-1])
        scenes.append(visitor.scene())
    assert np.abs(visitor.pixels("depth") - plain).mean() < 1
    assert undo.is_disabled()


def test_photo_stays_where_it_is_for_the_brush_on_a_tablet(visit, photo):
    visitor = visit(1024, 768)
    visitor.upload(photo)
    where = visitor.where("photo", 60, 100, SIZE)
    button(visitor, "Depth brush").click()
    visitor.page.locator("[data-brush=radius]").wait_for()
    assert visitor.where("photo", 60, 100, SIZE) == where


def test_outline_of_the_brush_follows_the_mouse(visit, photo):
    visitor = visit(has_touch=True)
    visitor.upload(photo)
    tips = visitor.page.locator("#viewfinder .tip")
    visitor.page.mouse.move(*visitor.where("photo", 60, 100, SIZE))
    assert tips.filter(visible=True).count() == 0
    button(visitor, "Depth brush").click()
    for radius in (0.05, 0.1):
        visitor.page.locator("[data-brush=radius]").fill(str(radius))
        there = visitor.where("photo", 60, 100, SIZE)
        visitor.page.mouse.move(*there)
        assert tips.filter(visible=True).count() == 2  # on both panes
        box, stage = tips.first.bounding_box(), visitor.page.locator("#viewfinder .stage").first.bounding_box()
        assert (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) == pytest.approx(there, abs=2)
        assert box["width"] == pytest.approx(2 * radius * stage["height"], abs=2)
        assert box["height"] == pytest.approx(box["width"], abs=1)
    visitor.page.mouse.move(5, 5)
    assert tips.filter(visible=True).count() == 0
    before = visitor.scene()
    visitor.page.touchscreen.tap(*visitor.where("photo", 60, 100, SIZE))
    visitor.another_scene(before)
    assert tips.filter(visible=True).count() == 0


def test_file_dropped_anywhere_is_opened_and_the_page_stays(visit, photo, examples, tmp_path):
    visitor = visit()
    drop(visitor, 600, 40, photo, examples / "coffee.jpg")
    visitor.another_scene(None)
    first = visitor.scene()
    assert visitor.pixels("photo").shape == (360, 240, 3)  # the first of them
    drop(visitor, *visitor.where("depth", 100, 100, SIZE), examples / "coffee.jpg")
    visitor.another_scene(first)
    assert visitor.pixels("photo").shape == (400, 600, 3)
    letter = tmp_path / "letter.txt"
    letter.write_text("no photo")
    drop(visitor, *visitor.where("photo", 100, 100, SIZE), letter)
    assert "letter.txt" in visitor.told()
    assert visitor.pixels("photo").shape == (400, 600, 3)
    ramp = tmp_path / "ramp.png"
    Image.linear_gradient("L").resize((600, 400)).save(ramp)
    visitor.tab("Depth")
    own = visitor.page.locator("#own")
    own.scroll_into_view_if_needed()
    own.element_handle().wait_for_element_state("stable")
    box, before = own.bounding_box(), visitor.scene()
    drop(visitor, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, ramp)  # a box that takes it itself
    visitor.another_scene(before)
    assert visitor.pixels("photo").shape == (400, 600, 3)
    playwright.expect(visitor.page.get_by_label("Depth from")).to_have_value("my depth map")


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("IMG_1.HEIC", "box"),
        ("IMG_1.HEIC", "anywhere"),
        ("IMG_1.HEIC", "dialog"),
        ("stereo.mpo", "box"),
        ("scan", "box"),
    ],
)
def test_photo_without_a_type_is_opened(visit, examples, name, way):
    file = io.BytesIO()
    with Image.open(examples / "coffee.jpg") as coffee:
        if name.endswith("HEIC"):
            pytest.importorskip("pillow_heif").from_pillow(coffee).save(file)
        else:
            coffee.save(file, "MPO" if name.endswith("mpo") else "JPEG")
    visitor = visit()
    box = visitor.page.locator("#upload")
    plain = set(box.get_attribute("class").split())
    visitor.page.evaluate(TYPELESS, [name, base64.b64encode(file.getvalue()).decode(), way])
    visitor.another_scene(None)
    assert visitor.pixels("photo").shape == (400, 600, 3)
    visitor.until(
        lambda: set(box.get_attribute("class").split()), plain
    )  # it does not look as if a file was still held over it


@pytest.mark.parametrize("way", ["box", "anywhere"])
def test_letter_without_a_type_gets_a_sentence(visit, way):
    visitor = visit()
    visitor.page.evaluate(TYPELESS, ["letter", base64.b64encode(b"no photo").decode(), way])
    assert "not a picture that can be read" in visitor.told()


@pytest.mark.parametrize("where", ["box", "anywhere"])
def test_a_folder_gets_a_sentence(visit, tmp_path, where):
    visitor = visit()
    (tmp_path / "holidays").mkdir()
    box = visitor.page.locator("#upload").bounding_box()
    at = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) if where == "box" else (600, 40)
    drop(visitor, *at, tmp_path / "holidays")
    assert "not a picture that can be read" in visitor.told()
