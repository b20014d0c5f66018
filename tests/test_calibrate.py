"""A reference in the picture: metres from disparity, and the blur of a real lens."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from deeplens_hf import cli
from deeplens_hf.files.pictures import PhotoError
from deeplens_hf.lens import Calibration, Camera, aperture_of, fit, read_camera, read_f_number
from deeplens_hf.optics import aperture_of_f_number, f_number_of_aperture, pixels_per_dioptre, srgb_to_linear
from deeplens_hf.photo import Photo

FULL_FRAME = {"focal_length_mm": 50, "sensor_width_mm": 36}


@pytest.fixture
def scene(model, pixels):
    """Disparity 0.3 / distance + 0.05, from 0.4 m on the left to 4 m on the right."""
    metres = np.geomspace(0.4, 4, 128)[None].repeat(96, 0)
    return model.open(pixels, disparity=(0.3 / metres + 0.05).astype(np.float32)), metres


def exif(**tags: float) -> Image.Image:
    """A picture of 400 x 300 whose camera told these."""
    picture, kept = Image.new("RGB", (400, 300)), Image.Exif()
    for name, value in tags.items():
        kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base[name]] = value
    picture.info["exif"] = kept.tobytes()
    return picture


def test_a_crop_has_another_view_than_its_camera_told():
    told = {"FocalLength": 50.0, "FocalLengthIn35mmFilm": 50, "ExifImageWidth": 6000, "ExifImageHeight": 4000}
    with pytest.raises(PhotoError, match="focal_length_mm and sensor_width_mm, of what is left, must be given"):
        read_camera(exif(**told))  # 400 x 300
    assert read_camera(exif(**told), 50, 24).focal_px == pytest.approx(50 / 24 * 400)
    whole = told | {"ExifImageWidth": 3000, "ExifImageHeight": 4000}  # as some cameras write it of what is turned
    assert read_camera(exif(**whole)).focal_px == read_camera(exif(FocalLength=50.0, FocalLengthIn35mmFilm=50)).focal_px


# ---- formulas


@pytest.mark.parametrize("focus, distance", [(1.0, 0.5), (1.0, 4.0), (0.3, 0.2), (2.0, 1e9)])
def test_blur_is_that_of_the_thin_lens(focus, distance):
    # by the lens equation itself: where the sensor is, where the point's image is, similar triangles between them
    f, f_number, pixels_per_metre = 0.05, 1.8, 1000 / 0.036
    sensor, image = 1 / (1 / f - 1 / focus), 1 / (1 / f - 1 / distance)
    radius = f / f_number / 2 * abs(image - sensor) / image * pixels_per_metre
    per_dioptre = pixels_per_dioptre(sensor * pixels_per_metre, f * 1000, f_number)
    assert per_dioptre * abs(1 / distance - 1 / focus) == pytest.approx(radius, rel=1e-9)


def test_blur_is_that_of_the_path_traced_truth():
    # by the meta.json of a scene that Blender traced through a real lens: its K was checked there on point lights
    meta = {"lens_mm": 70, "sensor_width_mm": 36, "fstop": 2.4048371215560937, "K": 18.111644720193}
    focal_px = read_camera(Image.new("RGB", (640, 480)), meta["lens_mm"], meta["sensor_width_mm"]).focal_px
    assert pixels_per_dioptre(focal_px, meta["lens_mm"], meta["fstop"]) == pytest.approx(meta["K"], rel=1e-6)


def test_two_references_give_both_constants_and_one_needs_the_far_end():
    known = [(0.3 / metres + 0.05, metres) for metres in (0.5, 2.0)]
    assert fit(known) == pytest.approx((0.3, 0.05))
    assert fit(known[::-1]) == pytest.approx((0.3, 0.05))
    assert fit([(0.6, 2.0)]) == pytest.approx((1.2, 0))  # the far end infinitely far
    scale, offset = fit([(0.6, 2.0)], farthest=8.0)
    assert scale / 2 + offset == pytest.approx(0.6) and scale / 8 + offset == pytest.approx(0)


def test_f_numbers():
    assert [read_f_number(text) for text in ("f/1.8", "F/16", "f2.8", " f 4 ")] == [1.8, 16, 2.8, 4]
    assert [read_f_number(text) for text in ("1.8", "f/", "f/0", "f/-2", "wide")] == [None] * 5
    assert read_f_number("f/.95") == 0.95
    assert aperture_of_f_number(1.4) == pytest.approx(16) and aperture_of_f_number(16) == pytest.approx(1.4)
    assert aperture_of_f_number(2.8) == pytest.approx(8)  # two stops: half the disc
    assert [f_number_of_aperture(aperture_of_f_number(n)) for n in (1.4, 5.6, 16)] == pytest.approx([1.4, 5.6, 16])
    assert f_number_of_aperture(0) == math.inf


# ---- the camera


def test_what_the_camera_told():
    phone = exif(FocalLength=6.0, FocalLengthIn35mmFilm=52)
    assert read_camera(phone) == Camera(pytest.approx(52 / 43.267 * 500, rel=1e-4), 6.0)
    # the same view by a full-frame camera: 52 mm or so
    assert read_camera(phone, sensor_width_mm=36).focal_length_mm == pytest.approx(52, rel=0.05)
    assert read_camera(phone, sensor_width_mm=36).focal_px == read_camera(phone).focal_px
    assert read_camera(phone, 50, 25).focal_px == pytest.approx(800)  # both given: nothing is taken from EXIF
    mirror = exif(
        FocalLength=50.0, FocalPlaneXResolution=4000 / 36, FocalPlaneResolutionUnit=4, ExifImageWidth=4000
    )  # since reduced to 400 pixels
    assert read_camera(mirror) == Camera(pytest.approx(50 / 36 * 400, rel=1e-4), 50.0)
    inches = exif(
        FocalLength=50.0, FocalPlaneXResolution=4000 / 36 * 25.4, ExifImageWidth=4000
    )  # where no unit is told
    centimetres = exif(
        FocalLength=50.0, FocalPlaneXResolution=4000 / 3.6, FocalPlaneResolutionUnit=3, ExifImageWidth=4000
    )
    assert read_camera(inches).focal_px == pytest.approx(50 / 36 * 400, rel=1e-4)
    assert read_camera(centimetres).focal_px == pytest.approx(50 / 36 * 400, rel=1e-4)
    assert read_camera(exif(FocalLength=50.0), sensor_width_mm=36).focal_px == pytest.approx(50 / 36 * 400)


def test_pixels_per_millimetre_are_counted_along_the_long_side_of_an_upright_photo_too():
    upright = {"ExifImageWidth": 3000, "ExifImageHeight": 4000}
    photo = exif(FocalLength=50.0, FocalPlaneXResolution=4000 / 36, FocalPlaneResolutionUnit=4, **upright)
    assert read_camera(photo).focal_px == pytest.approx(50 / 36 * 400, rel=1e-4)


@pytest.mark.parametrize("given, focal", [({"sensor_width_mm": 36}, 50 / 22.3 * 36), ({"focal_length_mm": 85}, 85)])
def test_another_lens_or_sensor_keeps_the_view_that_pixels_per_millimetre_tell(given, focal):
    """As 35 mm equivalents do: a camera that tells none has its view of its own focal length and sensor."""
    pixels = {"FocalPlaneXResolution": 6000 / 22.3, "FocalPlaneResolutionUnit": 4, "ExifImageWidth": 6000}
    photo = exif(FocalLength=50.0, **pixels)
    assert read_camera(photo, **given) == Camera(
        pytest.approx(read_camera(photo).focal_px), pytest.approx(focal, rel=1e-3)
    )


@pytest.mark.parametrize(
    "tags, given, says",
    [
        ({}, {}, "focal_length_mm must be given"),
        ({"FocalLength": 50.0}, {}, "sensor_width_mm must be given"),
        ({"FocalLengthIn35mmFilm": 26}, {}, "focal_length_mm or sensor_width_mm must be given"),
        ({"FocalLength": 0.0}, {"sensor_width_mm": 36}, "focal_length_mm must be given"),  # 0: unknown
        (
            {},
            {"focal_length_mm": -50, "sensor_width_mm": 36},
            "focal_length_mm must be a number of millimetres above 0",
        ),
        ({}, {"focal_length_mm": 50, "sensor_width_mm": "wide"}, "sensor_width_mm must be a number of millimetres"),
    ],
)
def test_what_the_camera_did_not_tell_is_asked_for(tags, given, says):
    with pytest.raises(PhotoError, match=says):
        read_camera(exif(**tags), **given)


# ---- on a photo


def test_distances_of_the_whole_photo_from_two_points(scene):
    photo, metres = scene
    calibration = photo.calibrate([((5, 50), metres[50, 5]), ((120, 50), metres[50, 120])], **FULL_FRAME)
    assert calibration is photo.calibration
    assert calibration.distance(photo.disparity) == pytest.approx(metres, rel=0.02)
    assert calibration.disparity(1.0) == pytest.approx(0.35, abs=0.005)
    assert photo.dioptres == pytest.approx((-0.05 / 0.3, 0.95 / 0.3), rel=0.02)
    beyond = Calibration(Camera(1, 1), scale=1.0, offset=0.5, long_side=100)
    assert beyond.distance(np.array([0.4, 0.5, 1.0])).tolist() == [math.inf, math.inf, 2.0]


def test_reduced_and_retouched_it_stays_calibrated_and_upright_too(scene, model):
    photo, metres = scene
    photo.calibrate([((5, 50), metres[50, 5]), ((120, 50), metres[50, 120])], **FULL_FRAME)
    assert photo.reduced(64).calibration == photo.corrected(photo.disparity).calibration == photo.calibration
    with pytest.raises(PhotoError, match="long_side must be at least 1 pixel, got 0"):
        photo.reduced(0)
    upright = model.open(np.asarray(photo.picture).swapaxes(0, 1), disparity=photo.disparity.T.copy())
    lens = upright.calibrate([((50, 5), metres[50, 5]), ((50, 120), metres[50, 120])], **FULL_FRAME)
    assert lens.aperture(8) == pytest.approx(photo.calibration.aperture(8))


def test_an_f_number_is_the_lens_once_calibrated_and_nominal_before(scene, model, monkeypatch):
    photo, metres = scene
    asked = []
    monkeypatch.setattr(model, "render", lambda image, disparity, focus, aperture, *_: asked.append(aperture) or image)
    photo.refocus(point=(9, 9), aperture="f/2.8")
    photo.calibrate([((5, 50), metres[50, 5]), ((120, 50), metres[50, 120])], **FULL_FRAME)
    photo.refocus(point=(9, 9), aperture="f/8")
    photo.refocus(point=(9, 9), aperture=4)
    # per unit disparity: K / 0.3 = (128 * 50 / 36) * 0.05 / 16 / 0.3 pixels of 128
    assert asked == pytest.approx([8, 128 * 50 / 36 * 0.05 / 16 / 0.3 * 320 / 128, 4], rel=0.02)


@pytest.mark.parametrize(
    "references, farthest, says",
    [
        ([], math.inf, "references must be one or two points with their distances, got 0"),
        ([((5, 5), 1), ((9, 5), 2), ((90, 5), 3)], math.inf, "got 3"),
        ([((5, 5), 0)], math.inf, "distances in metres above 0, got 0"),
        ([((5, 5), math.nan)], math.inf, "distances in metres above 0"),
        ([((500, 5), 1)], math.inf, "point must be"),
        ([((5, 5), 3), ((120, 5), 1)], math.inf, "references must be nearer where the depth map is brighter"),
        ([((5, 5), 3), ((5, 5), 3)], math.inf, "references must be at two distances"),
        ([((5, 5), 3), ((120, 5), 3)], math.inf, "references must be at two distances"),
        ([((5, 5), "3")], math.inf, "distances in metres above 0"),
        ([((5, 5), 3)], 2, "references must be nearer"),
        ([((5, 5), 3)], -1, "farthest must be a number of metres above 0"),
        ([((5, 5), 1), ((120, 5), 3)], 4.5, "farthest goes with one reference"),
        ([(5, 5, 3)], math.inf, r"references must be like \[\(\(x, y\), metres\)\]"),
        (np.array([[5, 5, 3]]), math.inf, "references must be like"),
        (None, math.inf, "references must be one or two points with their distances, got 0"),
    ],
)
def test_no_references(scene, references, farthest, says):
    photo, _ = scene
    with pytest.raises(PhotoError, match=says):
        photo.calibrate(references, farthest=farthest, **FULL_FRAME)
    assert photo.calibration is None


def test_one_reference_corrects_depth_in_metres_by_a_factor(model, pixels):
    metres = np.geomspace(1, 10, 128, dtype=np.float32)[None].repeat(96, 0)
    photo = model.open(pixels, disparity=metres, depth_is="depth")
    calibration = photo.calibrate(iter([((5, 50), 2 * float(metres[50, 5]))]), **FULL_FRAME)
    assert calibration.distance(photo.disparity) == pytest.approx(2 * metres, rel=0.02)
    with pytest.raises(PhotoError, match="farthest is for depth that does not tell metres"):
        photo.calibrate(farthest=4.5, **FULL_FRAME)
    with pytest.raises(PhotoError, match="distances in metres above 0"):
        photo.calibrate([((5, 5), 0)], **FULL_FRAME)


def test_too_wide_a_lens_says_how_far_it_goes(scene, model, monkeypatch):
    photo, _ = scene
    asked = []
    monkeypatch.setattr(model, "render", lambda image, disparity, focus, aperture, *_: asked.append(aperture) or image)
    with pytest.raises(PhotoError, match="aperture must be f/1.4 or narrower for this photo, got 'f/1.2'"):
        photo.refocus(aperture="f/1.2")
    photo.calibrate([((5, 50), 4.0), ((120, 50), 40.0)], **FULL_FRAME)
    photo.refocus(point=(9, 9), aperture="f/1")
    assert asked[-1] < 5  # metres away no lens is wide
    photo.calibrate([((5, 50), 0.1), ((120, 50), 1.0)], **FULL_FRAME)
    with pytest.raises(PhotoError, match=r"aperture must be f/[\d.]+ or narrower") as error:
        photo.refocus(point=(9, 9), aperture="f/1")
    widest = str(error.value).split()[3]
    photo.refocus(point=(9, 9), aperture=widest)
    assert 31 < asked[-1] <= 32  # what it says is right
    for aperture in ("f/0", "f/x", "wide"):
        with pytest.raises(PhotoError, match="aperture must be a number from 0 to 16 or like"):
            photo.refocus(aperture=aperture)


def test_the_widest_f_number_that_is_told_is_accepted():
    for hundredths in range(101, 300):
        # one that is exactly this, and one a little wider
        for exactly in (hundredths / 100, hundredths / 100 - 0.006):
            calibration = Calibration(Camera(500, 50), scale=500 * 0.05 / 2 / 32 / exactly, offset=0, long_side=320)
            with pytest.raises(PhotoError, match="or narrower") as error:
                aperture_of("f/1", calibration, 16)
            assert 31 < aperture_of(str(error.value).split()[3], calibration, 16) <= 32


def blur_radius(picture: Image.Image, columns: slice) -> float:
    """Of a vertical step blurred by a disc: its slope has half the disc's radius as standard deviation."""
    light = srgb_to_linear(torch.from_numpy(np.asarray(picture)[:, columns, 1] / 255.0)).numpy()
    slope = np.abs(np.diff(light[40:-40].mean(0)))
    slope, at = slope / slope.sum(), np.arange(len(slope))
    return 2 * math.sqrt((slope * (at - (slope * at).sum()) ** 2).sum())


