"""What is beside the viewfinder: lens, before and after, films, depth of one's own, files; phones and neighbours."""

import numpy as np
import pytest
from PIL import ExifTags, Image

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow

SIZE = (240, 360)  # of the photo as everybody sees it


def test_saved_photo_is_what_the_library_makes(visit, photo, model, tmp_path):
    visitor = visit()
    visitor.upload(photo)
    visitor.click("photo", 60, 100, SIZE)
    visitor.until(visitor.focus, pytest.approx((60, 100), abs=1))
    visitor.settle()
    saved = visitor.download("Save full resolution", tmp_path)
    assert saved.name == "photo_refocused.jpg"
    made = model.open(photo).refocus(point=visitor.focus(), aperture="f/2.8")
    made.save(tmp_path / "same.jpg", quality=95, subsampling=0)
    with Image.open(saved) as got, Image.open(tmp_path / "same.jpg") as expected:
        assert got.size == SIZE
        assert np.array_equal(np.asarray(got), np.asarray(expected))
        assert "deeplens_hf" in got.getexif()[ExifTags.Base.Software]

    visitor.tab("Save")
    visitor.page.get_by_label("16-bit TIFF").check()
    assert visitor.download("Save full resolution", tmp_path).suffix == ".tif"
    depth = visitor.download("Save depth map", tmp_path)
    assert depth.name == "photo_depth.png"
    with Image.open(depth) as levels:
        assert levels.mode == "I;16" and levels.size == SIZE
        assert np.abs(np.asarray(levels) / 65535 - model.open(photo).disparity).max() < 1e-3


def test_two_files_saved_at_once_both_arrive(visit, photo, tmp_path):
    visitor = visit()
    visitor.upload(photo)
    visitor.settle()
    visitor.tab("Save")
    names: list[str] = []
    visitor.page.on("download", lambda file: names.append(file.suggested_filename))
    for button in ("Save full resolution", "Save depth map"):
        visitor.page.get_by_role("button", name=button).click()
    visitor.until(lambda: sorted(names), ["photo_depth.png", "photo_refocused.jpg"])


