"""The unlearned renderers against plain loops, and the promises that every renderer keeps."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deeplens_hf import DeepLens
from deeplens_hf.evaluation import commands, depth, edges, render, report
from deeplens_hf.evaluation.baselines import no_blur, scatter, unlearned_slabs
from deeplens_hf.evaluation.flaws import FLAWS
from deeplens_hf.evaluation.truth import labelled_photos, layered_shots, stereo_scenes, traced_shots
from deeplens_hf.optics import disc, linear_to_srgb, srgb_to_linear

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
APERTURE_OF_A_PIXEL = 320 / 24  # on the pictures here, 24 pixels wide: one pixel of blur radius per unit disparity


def picture(height: int = 20, width: int = 24) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def convolve(light: torch.Tensor, radius: float) -> torch.Tensor:
    """Plain loops over the pixels of the disc, the border pixel continued: (1, C, H, W) -> (1, C, H, W)."""
    kernel = disc(radius)
    reach = kernel.shape[0] // 2
    height, width = light.shape[-2:]
    out = torch.zeros_like(light)
    for y in range(height):
        for x in range(width):
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    from_y, from_x = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
                    out[..., y, x] += kernel[dy + reach, dx + reach] * light[..., from_y, from_x]
    return out


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("renderer, radius", [(unlearned_slabs, 3.0), (scatter, 3.0), (scatter, 3.6)])
def test_a_plane_is_blurred_by_its_disc_in_linear_light(renderer, radius, side):
    image = picture()
    disparity = torch.full((1, 1, 20, 24), 0.5 + 0.5 * side)
    out = renderer(image, disparity, 0.5 - 0.5 * side, radius * APERTURE_OF_A_PIXEL)
    torch.testing.assert_close(out, linear_to_srgb(convolve(srgb_to_linear(image), radius)), atol=1e-4, rtol=0)


def test_slabs_between_two_knots_mix_the_discs_of_both():
    """Defocus 2.25 lies between the knots 2 and 3; by hand: the near slab first, the far one takes what is left."""
    image = picture()
    out = unlearned_slabs(image, torch.ones(1, 1, 20, 24), 0.0, 2.25 * APERTURE_OF_A_PIXEL)
    light = srgb_to_linear(image)
    expected = 0.25 * convolve(light, 3.0) + 0.75 * convolve(light, 2.0)
    torch.testing.assert_close(out, linear_to_srgb(expected), atol=1e-4, rtol=0)


def test_slabs_lay_a_blurred_foreground_over_a_sharp_background():
    """Two planes, the far one in focus, against the formula: take what the disc leaves, divide by what is reached."""
    image, radius = picture(), 4.5
    disparity = torch.zeros(1, 1, 20, 24)
    disparity[..., :12] = 1
    out = unlearned_slabs(image, disparity, 0.0, radius * APERTURE_OF_A_PIXEL)
    light = srgb_to_linear(image)
    near = convolve(torch.cat([light * disparity, disparity], dim=1), radius)  # (1, 4, H, W)
    left = torch.minimum(1 - disparity, 1 - near[:, 3:])
    expected = (near[:, :3] + light * left) / (near[:, 3:] + left)
    torch.testing.assert_close(out, linear_to_srgb(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("renderer", [unlearned_slabs, scatter])
def test_light_from_behind_does_not_bleed_over_what_is_sharp(renderer):
    image = torch.zeros(1, 3, 20, 24)
    image[..., 12:] = 1  # a white background out of focus, a black object in focus before it
    disparity = torch.ones(1, 1, 20, 24)
    disparity[..., 12:] = 0
    out = renderer(image, disparity, 1.0, 6 * APERTURE_OF_A_PIXEL)
    assert out[..., :12].max() < 1e-3


@pytest.mark.parametrize("renderer", [no_blur, unlearned_slabs, scatter])
@pytest.mark.parametrize("height, width", [(20, 24), (1, 9)])
def test_promises(renderer, height, width):
    image = picture(height, width)
    disparity = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(1))
    assert (renderer(image, disparity, 0.3, 0.0) - image).abs().max() < 1e-4
    constant = torch.full_like(image, 0.42)
    out = renderer(constant, disparity, 0.3, 100.0)  # beyond the last knot of the slabs
    assert out.shape == image.shape and (out - constant).abs().max() < 1e-3
    batch = renderer(torch.cat([image, constant]), torch.cat([disparity, 1 - disparity]), 0.3, 40.0)
    torch.testing.assert_close(batch[:1], renderer(image, disparity, 0.3, 40.0), atol=1e-4, rtol=0)


def test_a_point_light_keeps_its_energy():
    image = torch.zeros(1, 3, 21, 21)
    image[..., 10, 10] = 1
    for renderer in (unlearned_slabs, scatter):
        out = srgb_to_linear(renderer(image, torch.ones(1, 1, 21, 21), 0.0, 4.5 * 320 / 21))
        assert math.isclose(out.sum().item() / 3, 1, abs_tol=0.01)


@pytest.fixture
def data(tmp_path):
    """A folder of toy truth, 24 x 20 pixels, in the layout that `--data` expects."""
    draw = np.random.default_rng(0)
    photo = Image.fromarray(draw.integers(0, 256, (20, 24, 3), dtype=np.uint8))
    ramp = np.tile(np.linspace(0, 65535, 24).astype(np.uint16), (20, 1))
    layered, traced, stereo, photos = (
        tmp_path / name for name in ("truth/layered", "truth/traced/lane", "truth/stereo", "photos/train")
    )
    for folder in (layered, traced, stereo, photos):
        folder.mkdir(parents=True)
    Image.fromarray(ramp).save(layered / "s0_disp.png")
    for name in ("aif", "gt_mid", "gt_bg", "gt_near"):
        photo.save(layered / f"s0_{name}.png")
    for name in ("aif", "dof_fnear_1"):
        photo.save(traced / f"{name}.png")
    np.savez(traced / "depth.npz", disp=(0.5 + ramp / 65535 * 2).astype(np.float16))  # 0.5 to 2.5 in 1/m
    shot = {"file": "dof_fnear_1.png", "focus": "near", "disp_focus": 2.0, "K": 3.0}
    (traced / "meta.json").write_text(json.dumps({"shots": [shot]}))
    photo.save(stereo / "books.jpg")
    Image.fromarray(ramp).save(stereo / "books.disparity.png")
    photo.save(photos / "00007.jpg")
    Image.fromarray((ramp >> 8).astype(np.uint8)).save(photos / "00007.disparity.png")
    Image.fromarray(((ramp >> 15) * 255).astype(np.uint8)).save(photos / "00007.foreground.png")
    entry = {"id": "00007", "group": "people", "foreground": "annotated", "split": "val"}
    (tmp_path / "photos/manifest.jsonl").write_text(json.dumps(entry) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    "content, says",
    [
        ('{"lens": 50}', "meta.json must have 'shots'"),
        ('{"shots": [{"file": "dof_fnear_1.png", "focus": "near", "disp_focus": 2}]}', "meta.json must have 'K'"),
        ("[", "meta.json must be an object of JSON"),
        ("7", "meta.json must be an object of JSON"),
    ],
)
def test_traced_truth_that_lacks_something_is_named(data, content, says):
    (data / "truth/traced/lane/meta.json").write_text(content)
    with pytest.raises(ValueError, match=f"data: .*{says}"):
        list(traced_shots(data))


def test_traced_truth_without_its_depth_is_named(data):
    np.savez(data / "truth/traced/lane/depth.npz", depth=np.ones((20, 24)))
    with pytest.raises(ValueError, match="depth.npz must have 'disp'"):
        list(traced_shots(data))


def test_traced_truth_arrives_in_the_units_of_the_model(data):
    (shot,) = traced_shots(data)
    assert shot.kind == "traced day" and shot.disparity.min() == 0 and shot.disparity.max() == 1
    assert shot.focus == pytest.approx(0.75)  # 2.0 of 0.5 to 2.5
    assert shot.aperture * 24 / 320 == pytest.approx(3 * 2)  # pixels per unit disparity: K over a range of 2
    np.savez(data / "truth/traced/lane/linear.npz", light=np.zeros(1))
    assert next(traced_shots(data)).kind == "lights"


def test_layered_truth_is_focused_where_its_name_says(data):
    shots = list(layered_shots(data))
    assert {shot.focus_name: shot.focus for shot in shots} == {"background": 0.12, "middle": 0.48, "near": 0.88}
    assert [shot.aperture for shot in shots] == pytest.approx([28 * APERTURE_OF_A_PIXEL] * 3)


def test_what_stereo_did_not_measure_is_unknown(data):
    levels = np.full((20, 24), 65535, np.uint16)
    levels[:, :10], levels[:, 10:12] = 0, 1
    Image.fromarray(levels).save(data / "truth/stereo/books.disparity.png")
    (scene,) = stereo_scenes(data)
    assert scene.valid[0, 0].equal((torch.arange(24) >= 10).expand(20, 24))
    assert scene.disparity[0, 0, 0, [10, 12]].tolist() == [0, 1]


def test_inside_is_where_no_light_from_beyond_the_frame_reaches(data):
    (shot,) = traced_shots(data)  # 3 pixels a dioptre, and at most 1.5 between focus and the farthest
    expected = torch.zeros(20, 24, dtype=torch.bool)
    expected[5:-5, 5:-5] = True
    assert render.inside(shot)[0, 0].equal(expected)


def test_render_benchmark_writes_a_row_a_shot_and_renderer(data, tmp_path):
    rows = render.evaluate_render({"no blur": no_blur, "slabs": unlearned_slabs}, data, progress=False)
    assert len(rows) == 2 * (3 + 1) + 2 * 3 * len(FLAWS), "layered shots also with each flaw"
    losses = render.flaw_losses(rows)
    assert set(losses["slabs"]) == {*FLAWS, "mean"}
    assert all(row["psnr"] is None for row in rows if row["renderer"] == "no blur")  # the toy's truth is its photo
    assert all(row["psnr"] < 40 and row["psnr_edges"] is None for row in rows if row["renderer"] == "slabs")
    render.write_report(rows, tmp_path / "out")
    assert json.loads((tmp_path / "out/render.json").read_text())["rows"] == rows
    assert "| slabs |" in (tmp_path / "out/render.md").read_text()
    assert not list((tmp_path / "out").glob("*.part"))


def test_what_is_wrong_at_the_frame_alone_is_nothing_inside(data):
    def framed(image, disparity, focus, aperture):
        image = image.clone()
        image[..., 0] = 1 - image[..., 0]  # the toy's truth is its photo
        return image

    (row,) = (row for row in render.evaluate_render({"r": framed}, data, progress=False) if row["kind"] == "traced day")
    assert row["psnr"] < 40 and row["psnr_inside"] is None


def test_flaws_are_what_they_say():
    disparity = torch.zeros(1, 1, 24, 32)
    disparity[..., 12:] = 1.0
    edges = {name: int((flaw(disparity)[0, 0, 12] > 0.5).int().argmax()) for name, flaw in FLAWS.items()}
    assert edges == {"soft": 12, "grown": 10, "shrunk": 14, "shifted": 14, "stepped": 12}
    ramp = torch.linspace(0, 1, 200).view(1, 1, 1, 200).expand(1, 1, 8, 200)
    assert len(FLAWS["stepped"](ramp).unique()) == 24


def test_a_flaw_costs_what_it_takes_from_the_picture():
    row = {"renderer": "r", "kind": "layered", "scene": "s", "focus": "near", "aperture": 1.0}
    rows = [row | {"disparity": "true", "psnr": 30.0}, row | {"disparity": "soft", "psnr": 28.5}]
    assert render.flaw_losses(rows) == {"r": {"soft": 1.5, "mean": 1.5}}


def test_a_renderer_of_fewer_flawed_maps_is_told_apart():
    figures = {"psnr": 30.0, "psnr_edges": None, "psnr_inside": None, "ssim": 1.0, "seconds": 0.1}
    row = figures | {"kind": "layered", "focus": "near", "aperture": 1.0}
    maps = [{"scene": scene, "disparity": each} for scene in ("s0", "s1") for each in ("true", "soft")]
    rows = [row | {"renderer": name} | map for name in ("r", "s") for map in maps]
    assert "Not to be compared" not in render.to_markdown(rows)
    assert "Not to be compared: s is of 1 flawed maps, not 2." in render.to_markdown(rows[:-1])


def test_flawed_maps_are_no_part_of_what_the_true_one_gives():
    row = {"psnr_edges": None, "psnr_inside": None, "ssim": 1.0, "renderer": "r", "kind": "layered"}
    row |= {"scene": "s", "focus": "near", "aperture": 1.0, "seconds": 1.0}
    (mean,) = render.summarise(
        [row | {"disparity": name, "psnr": psnr} for name, psnr in (("true", 30.0), ("soft", 20.0))]
    )
    assert (mean["psnr"], mean["shots"]) == (30, 1)


def test_a_mean_is_over_those_that_have_the_figure():
    assert report.mean([{"hover": 0.2}, {"hover": None}, {"hover": 0.4}], "hover") == pytest.approx(0.3)
    assert report.mean([{"hover": None}], "hover") is None


@pytest.mark.parametrize("benchmark", [render, depth, edges], ids=lambda module: module.__name__.rpartition(".")[2])
def test_published_tables_are_those_of_their_rows(benchmark):
    name = benchmark.__name__.rpartition(".")[2]
    content = json.loads((BENCHMARKS / f"{name}.json").read_text())
    assert benchmark.summarise(content["rows"]) == content["summary"]
    assert benchmark.to_markdown(content["rows"]) == (BENCHMARKS / f"{name}.md").read_text(encoding="utf-8")


def test_seconds_are_the_mean_over_pictures():
    row = {"psnr": 30.0, "psnr_edges": None, "psnr_inside": None, "ssim": 1.0, "renderer": "r", "kind": "layered"}
    row |= {"aperture": 1.0, "disparity": "true"}
    shots = [("s0", "near", 1.0), ("s1", "near", 1.0), ("s2", "near", 1.0), ("s0", "far", 5.0)]
    rows = [row | {"scene": scene, "focus": focus, "seconds": seconds} for scene, focus, seconds in shots]
    line = next(line for line in render.to_markdown(rows).splitlines() if line.startswith("| r |"))
    assert line.endswith("| 2.00 |")


def ramp(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The toy's truth, disparity and subject, of the image as it was taken."""
    disparity = torch.linspace(0, 1, 24).expand(1, 1, 20, 24)
    disparity = disparity if image.shape[-1] == 24 else torch.rot90(disparity, 1, (2, 3))
    return disparity, (disparity >= 0.5).float()


