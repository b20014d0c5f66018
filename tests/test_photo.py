"""A photo opened once and refocused often: what is sharp, whose depth counts, what comes out with the picture."""

import copy
import itertools
import os
import pickle

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, JpegImagePlugin

from deeplens_hf.files.pictures import PhotoError, Picture
from deeplens_hf.files.writing import colour_disparity, save_disparity, save_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def near(picture: Image.Image, expected: np.ndarray, within: float = 1) -> bool:
    got = np.asarray(picture).astype(float)
    return got.shape == expected.shape and np.abs(got - expected).max() <= within


def detail(pixels: np.ndarray) -> float:
    """How much the neighbours differ: what blur takes away."""
    return float(np.abs(np.diff(np.asarray(pixels).astype(float), axis=1)).mean())


# ---- focus


def test_many_refocus_calls_make_one_depth_pass(model, pixels, monkeypatch):
    calls, predict = [], model.predict_depth
    monkeypatch.setattr(model, "predict_depth", lambda image: calls.append(image.shape) or predict(image))
    photo = model.open(pixels)
    assert calls == []  # opening alone costs nothing
    for point in ((10, 10), (100, 50), None):
        photo.refocus(point=point, aperture=2)
    assert photo.disparity.dtype == photo.foreground.dtype == np.float32
    assert calls == [(1, 3, 96, 128)]
    model.open(pixels, disparity=np.zeros((96, 128))).refocus(point=(3, 3), aperture=2)
    assert len(calls) == 1  # your own depth, and a point: nothing to predict


def test_many_refocus_calls_find_edges_and_lost_light_once(model, pixels, planes, monkeypatch):
    pixels = pixels.copy()
    pixels[40:60, 20:40] = 255
    wanted = [np.asarray(model.open(pixels, disparity=planes).refocus(focus=f, aperture=9)) for f in (0.2, 0.8)]
    calls, mend, recover = [], model.mending.forward, model.lens_blur.recovered
    monkeypatch.setattr(model.mending, "forward", lambda *given: calls.append("edges") or mend(*given))
    monkeypatch.setattr(model.lens_blur, "recovered", lambda light: calls.append("light") or recover(light))
    photo = model.open(pixels, disparity=planes)
    for focus, expected in zip((0.2, 0.8), wanted, strict=True):
        assert near(photo.refocus(focus=focus, aperture=9), expected)
    assert sorted(calls) == ["edges", "light"]


def test_what_is_written_into_any_pixel_of_the_subject_counts(model, pixels, planes, monkeypatch):
    pixels, planes = np.tile(pixels, (12, 12, 1)), np.tile(planes, (12, 12))  # 1536 wide: halved before the blur
    photo = model.open(pixels)
    monkeypatch.setitem(photo.__dict__, "_prediction", (planes, planes.copy()))
    photo.refocus(focus=0.2, aperture=4)
    kept = photo._prepared
    photo.foreground[1::2, 1::2] = 0  # none of those that a map is halved to
    photo.refocus(focus=0.2, aperture=4)
    assert photo._prepared is not kept


def test_what_is_written_into_a_map_counts_at_once(model, pixels, planes):
    photo = model.open(np.tile(pixels, (8, 8, 1)), disparity=planes)  # 1024 wide: blurred at half its size
    before = np.asarray(photo.refocus(focus=0.2, aperture=9))
    photo.disparity[200:300, 700:800] = 0.2
    after = np.asarray(photo.refocus(focus=0.2, aperture=9))
    fresh = model.open(photo.picture, disparity=photo.disparity.copy()).refocus(focus=0.2, aperture=9)
    assert np.array_equal(after, np.asarray(fresh))
    assert detail(after[220:280, 720:780]) > 2 * detail(before[220:280, 720:780])


def test_what_is_written_into_the_foreground_counts_at_once(model, pixels, planes, monkeypatch):
    soft = np.clip((np.arange(128, dtype=np.float32) - 58) / 12, 0, 1)[None].repeat(96, 0)

    def opened(subject):
        photo = model.open(pixels)
        monkeypatch.setitem(photo.__dict__, "_prediction", (0.2 + 0.6 * soft, subject.astype(np.float32)))
        return photo

    photo, nobody = opened(planes > 0.5), opened(planes > 1)
    before = photo.render(focus=0.2, aperture=12)
    photo.foreground[:] = 0
    after = photo.render(focus=0.2, aperture=12)
    assert np.array_equal(after, nobody.render(focus=0.2, aperture=12)) and np.abs(after - before).max() > 0.02