def test_a_range_that_is_shown_leaves_the_ends_of_a_film(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    visitor.field("Sharp from").fill("0.25")
    visitor.tab("Rack focus")
    start = visitor.page.get_by_role("textbox", name="From")
    start.fill("far")
    visitor.page.get_by_role("button", name="From the focus point").click()
    assert "click one first" in visitor.told()
    visitor.page.wait_for_timeout(500)
    assert start.input_value() == "far"


def test_lens_and_before_after(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    first = visitor.address("photo")
    visitor.tab("Lens")
    visitor.page.get_by_label("6", exact=True).check()
    visitor.changed(first)
    for name in ("Depth", "Save", "Before / after"):  # at a swift pace
        visitor.tab(name)
    pictures = visitor.page.locator("#compare img")
    pictures.nth(1).wait_for()
    shown = [visitor.fetch(pictures.nth(i).get_attribute("src")) for i in range(2)]
    assert shown[0].shape == shown[1].shape == (360, 240, 3)
    assert np.abs(shown[0] - shown[1]).max() > 30


def test_grain_of_the_photo_comes_back(visit, tmp_path):
    draw = np.random.default_rng(0)
    pixels = np.linspace(60, 200, 320)[None, :, None] + draw.normal(0, 8, (240, 320, 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "wall.png")
    visitor = visit()
    visitor.upload(tmp_path / "wall.png")
    bare = visitor.pixels("photo")
    first = visitor.address("photo")
    visitor.tab("Lens")
    visitor.page.get_by_label("number input for Grain of the photo").fill("2")
    visitor.changed(first)
    assert np.diff(visitor.pixels("photo"), axis=0).std() > 1.2 * np.diff(bare, axis=0).std()


def test_film_is_made_and_can_be_cancelled(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    visitor.tab("Rack focus")
    visitor.page.get_by_role("textbox", name="From").fill("60, 100")
    visitor.page.get_by_label("number input for Seconds").fill("10")
    visitor.page.get_by_role("button", name="Make the film").click()
    visitor.page.get_by_text("Rendering").first.wait_for()
    status = visitor.page.locator("#film [data-testid=status-tracker]")
    first = visitor.address("photo")
    visitor.click("photo", 200, 60, SIZE)  # others need not wait for the end of the film
    visitor.changed(first)
    assert status.is_visible()
    visitor.page.get_by_role("button", name="Cancel").click()
    playwright.expect(status).to_be_hidden()
    assert visitor.page.locator("#film video").count() == 0
    visitor.click("photo", 30, 30, SIZE)  # the page is free again
    visitor.settle()

    visitor.page.get_by_label("number input for Seconds").fill("0.5")
    visitor.page.get_by_role("button", name="Make the film").click()
    film = visitor.page.locator("#film video")
    film.wait_for()
    visitor.page.wait_for_function("() => document.querySelector('#film video').duration > 0")
    assert film.evaluate("film => film.duration") == pytest.approx(0.5, abs=0.1)
    for part in ("photo_rack_focus", "mp4", "webp"):
        playwright.expect(visitor.page.locator("#reels")).to_contain_text(part)
    playwright.expect(visitor.page.locator("#reels").get_by_role("button")).to_have_count(0)  # none takes them away


def test_depth_of_ones_own_replaces_the_predicted(visit, photo, tmp_path):
    ramp = tmp_path / "ramp.png"
    Image.fromarray(np.linspace(0, 255, 360).astype(np.uint8)[:, None].repeat(240, 1)).save(ramp)
    visitor = visit()
    visitor.upload(photo)
    before = visitor.scene()
    visitor.tab("Depth")
    visitor.page.locator("#own input[type=file]").set_input_files(ramp)
    visitor.another_scene(before)
    brightness = visitor.pixels("depth").mean((1, 2))
    assert (np.diff(brightness[::20]) > 0).all()  # the bottom is near now

    before = visitor.scene()
    visitor.page.get_by_label("Depth from").click()
    visitor.page.get_by_role("option", name="the phone").click()
    assert "depth" in visitor.told()  # this photo carries none
    assert visitor.scene() == before


def test_brush_pushes_nearer_and_undo_takes_back(visit, photo):
    visitor = visit()
    visitor.upload(photo)
    first, plain = visitor.scene(), visitor.pixels("depth")
    visitor.page.get_by_role("button", name="Depth brush").click()
    visitor.page.locator("[data-brush=kind]").select_option("farther")
    visitor.drag("depth", (60, 60), (180, 60), SIZE)
    visitor.another_scene(first)
    touched, second = visitor.pixels("depth"), visitor.scene()
    change = np.abs(touched - plain).mean(-1)
    assert change[50:70, 80:160].mean() > 5 * change[200:, :].mean() + 3

    visitor.tab("Depth")
    visitor.page.get_by_role("button", name="Undo stroke").click()
    visitor.another_scene(second)
    assert np.abs(visitor.pixels("depth") - plain).mean() < 1


def test_two_visitors_keep_their_own_photos(visit, photo, examples):
    one, other = visit(), visit()
    one.upload(photo)
    other.choose(examples / "coffee.jpg")
    other.another_scene(None)
    one.click("photo", 200, 300, SIZE)
    one.settle()
    assert one.pixels("photo").shape == (360, 240, 3)
    assert other.pixels("photo").shape == (400, 600, 3)
    assert np.isnan(other.focus()).all()


def test_phone_sees_all_of_it_and_taps(visit, photo):
    visitor = visit(390, 844, device_scale_factor=2, has_touch=True, color_scheme="dark")
    visitor.upload(photo)
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390
    tabs = visitor.page.get_by_role("tab").filter(visible=True)
    playwright.expect(tabs).to_have_text(["Focus", "Lens", "Before / after", "Rack focus", "Depth", "Save"])
    before = visitor.address("photo")
    visitor.page.touchscreen.tap(*visitor.where("photo", 60, 100, SIZE))
    visitor.changed(before)
    visitor.until(visitor.focus, pytest.approx((60, 100), abs=1))


def test_example_is_a_click_away_and_everything_has_a_name(visit):
    visitor = visit()
    examples = visitor.page.locator("#examples button")
    playwright.expect(examples).to_have_count(6)  # they come after the rest of the page
    examples.nth(1).click()
    visitor.another_scene(None)
    nameless = visitor.page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, img')].filter(e => e.offsetParent &&
            !(e.labels?.length || e.ariaLabel || e.title || e.alt || e.innerText?.trim())).map(e => e.outerHTML)"""
    )
    assert nameless == []