def test_depth_benchmark_scores_truth_perfect_and_its_reverse_as_nothing(data, tmp_path):
    predictors = {
        "truth": ramp,
        "reverse": lambda image: tuple(1 - each for each in ramp(image)),
        "vertical gradient": depth.vertical_gradient,
    }
    rows = depth.evaluate_depth(predictors, data, progress=False)
    sets = ("stereo", "photos", "stereo, turned", "photos, turned")
    assert [row["set"] for row in rows] == [each for each in sets for _ in range(3)]
    by_predictor = {row["predictor"]: row for row in rows[3:6]}
    assert (by_predictor["truth"]["order"], by_predictor["truth"]["iou"], by_predictor["truth"]["boundary_f"]) == (
        1,
        1,
        1,
    )
    assert (by_predictor["reverse"]["order"], by_predictor["reverse"]["iou"]) == (0, 0)
    assert by_predictor["vertical gradient"]["iou"] == pytest.approx(0.5)
    depth.write_report(rows, tmp_path / "out")
    assert "photos, truth" in (tmp_path / "out/depth.md").read_text()


def test_who_sees_the_photo_alone_scores_the_same_however_it_lies(data):
    """... and who says that the bottom is near does not."""
    rows = depth.evaluate_depth(
        {"seen": lambda image: (image[:, :1], image[:, :1]), "vertical gradient": depth.vertical_gradient},
        data,
        progress=False,
    )
    orders = {(row["set"], row["predictor"]): row["order"] for row in rows}
    assert orders["stereo", "seen"] == pytest.approx(orders["stereo, turned", "seen"], abs=0.03)  # other random pairs
    assert orders["stereo", "vertical gradient"] != orders["stereo, turned", "vertical gradient"]