@pytest.mark.parametrize("f_number", [2.0, 4.0])
def test_the_rendered_disc_has_the_radius_of_the_lens(model, f_number):
    # 50 mm on full frame, 640 pixels wide; a wall at 3 m on the left, focus on a box at 1 m
    pixels = np.full((320, 640, 3), 90, np.uint8)
    pixels[:, 200:] = 160  # a step on the wall
    disparity = np.full((320, 640), 0.2, np.float32)
    disparity[:, 440:] = 0.8
    photo = model.open(pixels, disparity=disparity)
    photo.calibrate([((600, 50), 1.0), ((20, 50), 3.0)], **FULL_FRAME)
    result = photo.refocus(point=(600, 50), aperture=f"f/{f_number}")
    expected = 640 * 50 / 36 * 0.050 / (2 * f_number) * abs(1 / 1.0 - 1 / 3.0)
    assert blur_radius(result, slice(120, 280)) == pytest.approx(expected, rel=0.05)


# ---- the command line


def test_a_reference_on_the_command_line(model, model_folder, photo_file, tmp_path):
    arguments = "--focus 9,9 --aperture f/4 --reference 20,50,0.8 --reference 110,50,2.5 --focal-length 50"
    disparity = np.linspace(1, 0, 128, dtype=np.float32)[None].repeat(96, 0)
    np.save(tmp_path / "depth.npy", disparity)
    command = ["refocus", photo_file, *arguments.split(), "--sensor-width", 36, "--depth", tmp_path / "depth.npy"]
    assert cli.main(list(map(str, [*command, "--model", model_folder, "-o", tmp_path / "out.png"]))) == 0
    photo = model.open(photo_file, disparity=disparity)
    photo.calibrate([((20, 50), 0.8), ((110, 50), 2.5)], **FULL_FRAME)
    expected = np.asarray(photo.refocus(point=(9, 9), aperture="f/4")).astype(int)
    assert np.abs(np.asarray(Image.open(tmp_path / "out.png")) - expected).max() <= 1


