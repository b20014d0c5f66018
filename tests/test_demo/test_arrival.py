"""How a photo comes in besides being uploaded: pasted, taken with the camera; what it is saved with."""

import base64
from contextlib import suppress

import numpy as np
import pytest
from PIL import ExifTags, Image

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow

CLIPBOARD = """async png => {
    const blob = await (await fetch("data:image/png;base64," + png)).blob();
    await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
}"""


@pytest.mark.parametrize("way", ["key", "button"])
def test_a_picture_in_the_clipboard_is_pasted(visit, photo, way):
    with Image.open(photo) as picture:
        picture.convert("RGB").save(photo.with_suffix(".png"))  # lies on its side: the clipboard knows no orientation
    visitor = visit(permissions=["clipboard-read", "clipboard-write"])
    visitor.page.evaluate(CLIPBOARD, base64.b64encode(photo.with_suffix(".png").read_bytes()).decode())
    if way == "key":
        taken = visitor.page.locator("#viewfinder .finder[data-scene]")
        for _ in range(4):  # a page that is just loading hears no keys yet: press again, as a person would
            visitor.page.keyboard.press("Control+v")
            with suppress(playwright.TimeoutError):
                taken.wait_for(state="attached", timeout=15_000)
                break
    else:
        visitor.page.get_by_role("button", name="Paste from clipboard").click()
    visitor.another_scene(None)
    assert visitor.pixels("photo").shape == visitor.pixels("depth").shape == (240, 360, 3)


def test_text_is_pasted_where_it_is_typed(visit, photo):
    visitor = visit(permissions=["clipboard-read", "clipboard-write"])
    visitor.upload(photo)
    scene = visitor.scene()
    visitor.page.evaluate("navigator.clipboard.writeText('near')")
    visitor.tab("Rack focus")
    visitor.page.get_by_role("textbox", name="From").fill("")
    visitor.page.keyboard.press("Control+v")
    playwright.expect(visitor.page.get_by_role("textbox", name="From")).to_have_value("near")
    assert visitor.scene() == scene


SCROLLS = """() => {
    const scroll = Element.prototype.scrollIntoView;
    window.scrolls = [];
    Element.prototype.scrollIntoView = function (how) {
        window.scrolls.push(how?.behavior ?? "at once");
        scroll.call(this, how);
    };
}"""


def test_the_camera_takes_a_photo_and_is_let_go(visit):
    visitor = visit(permissions=["camera"])
    visitor.page.evaluate(SCROLLS)
    box = visitor.page.locator("#upload")
    visitor.page.get_by_role("button", name="Capture from camera").click()
    visitor.page.get_by_text("Click to Access Webcam").click()
    video = box.locator("video")
    visitor.page.wait_for_function("() => document.querySelector('#upload video')?.currentTime > 0")  # it runs
    visitor.until(lambda: video.bounding_box()["height"] > 150, True)  # large enough to see oneself
    visitor.page.get_by_role("button", name="capture photo").click()
    visitor.another_scene(None)
    assert visitor.pixels("photo").std() > 10  # the test picture of Chromium, not a black frame
    video.wait_for(state="detached")
    visitor.page.wait_for_function(
        "() => Math.abs(document.querySelector('.finder').getBoundingClientRect().top) < 100"
    )
    # one that is still on its way when the camera's box shrinks may end anywhere
    assert visitor.page.evaluate("window.scrolls") == ["at once"]


@pytest.mark.parametrize("kept", [False, True], ids=["dropped", "kept"])
def test_where_it_was_taken_is_saved_only_if_ticked(visit, photo, tmp_path, kept):
    with Image.open(photo) as picture:
        exif = picture.getexif()
        exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (47.0, 22.0, 0.0)}
        picture.save(photo.with_name("there.jpg"), exif=exif)
    visitor = visit()
    visitor.upload(photo.with_name("there.jpg"))
    visitor.tab("Save")
    if kept:
        visitor.page.get_by_label("Keep the GPS position").check()
    saved = visitor.download("Save full resolution", tmp_path)
    with Image.open(saved) as result:
        place = result.getexif().get_ifd(ExifTags.IFD.GPSInfo)
    assert (place.get(ExifTags.GPS.GPSLatitude) == (47.0, 22.0, 0.0)) if kept else not place


def test_another_depth_model_is_chosen_by_its_id(visit, photo, hub_cache):
    name = "/".join(next(hub_cache.iterdir()).name.split("--")[1:])
    visitor = visit()
    visitor.upload(photo)
    predicted, before = visitor.pixels("depth"), visitor.scene()
    visitor.tab("Depth")
    for choice in (name, "predicted"):
        visitor.page.get_by_label("Depth from").click()
        visitor.page.get_by_role("option", name=choice).click()
        visitor.another_scene(before)
        before = visitor.scene()
        change = np.abs(visitor.pixels("depth") - predicted).mean()
        assert change > 10 if choice == name else change < 1


def test_a_photo_without_depth_is_said_to_have_none(visit, examples, tmp_path):
    gravel = pytest.importorskip("skimage.data").gravel()
    Image.fromarray(gravel).convert("RGB").save(tmp_path / "gravel.jpg")
    visitor = visit()
    visitor.upload(examples / "coffee.jpg")
    assert visitor.page.locator(".toast-body").count() == 0
    visitor.upload(tmp_path / "gravel.jpg")
    assert "from above" in visitor.told()


def test_what_was_said_of_the_photo_before_goes(visit, photo, examples, tmp_path):
    gravel = pytest.importorskip("skimage.data").gravel()
    Image.fromarray(gravel).convert("RGB").save(tmp_path / "gravel.jpg")
    visitor = visit()
    said = visitor.page.locator(".toast-message-text")
    photo.with_name("letter.jpg").write_text("no photo")
    visitor.choose(photo.with_name("letter.jpg"))
    playwright.expect(said).to_contain_text(["not a picture"])
    visitor.upload(tmp_path / "gravel.jpg")
    playwright.expect(said).to_contain_text(["from above"])  # of this photo
    visitor.page.get_by_role("button", name="Coffee").click()
    playwright.expect(said).to_have_count(0, timeout=4000)  # by themselves they stay for ten seconds