def test_depth_is_scored_on_the_truths_scale_whatever_the_predictors(data):
    """... and one that says nothing of order has none right, on photos as on stereo."""
    predictors = {
        "once": lambda image: (image[:, :1], image[:, :1]),
        "tenfold": lambda image: (10 * image[:, :1], image[:, :1]),
        "flat": lambda image: (torch.zeros_like(image[:, :1]), image[:, :1]),
    }
    rows = depth.evaluate_depth(predictors, data, progress=False)
    for once, tenfold, flat in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        assert once["error"] > 0.01 and tenfold["error"] == pytest.approx(once["error"], rel=1e-4), once["set"]
        assert flat["order"] == 0, flat["set"]


def test_what_stereo_did_not_measure_is_not_scored(data):
    levels = np.full((20, 24), 20000, np.uint16)
    levels[5:15, 15:] = 65535
    true = torch.from_numpy(levels / 65535).float()[None, None]
    levels[:, :10] = 0  # unknown there
    Image.fromarray(levels).save(data / "truth/stereo/books.disparity.png")
    true[..., :8] = torch.rand(1, 1, 20, 8, generator=torch.Generator().manual_seed(0))

    def truth(image):
        disparity = true if image.shape[-1] == 24 else torch.rot90(true, 1, (2, 3))
        return disparity, disparity

    stereo = depth.evaluate_depth({"truth": truth}, data, progress=False)[0]
    assert stereo["set"] == "stereo" and (stereo["order"], stereo["edge_f"]) == (1, 1) and stereo["error"] < 1e-3