def test_the_farthest_on_the_command_line(model_folder, photo_file, planes, tmp_path, monkeypatch):
    np.save(tmp_path / "depth.npy", planes)
    told = []
    monkeypatch.setattr(Photo, "refocus", lambda photo, **settings: told.append(photo.calibration) or photo.picture)
    lens = "--aperture f/2 --reference 110,50,2 --farthest 8 --focal-length 50 --sensor-width 36"
    command = ["refocus", photo_file, *lens.split(), "--depth", tmp_path / "depth.npy"]
    assert cli.main(list(map(str, [*command, "--model", model_folder, "-o", tmp_path / "out.png"]))) == 0
    assert told[0].distance(0.0) == pytest.approx(8) and told[0].distance(0.8) == pytest.approx(2)


@pytest.mark.parametrize(
    "options, says",
    [
        ("--aperture f/zero", "must be a number or such as f/1.8; got 'f/zero'"),
        ("--reference 5,5", "must be X,Y,METRES, such as 640,480,1.2; got '5,5'"),
        ("--aperture f/2 --reference 5,5,2", "focal_length_mm must be given"),
        ("--aperture f/1", "aperture must be f/1.4 or narrower"),
    ],
)
def test_no_lens_on_the_command_line(model_folder, photo_file, tmp_path, capsys, options, says):
    command = [
        "refocus",
        photo_file,
        "--aperture",
        "f/2",
        *options.split(),
        "--model",
        model_folder,
        "-o",
        tmp_path / "out.png",
    ]
    try:
        status = cli.main(list(map(str, command)))
    except SystemExit as ended:
        status = ended.code
    assert status == 2 and not (tmp_path / "out.png").exists()
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("deeplens: error: ") and says in error