def test_a_predicted_subject_steadies_its_own_map_and_not_yours(model, pixels, planes, monkeypatch):
    given = []
    monkeypatch.setattr(model, "render", lambda image, *told: given.append(told[3]) or image)
    for photo in (model.open(pixels), model.open(pixels, disparity=planes)):
        monkeypatch.setitem(photo.__dict__, "_prediction", (planes, planes / 2))
        photo.refocus(point=(9, 9))
    assert np.array_equal(given[0][0, 0], planes / 2) and given[1] is None


@pytest.mark.parametrize("x, sharp, blurred", [(20, slice(0, 48), slice(80, 128)), (110, slice(80, 128), slice(0, 48))])
def test_the_clicked_surface_is_sharp_and_the_other_is_not(model, pixels, planes, x, sharp, blurred):
    result = np.asarray(model.open(pixels, disparity=planes).refocus(point=(x, 50), aperture=16))
    assert detail(result[:, sharp]) > 0.9 * detail(pixels[:, sharp])
    assert detail(result[:, blurred]) < 0.6 * detail(pixels[:, blurred])


def test_focus_overrides_the_point(model, pixels, planes):
    photo = model.open(pixels, disparity=planes)
    by_focus = photo.refocus(point=(20, 50), focus=photo.focus_at((110, 50)), aperture=10)
    assert near(by_focus, np.asarray(photo.refocus(point=(110, 50), aperture=10)).astype(float), 0)


def test_a_point_beside_an_edge_takes_its_own_surface(model, pixels, planes):
    photo = model.open(np.tile(pixels, (8, 8, 1)), disparity=planes)  # 1024 wide: a window of 11 pixels
    edge = int(np.argmax(photo.disparity[0] > 0.79))
    assert photo.focus_at((edge, 300)) == pytest.approx(0.8, abs=0.02)
    noisy = photo.disparity.copy()
    noisy[300, edge + 200] = 0.83  # one speck of noise
    assert model.open(photo.picture, disparity=noisy).focus_at((edge + 200, 300)) == pytest.approx(0.8, abs=0.01)


def test_a_point_on_something_thin_takes_that(model, pixels):
    twig = np.full((96, 128), 0.2, np.float32)
    twig[:, 60] = 0.8
    assert model.open(pixels, disparity=twig).focus_at((60, 50)) == pytest.approx(0.8)


def test_what_was_predicted_is_sharp_a_little_around_the_point(model, pixels, planes, monkeypatch):
    photo = model.open(pixels)
    monkeypatch.setitem(photo.__dict__, "_prediction", (np.where(planes < 0.5, 0.2, 1.0), planes))
    assert photo.focus_range((20, 50)) == pytest.approx((0.18, 0.22))
    assert photo.focus_range((110, 50)) == (pytest.approx(0.98), 1.0)
    assert model.open(pixels, disparity=planes).focus_range((20, 50)) == pytest.approx((0.2, 0.2)), (
        "your own is taken as it is"
    )


def test_the_farthest_thing_that_was_predicted_can_be_focused_on(model, pixels, planes, monkeypatch):
    photo = model.open(pixels)
    monkeypatch.setitem(photo.__dict__, "_prediction", ((planes > 0.5).astype(np.float32), planes))
    assert photo.focus_range((20, 50)) == (0.0, pytest.approx(0.02))
    assert photo.refocus(point=(20, 50), aperture=4).size == (128, 96)


def test_no_point_takes_the_main_subject(model, pixels, planes, monkeypatch):
    photo = model.open(pixels, disparity=planes)
    subject = np.zeros((96, 128), np.float32)
    subject[30:70, 90:120] = 0.9
    monkeypatch.setitem(photo.__dict__, "_prediction", (planes, subject))
    assert photo.subject_focus() == pytest.approx(0.8)
    subject[:] = np.where(planes < 0.5, 0, 0.45)  # many doubtful pixels do not outvote the sure ones
    subject[:, :16] = 0.9
    assert photo.subject_focus() == pytest.approx(0.2)