def test_photos_lie_on_either_side_and_on_their_head_by_turns_and_their_maps_with_them(data):
    photos = data / "photos"
    lines = (photos / "manifest.jsonl").read_text()
    (photos / "manifest.jsonl").write_text(lines + lines.replace("00007", "00008"))
    for file in [*photos.rglob("00007.*")]:
        file.with_name(file.name.replace("00007", "00008")).write_bytes(file.read_bytes())
    seen = []

    def subject(image):  # of an image that is the truth's own subject, however it lies
        seen.append(image)
        turns = next(n for n in range(4) if torch.rot90(seen[0], n, (2, 3)).equal(image))
        maps = torch.rot90(ramp(seen[0])[1], turns, (2, 3))
        return maps, maps

    rows = depth.evaluate_depth({"truth": subject}, data, progress=False)
    for turns in (1, 2, 3):
        assert seen[2 + turns].equal(torch.rot90(seen[0], turns, (2, 3)))
    assert [row["iou"] for row in rows if row["set"].startswith("photos")] == [1, 1, 1, 1]


def test_a_mask_that_nobody_drew_is_no_truth(data):
    manifest = data / "photos/manifest.jsonl"
    manifest.write_text(manifest.read_text().replace("annotated", "teacher"))
    photo = depth.evaluate_depth({"truth": ramp}, data, progress=False)[1]
    assert photo["set"] == "photos" and photo["order"] == 1
    assert [photo[name] for name in ("iou", "boundary_f", "hover", "adrift")] == [None] * 4