# ---- the truth


DATA = os.environ.get("DEEPLENS_DATA")
SCENES = sorted((Path(DATA) / "truth" / "traced").glob("*/meta.json")) if DATA else []
SCENES = {path.parent.name: path for path in SCENES}
SCENES.pop("night_street", None)  # clipped lamps: their light is lost, not known


@pytest.mark.slow
@pytest.mark.skipif(not SCENES, reason="DEEPLENS_DATA names no folder with truth/traced")
@pytest.mark.parametrize("scene", SCENES)
def test_the_blur_of_path_traced_photos(model, scene):
    """Two pixels of known depth calibrate; of apertures about the shot's, its own f-number fits the shot best.

    Where no blur disc reaches over the frame: what lies beyond it, and is in the shot, no photo shows.
    """
    folder, told = SCENES[scene].parent, json.loads(SCENES[scene].read_text())
    dioptres = np.load(folder / "depth.npz")["disp"].astype(np.float32)
    low, high = dioptres.min(), dioptres.max()
    photo = model.open(folder / "aif.png", disparity=(dioptres - low) / (high - low))
    order = np.argsort(dioptres, axis=None)
    points = [np.unravel_index(order[int(share * (order.size - 1))], dioptres.shape) for share in (0.98, 0.6)]
    photo.calibrate([((x, y), 1 / dioptres[y, x]) for y, x in points], told["lens_mm"], told["sensor_width_mm"])
    for shot in (shot for shot in told["shots"] if shot["file"] in ("dof_fnear_2.png", "dof_ffar_2.png")):
        truth = np.asarray(Image.open(folder / shot["file"]).convert("RGB")).astype(float)
        focus = photo.calibration.disparity(shot["focus_distance_m"])
        scales, band = np.array([0.9, 1.0, 1.1]), math.ceil(shot["max_radius_px"])
        pictures = [np.asarray(photo.refocus(focus=focus, aperture=f"f/{shot['fstop'] / scale}")) for scale in scales]
        errors = [np.square(picture - truth)[band:-band, band:-band].mean() for picture in pictures]
        a, b, _ = np.polyfit(scales, np.log(errors), 2)
        assert a > 0 and -b / (2 * a) == pytest.approx(1, abs=0.05)