def test_the_whole_subject_is_sharp_without_a_point(model, pixels, monkeypatch):
    disparity = np.linspace(0, 1, 128, dtype=np.float32)[None].repeat(96, 0)
    subject = ((disparity > 0.6) & (disparity < 0.8)).astype(np.float32)
    photo = model.open(pixels)
    monkeypatch.setitem(photo.__dict__, "_prediction", (disparity, subject))
    far, near = photo.subject_range()
    assert 0.6 < far < 0.64 and 0.76 < near < 0.8
    changed = np.abs(np.asarray(photo.refocus(aperture=16)).astype(int) - pixels).mean((0, 2))
    assert changed[82:97].max() < 3 < changed[:50].mean()
    deep = (disparity > 0.2).astype(np.float32)
    monkeypatch.setitem(photo.__dict__, "_prediction", (disparity, deep))
    far, near = photo.subject_range()
    assert near - far == pytest.approx(0.3) and near > 0.9, "of a deep subject the near part: faces"


def test_no_subject_takes_the_nearer_part_of_the_middle(model, pixels, monkeypatch):
    disparity = np.full((96, 128), 0.1, np.float32)
    disparity[40:60, 40:90] = 0.6  # something in the middle
    disparity[80:] = 1.0  # the ground at the photographer's feet
    photo = model.open(pixels, disparity=disparity)
    monkeypatch.setitem(photo.__dict__, "_prediction", (disparity, np.zeros_like(disparity)))
    assert photo.subject_focus() == pytest.approx(0.6)
    speck = np.zeros_like(disparity)
    speck[:5, :5] = 1
    monkeypatch.setitem(photo.__dict__, "_prediction", (disparity, speck))
    assert photo.subject_focus() == pytest.approx(0.6), "a speck is no subject"


# ---- your own depth


def test_own_disparity_from_every_source(model, pixels, planes, tmp_path):
    np.save(tmp_path / "d.npy", planes)
    Image.fromarray((planes * 255).round().astype(np.uint8)).save(tmp_path / "d8.png")
    Image.fromarray((planes * 65535).round().astype(np.uint16)).save(tmp_path / "d16.png")
    Image.fromarray((planes * 255).round().astype(np.uint8)).convert("RGB").save(tmp_path / "grey.jpg")
    sources = [planes, planes.astype(np.float64), Image.open(tmp_path / "d8.png"), Image.fromarray(planes)]
    for source in sources + [tmp_path / name for name in ("d.npy", "d8.png", "d16.png", "grey.jpg")]:
        disparity = model.open(pixels, disparity=source).disparity
        assert disparity.dtype == np.float32 and disparity.shape == (96, 128)
        assert np.abs(disparity - planes).max() <= (0.02 if "grey" in str(source) else 0.004)


def test_own_disparity_is_resized_and_stretched(model, pixels, planes):
    small = model.open(pixels, disparity=planes[::4, ::4]).disparity
    assert small.shape == (96, 128)
    assert np.abs(small - planes)[:, np.r_[0:56, 72:128]].max() < 1e-3  # all but the ramp at the edge
    raw = model.open(pixels, disparity=planes * 40 - 3).disparity  # some network's own units
    assert (raw.min(), raw.max()) == (0, 1)
    assert np.corrcoef(raw.ravel(), planes.ravel())[0, 1] > 0.999
    assert (model.open(pixels, disparity=np.full((96, 128), 7)).disparity == 0.5).all()


# ---- out


def test_profile_and_exif_stay(model, pixels, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FNumber] = 8.0
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAltitude] = 12.0
    stored = Image.fromarray(np.ascontiguousarray(pixels[:, ::-1].swapaxes(0, 1)))
    stored.save(tmp_path / "in.jpg", exif=exif, icc_profile=SRGB, quality=95)
    photo = model.open(tmp_path / "in.jpg")
    assert photo.reduced(64).picture.info == photo.picture.info
    result = photo.refocus(aperture=4)
    for name, save in itertools.product(("out.jpg", "out.png", "out.tif", "out.webp"), (save_picture, Picture.save)):
        save(result, tmp_path / name)
        saved = Image.open(tmp_path / name)
        assert saved.size == (128, 96)
        assert saved.info["icc_profile"] == SRGB
        tags = saved.getexif()
        assert tags[ExifTags.Base.Make] == "Maker"
        assert tags.get(ExifTags.Base.Orientation, 1) == 1
        assert float(tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FNumber]) == 8
        assert float(tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAltitude]) == 12
        if name in ("out.png", "out.tif"):
            assert near(saved, np.asarray(result).astype(float), 0)