def test_masks_that_hold_nobody_are_named_and_counted_apart(data, tmp_path):
    photos = data / "photos"
    lines = (photos / "manifest.jsonl").read_text()
    (photos / "manifest.jsonl").write_text(lines + lines.replace("00007", "00008"))
    train = next(photos.rglob("00007.jpg")).parent
    for suffix in (".jpg", ".disparity.png"):
        (train / f"00008{suffix}").write_bytes((train / f"00007{suffix}").read_bytes())
    Image.fromarray(np.zeros((20, 24), np.uint8)).save(train / "00008.foreground.png")
    rows = depth.evaluate_depth({"truth": ramp}, data, progress=False)
    text = depth.to_markdown(rows)
    every, people = (line for line in text.splitlines() if line.startswith("| photos, truth "))
    assert every.split("|")[2:7:4] == [" 2 ", " 0.500 "], "whatever is found counts as a miss"
    assert people.split("|")[2:7:4] == [" 1 ", " 1.000 "]
    assert "hold nobody (00008)" in text


def test_nobody_who_lies_is_said_to_hover(data):
    mask = np.zeros((200, 240), np.uint8)
    mask[60:140, 80:140] = 255
    Image.fromarray(mask).save(data / "photos/train/00007.foreground.png")
    rows = depth.evaluate_depth({"truth": ramp}, data, progress=False)
    told = {row["set"]: row["hover"] for row in rows if row["set"].startswith("photos")}
    assert told["photos"] is not None and told["photos, turned"] is None


def test_missing_truth_names_the_argument(tmp_path):
    with pytest.raises(ValueError, match="data must be a folder that holds truth/layered"):
        render.evaluate_render({"no blur": no_blur}, tmp_path, progress=False)
    with pytest.raises(ValueError, match="split must be 'train' or 'val'"):
        next(labelled_photos(tmp_path, "test"))


@pytest.mark.parametrize(
    "missing, sets, kinds",
    [
        (("truth/stereo", "truth/layered"), {"photos", "photos, turned"}, {"traced day"}),
        (("photos", "truth/traced"), {"stereo", "stereo, turned"}, {"layered"}),
    ],
)
def test_a_part_of_the_data_is_enough(data, missing, sets, kinds):
    for part in missing:
        shutil.rmtree(data / part)
    assert {row["set"] for row in depth.evaluate_depth({"truth": ramp}, data, progress=False)} == sets
    assert {row["kind"] for row in render.evaluate_render({"no blur": no_blur}, data, progress=False)} == kinds


def test_photos_laid_out_as_for_training_are_measured(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    for part in (data / "photos").iterdir():
        shutil.move(part, folder / part.name)
    rows = depth.evaluate_depth({"truth": ramp}, folder, progress=False)
    assert [row["scene"] for row in rows] == ["00007", "00007"]


def test_a_mask_may_be_larger_than_its_disparity(data):
    file = data / "photos/train/00007.foreground.png"
    before = depth.evaluate_depth({"truth": ramp}, data, progress=False)
    Image.open(file).resize((48, 40), Image.Resampling.NEAREST).save(file)
    after = depth.evaluate_depth({"truth": ramp}, data, progress=False)
    for one, other in zip(before, after, strict=True):
        assert one["iou"] == other["iou"]


@pytest.mark.parametrize(
    "file, values, says",
    [
        ("truth/stereo/books.disparity.png", np.full((20, 24), 9, np.uint8), "16-bit"),
        ("truth/stereo/books.disparity.png", np.zeros((20, 24), np.uint16), "not all over"),
        ("truth/stereo/books.disparity.png", np.full((10, 12), 900, np.uint16), "as large as its photo, 24 x 20"),
        ("truth/layered/s0_disp.png", np.full((10, 12), 900, np.uint16), "as large as its photo, 24 x 20"),
        ("truth/layered/s0_gt_near.png", np.zeros((10, 12, 3), np.uint8), "as large as its photo, 24 x 20"),
        ("photos/train/00007.disparity.png", np.full((20, 24, 3), [0, 99, 255], np.uint8), "has colours"),
    ],
)
def test_maps_that_are_not_as_they_must_be_are_named(data, file, values, says):
    Image.fromarray(values).save(data / file)
    with pytest.raises(ValueError, match=f"{Path(file).name}.* {says}"):
        depth.evaluate_depth({"truth": ramp}, data, progress=False)
        render.evaluate_render({"no blur": no_blur}, data, progress=False)


def test_the_model_is_measured_as_photos_are_rendered(model: DeepLens):
    """Told of the subject where the benchmark tells of it."""
    image, disparity = picture(96, 128), torch.full((1, 1, 96, 128), 0.1)
    disparity[..., 40:90] = 0.7
    soft = torch.nn.functional.avg_pool2d(disparity, 9, 1, 4, count_include_pad=False)
    subject = (disparity > 0.5).float()
    measured = commands.renderer(model)
    with torch.inference_mode():
        told, untold = measured(image, soft, 0.7, 12.0, subject), measured(image, soft, 0.7, 12.0)
        torch.testing.assert_close(told, model.render(image, soft, 0.7, 12.0, subject), atol=1e-3, rtol=0)
        torch.testing.assert_close(untold, model.render(image, soft, 0.7, 12.0), atol=1e-3, rtol=0)
    assert (told - untold).abs().max() > 0.01


def test_edges_are_measured_at_the_middle_blur_by_day(data):
    shutil.rmtree(data / "truth/layered")
    traced = data / "truth/traced/lane"
    shots = [{"file": "dof_fnear_1.png", "focus": "near", "disp_focus": 2.0, "K": k} for k in (9.0, 1.0, 3.0)]
    (traced / "meta.json").write_text(json.dumps({"shots": shots}))
    asked = []

    def renderer(image, disparity, focus, aperture, foreground):
        asked.append(aperture * 24 / 320)
        return image

    edges.evaluate_edges(renderer, ramp, data, progress=False)
    assert asked == pytest.approx([3 * 2] * 5)  # pixels: K over a range of 2


def test_a_traced_scene_of_one_depth_and_nothing_but_nights_are_told(data):
    shutil.rmtree(data / "truth/layered")
    traced = data / "truth/traced/lane"
    np.savez(traced / "linear.npz", light=np.zeros(1))
    with pytest.raises(ValueError, match="not by night"):
        edges.evaluate_edges(None, None, data, progress=False)
    np.savez(traced / "depth.npz", disp=np.full((20, 24), 0.5, np.float16))
    with pytest.raises(ValueError, match="depth.npz must hold more than one depth"):
        next(traced_shots(data))