def test_a_result_is_a_plain_picture_to_others(model, pixels):
    result = model.open(pixels).refocus(aperture=2)
    for other in (pickle.loads(pickle.dumps(result)), result.copy(), result.resize(result.size)):
        assert isinstance(other, Image.Image)
        assert near(other, np.asarray(result).astype(float), 0)


def test_a_result_saves_itself_as_well_as_save_picture_does(model, pixels, tmp_path):
    result = model.open(pixels).refocus(aperture=4)
    save_picture(result, tmp_path / "a.jpg")
    result.save(tmp_path / "b.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    result.save(tmp_path / "c.jpg", quality=60)
    assert (tmp_path / "c.jpg").stat().st_size < (tmp_path / "a.jpg").stat().st_size / 2
    save_picture(result, tmp_path / "d.jpg", quality=60)
    assert (tmp_path / "c.jpg").read_bytes() == (tmp_path / "d.jpg").read_bytes()
    sampling = [JpegImagePlugin.get_sampling(Image.open(tmp_path / f"{name}.jpg")) for name in "ac"]
    assert sampling == [0, 2], "colours as fine as brightness in the best quality alone"
    result.save(tmp_path / "d.png")


def test_a_result_keeps_its_quality_in_an_open_file(model, pixels, tmp_path):
    result = model.open(pixels).refocus(aperture=4)
    result.save(tmp_path / "named.jpg")
    for name in ("open.jpg", "open.jfif"):
        with open(tmp_path / name, "wb") as file:
            result.save(file)
        assert (tmp_path / name).read_bytes() == (tmp_path / "named.jpg").read_bytes()


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f2", "<f8"])
def test_a_retouched_map_may_lie_and_count_as_it_likes(model, pixels, planes, kind):
    photo = model.open(pixels, disparity=planes)
    retouched = photo.corrected(planes[:, ::-1].astype(kind, copy=False))
    expected = model.open(pixels, disparity=np.ascontiguousarray(planes[:, ::-1])).refocus(focus=0.8)
    difference = np.asarray(retouched.refocus(focus=0.8)).astype(int) - np.asarray(expected)
    assert np.abs(difference).max() <= 1 and retouched.reduced(64).size == (64, 48)


def test_copies_of_a_photo_can_be_refocused(model, pixels, planes):
    photo = model.open(pixels, disparity=planes)
    wanted = np.asarray(photo.refocus(aperture=4, focus=0.8))
    for other in (copy.copy(photo), copy.deepcopy(photo)):
        assert other.model is model and np.array_equal(other.refocus(aperture=4, focus=0.8), wanted)
    assert np.array_equal(photo.refocus(aperture=4, focus=np.array(0.8)), wanted)


def test_a_photo_is_reduced_to_the_side_asked_for_and_never_enlarged(model, pixels, planes):
    photo = model.open(pixels, disparity=planes)
    assert [photo.reduced(side).size for side in (1000, 128, 100, 1)] == [(128, 96), (128, 96), (100, 75), (1, 1)]


def test_maps_of_either_byte_order_and_none_that_lies_across(model, pixels, planes, tmp_path):
    levels = (planes * 40000).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "little.tif")
    np.save(tmp_path / "big.npy", levels.astype(">u2"))
    wanted = model.open(pixels, disparity=levels).disparity
    assert 0.1 < wanted.min() < wanted.max() < 0.5
    for source in (levels.astype(">u2"), tmp_path / "big.npy", tmp_path / "little.tif"):
        assert np.array_equal(model.open(pixels, disparity=source).disparity, wanted)
    assert np.array_equal(model.open(levels.astype(">u2")).picture, model.open(levels).picture)
    with pytest.raises(PhotoError, match="disparity must lie as the upright photo, 128 x 96; this one is 96 x 128"):
        model.open(pixels, disparity=planes.T)


@pytest.mark.parametrize("size", [(129, 13000), (13000, 129), (65, 25000)])
def test_the_thinnest_pictures(model, size):
    slope = np.linspace(0, 1, size[0] * size[1], dtype=np.float32).reshape(size[::-1])
    photo = model.open(Image.new("RGB", size, (90, 60, 30)), disparity=slope)
    out = np.asarray(photo.refocus(focus=0.5)).astype(int)
    assert out.shape == (*size[::-1], 3) and np.abs(out - (90, 60, 30)).max() <= 1


@pytest.mark.parametrize(
    "disparity", [np.full((4, 4), np.nan, np.float32), np.zeros((4, 4, 1), np.float32), np.zeros((4, 4), np.uint8)]
)
def test_what_is_no_disparity_is_not_saved(disparity, tmp_path):
    with pytest.raises(PhotoError, match="disparity must be an array"):
        save_disparity(disparity, tmp_path / "out.png")
    save_disparity(np.full((4, 4), 1.2, np.float32), tmp_path / "out.png")
    assert np.asarray(Image.open(tmp_path / "out.png")).min() == 65535


def test_tags_of_a_tiff_do_not_describe_the_result(model, pixels, tmp_path):
    Image.fromarray(pixels).save(
        tmp_path / "in.tif", compression="tiff_lzw", tiffinfo={ExifTags.Base.Software: "Scanner"}
    )
    save_picture(model.open(tmp_path / "in.tif").refocus(aperture=0), tmp_path / "out.jpg")
    tags = Image.open(tmp_path / "out.jpg").getexif()
    assert tags[ExifTags.Base.Software] == "Scanner"
    assert ExifTags.Base.StripOffsets not in tags and ExifTags.Base.Compression not in tags


def test_aperture_zero_returns_the_photo(model, pixels):
    assert near(model.open(pixels).refocus(aperture=0), pixels)


def test_a_grey_photo_stays_grey(model, pixels, planes):
    levels = model.open(pixels[..., 0], disparity=planes).render(focus=0.9, aperture=12)
    assert np.ptp(levels, axis=2).max() == 0


def test_a_picture_is_its_render_rounded(model, pixels, planes):
    photo = model.open(pixels, disparity=planes)
    levels = photo.render(point=(20, 20)) * 255
    assert np.abs(np.asarray(photo.refocus(point=(20, 20))) - levels).max() <= 0.501


def test_refocus_leaves_the_photo_as_it_was(model, pixels):
    photo = model.open(pixels)
    disparity = photo.disparity.copy()
    first = photo.refocus(point=(20, 20), aperture=9)
    photo.refocus(point=(90, 70), aperture=3)
    assert near(photo.refocus(point=(20, 20), aperture=9), np.asarray(first).astype(float), 0)
    assert near(photo.picture, pixels, 0)
    assert (photo.disparity == disparity).all()


def test_a_failing_save_leaves_nothing(pixels, tmp_path, monkeypatch):
    def fail(self, file, *args, **options):
        file.write(b"half a file")
        raise OSError("disk full")

    target = tmp_path / "out.jpg"
    target.write_bytes(b"the old one")
    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_picture(Image.fromarray(pixels), target)
    assert os.listdir(tmp_path) == ["out.jpg"]
    assert target.read_bytes() == b"the old one"


def test_saved_files_have_ordinary_permissions(pixels, tmp_path):
    save_picture(Image.fromarray(pixels), tmp_path / "out.png")
    (tmp_path / "plain").touch()
    assert (tmp_path / "out.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(os.listdir(tmp_path)) == ["out.png", "plain"]


def test_disparity_files_come_back(model, pixels, planes, tmp_path):
    for name, within in (("d.png", 1 / 65535), ("d.npy", 0)):
        save_disparity(planes, tmp_path / name)
        assert np.abs(model.open(pixels, disparity=tmp_path / name).disparity - planes).max() <= within
    save_disparity(planes.astype(np.float16), tmp_path / "half.png")
    assert np.abs(model.open(pixels, disparity=tmp_path / "half.png").disparity - planes).max() < 1e-3
    text = Image.open(tmp_path / "d.png").text
    assert "nearest" in text["Description"] and "65535" in text["Description"]


def test_colours_of_disparity():
    ramp = np.asarray(colour_disparity(np.linspace(0, 1, 256, dtype=np.float32)[None])).astype(float)[0]
    for at, inferno in ((0, (0, 0, 4)), (128, (188, 55, 84)), (255, (252, 255, 164))):  # the published table
        assert np.abs(ramp[at] - inferno).max() <= 8
    brightness = ramp @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(brightness) > -0.5).all()  # nearer is brighter
