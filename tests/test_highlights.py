"""Recovering clipped light: only what is clipped, lamps and gleams but no white paper, and what it is learned from."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from deeplens_hf import DeepLens, DeepLensConfig
from deeplens_hf.disparity.levels import halved, recovered_light
from deeplens_hf.optics import linear_to_srgb, srgb_to_linear
from deeplens_hf.rendering.highlights import CLIPPED_FROM, HighlightRecovery, character, darkness, marked_part
from deeplens_hf.training.data import PhotoRecord, to_tensor
from deeplens_hf.training.losses import highlights_loss
from deeplens_hf.training.record import of_format
from deeplens_hf.training.scenes.camera import glare, photographed
from deeplens_hf.training.scenes.hdr import ClippedScenes, specks


def night(size=96):
    """A dim street with a lamp of 5 pixels: (1, 3, H, W) linear."""
    light = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 0.05
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    light[..., torch.hypot(x - 40.0, y - 30.0) < 5] = 1.0
    return light


def test_a_lamp_at_night_is_brighter_than_it_looks(model):
    light = night()
    with torch.inference_mode():
        radiance = model.lens_blur.recovered(light)
    lamp = light == 1
    assert float(radiance[lamp].mean()) > 2
    assert torch.equal(radiance[~lamp], light[~lamp])


def test_what_hardly_gains_stays_as_it_is_beside_a_lamp_too(model):
    """Found with batches: whether a picture's light is touched hung on its neighbours."""
    lamp, dim = night(), night() * 0.5
    dim[..., 60:63, 60:63] = 0.935  # clips by a hair
    with torch.inference_mode():
        alone = model.lens_blur.recovered(dim)
        beside = model.lens_blur.recovered(torch.cat([lamp, dim]))[1:]
    assert torch.equal(alone, dim) and torch.equal(beside, dim)


def test_a_mirrored_night_has_the_same_lamps_mirrored(model):
    light = night()
    with torch.inference_mode():
        radiance, mirrored = (model.lens_blur.recovered(each) for each in (light, light.flip(3)))
    torch.testing.assert_close(mirrored.flip(3), radiance, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("by_day", [False, True])
def test_only_what_is_marked_is_looked_at_and_it_makes_no_difference(by_day):
    torch.manual_seed(0)
    module = HighlightRecovery(8, by_day).eval()
    torch.nn.init.normal_(module.write.weight, std=0.1)
    torch.nn.init.zeros_(module.write.bias)  # as if much had been learned
    if by_day:
        torch.nn.init.normal_(module.whole.weight)
    lit = torch.cat([night(400), 0.05 * torch.ones(1, 3, 400, 224)], 3)
    lit[..., 230, 500] = 1.0
    lit = lit + 0.3 * (lit < 0.5) * by_day
    light = torch.cat([lit * 0.9, lit, lit.flip(-1)])
    clipped, share = (light == 1).float(), torch.ones(3, 1, 1, 1)
    dark = darkness(light)
    context = module.whole(character(light, clipped, dark)) if by_day else None
    with torch.no_grad():
        whole, part = module.recovered(light, clipped, share, context), module(light, dark)
    torch.testing.assert_close(part, whole, atol=1e-4, rtol=1e-4)
    assert torch.equal(part[0], light[0]) and not torch.equal(part[1], light[1])


def test_the_part_about_marks():
    marked = torch.zeros(4, 3, 300, 200, dtype=torch.bool)
    assert marked_part(marked) is None
    marked[2, 1, 150, 190] = True
    samples, channels, rows, columns = marked_part(marked)
    assert samples.tolist() == [2] and channels == slice(None)
    assert rows.start % 16 == columns.start % 16 == rows.stop % 16 == 0
    assert rows.start <= 150 - 96 < 150 + 96 < rows.stop <= 150 + 97 + 16 and columns.stop >= 200


def test_white_paper_stays_and_gleams_on_metal_shine(model):
    """By day: a gleam as the sun draws it on a dark ball, and a sheet of paper, a quarter of the picture."""
    y, x = torch.meshgrid(torch.arange(192.0), torch.arange(192.0), indexing="ij")
    grain = 0.03 * torch.rand(1, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    table = grain + torch.tensor([0.35, 0.25, 0.18]).view(1, 3, 1, 1)
    paper, ball = table.clone(), table.clone()
    paper[..., 40:140, 50:150] = 1.0
    inside = torch.hypot(x - 96, y - 96) < 40
    shade = (0.25 - 0.002 * torch.hypot(x - 80, y - 76)).clamp(min=0.02)
    sun = 30 * torch.exp(-((torch.hypot(x - 80, y - 76) / 4) ** 2))
    ball = torch.where(inside, (shade + sun).expand(1, 3, -1, -1), ball).clamp(max=1)
    with torch.inference_mode():
        paper_found, ball_found = model.lens_blur.recovered(paper), model.lens_blur.recovered(ball)
    assert float(paper_found[paper >= 1].mean()) < 1.15
    assert float(ball_found[ball >= 1].mean()) > 1.5
    assert torch.equal(ball_found[ball < 0.9], ball[ball < 0.9])


@pytest.mark.parametrize("quality", [95, 85, 75])
def test_a_lamp_in_a_jpeg_file_is_brighter_than_it_looks(model, quality):
    """Found in photos: grain and compression about a lamp were taken for detail, and it kept a tenth of its light."""
    light = night()
    lamp = light == 1
    pixels = (linear_to_srgb(light)[0] * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    with torch.inference_mode():
        radiance = model.lens_blur.recovered(srgb_to_linear(to_tensor(Image.open(file))[None]))
    assert float(radiance[lamp].mean()) > 2


@pytest.mark.parametrize("side, blurred_at", [(2560, 640), (1280, 640), (800, 800)])
def test_lamps_of_a_large_photo_are_looked_for_before_they_are_too_small(side, blurred_at):
    """Found with drawn streets: halved, a lamp's rim is darker than white, and what it had lost stayed lost."""
    halvings = int(math.log2(side / blurred_at))
    lamps = torch.full((1, 3, 40, side), 0.02)
    lamps[..., 11:22, 21:32] = lamps[..., 10:13, 101:106] = 1.0
    looks = []

    def recover(light):
        looks.append(max(light.shape))
        return torch.where(light > CLIPPED_FROM, 20 * light, light)

    levels = halved(linear_to_srgb(lamps) if halvings else lamps, halvings)
    found = recovered_light(levels, recover)
    assert looks == [min(side, 1280)] and found.shape == levels[-1].shape
    late, wanted = (float(light.mean()) for light in (recover(levels[-1]), torch.where(lamps == 1, 20.0, lamps)))
    assert float(found.mean()) <= 1.01 * wanted
    assert halvings == 0 or float(found.mean()) > 1.1 * late
    assert recovered_light(levels, lambda light: light) is levels[-1]


def test_weights_of_format_3_and_untrained_ones_leave_the_day_as_it_is():
    day = night() + 0.3 * (night() < 0.9)
    older = DeepLens(DeepLensConfig(depth_width=32, blur_width=8, format_version=3))
    newer = of_format(older)
    assert older.lens_blur.gleams is None
    for model in (older, newer):
        torch.nn.init.ones_(model.lens_blur.highlights.write.bias)  # as if lamps had been learned
        with torch.inference_mode():
            torch.testing.assert_close(model.lens_blur.recovered(day), day, atol=0.05, rtol=0)
            assert float(model.lens_blur.recovered(night()).max()) > 2


def test_at_dusk_both_networks_do_their_share():
    blur = DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).lens_blur
    for each in (blur.highlights, blur.gleams):  # as if both had learned the same
        torch.nn.init.zeros_(each.write.weight)
        torch.nn.init.ones_(each.write.bias)
    with torch.inference_mode():
        lamps = [float(blur.recovered(torch.where(night() == 1, 1.0, ambient)).max()) for ambient in (0.05, 0.12, 0.3)]
    assert lamps == pytest.approx([lamps[0]] * 3, rel=1e-4) and lamps[0] > 3


def test_an_unclipped_channel_keeps_its_light(model):
    light = night()
    light[:, 2][light[:, 2] == 1] = 0.6  # a warm lamp
    with torch.inference_mode():
        radiance = model.lens_blur.recovered(light)
    assert torch.equal(radiance[:, 2], light[:, 2]) and float(radiance[:, 0].max()) > 1.5


def test_a_lamp_in_focus_stays_as_it_is_shown(model):
    light = night()
    lamp = light[:, :1] == 1
    light = torch.where(lamp, torch.tensor([1.0, 0.96, 0.95]).view(1, 3, 1, 1), light)
    image, disparity = linear_to_srgb(light), torch.zeros(1, 1, 96, 96)
    disparity[..., :64] = 1.0  # the lamp; what is beside it lies behind
    with torch.inference_mode():
        plain, lit = (model.render(image, disparity, 1.0, 8.0, highlights=amount) for amount in (0, 2))
    assert float((lit - plain)[..., :56].abs().max()) < 0.5 / 255


def test_lamps_of_an_opened_photo_glow_as_much_as_is_asked_for(model):
    pixels = (linear_to_srgb(night())[0] * 255).round().byte().permute(1, 2, 0).numpy()
    photo = model.open(pixels, disparity=np.zeros((96, 96), np.float32))
    glow = [float(photo.render(focus=1.0, aperture=16, highlights=amount).mean()) for amount in (0, 1, 2)]
    assert glow[0] < 0.95 * glow[1] and glow[1] < 0.995 * glow[2]


def test_darkness_of_white_paper_and_of_a_street():
    assert float(darkness(torch.ones(1, 3, 8, 8))) == 0
    assert float(darkness(night())) == 1


def test_a_lawn_by_day_is_no_night():
    """As dark as a street on the whole, but all of it alike."""
    street = torch.where(torch.arange(64) < 48, 0.04, 0.25)
    assert float(darkness(torch.full((1, 3, 64, 64), 0.1))) == 0
    assert float(darkness(street.expand(1, 3, 64, 64))) == 1


def test_loss_is_nothing_for_the_true_light_and_counts_the_logarithm():
    truth = torch.full((1, 3, 40, 40), 0.02)
    truth[..., 18:22, 18:22] = math.e**2
    assert float(highlights_loss(truth, truth, 5.0)["loss"]) == pytest.approx(1e-3, abs=1e-4)  # of the square root
    dim = truth.clamp(max=1.0)
    parts = highlights_loss(dim, truth, 5.0)
    assert float(parts["logarithm"]) == pytest.approx(2, abs=1e-4) and float(parts["blurred"]) > 0.02


def test_night_scenes_are_dark_with_lamps_and_come_again(tmp_path):
    scenes = ClippedScenes([], tmp_path, 6, 12, seed=3, size=64)
    samples = [scenes[position] for position in range(6)]
    assert max(float(sample["light"].max()) for sample in samples) > 2
    for sample in samples:
        assert sample["image"].shape == (3, 64, 64) and float(sample["image"].max()) <= 1
    again = ClippedScenes([], tmp_path / "new", 6, 12, seed=3, size=64)[4]
    torch.testing.assert_close(again["light"], samples[4]["light"])


def test_scenes_that_an_engine_lit_and_photos_are_among_the_samples(tmp_path):
    lit = tmp_path / "lit"
    lit.mkdir()
    for kind, value in (("day", 3.0), ("night", 7.0)):
        np.save(lit / f"{kind}-0-64-00000.npy", np.full((3, 64, 64), value, np.float16))
    noise = np.random.default_rng(0).integers(90, 256, (100, 120, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    photo = PhotoRecord(tmp_path / "photo.png", tmp_path / "none", None, "own")
    scenes = ClippedScenes([photo], tmp_path / "night", 2, 60, seed=0, size=64, lit=lit)
    lights = [scenes[position]["light"] for position in range(60)]
    plain = [light for light in lights if float(light.std()) < 1e-3]
    photos = [light for light in lights if float(light.std()) > 0.05 and float(light.max()) <= 1]
    assert 15 < len(plain) < 33 and len(photos) > 10
    assert {1.5 < float(light.mean()) < 5 for light in plain} == {True, False}
    with pytest.raises(ValueError, match="no scenes of 96 pixels"):
        ClippedScenes([photo], tmp_path / "night", 2, 60, seed=0, size=96, lit=lit)


def test_specks_of_a_photo_are_unknown_and_wide_white_is_not():
    shown = torch.full((3, 64, 64), 0.4)
    shown[:, 10:40, 10:40] = 1.0  # paper
    shown[:, 50:53, 50:54] = 1.0  # a gleam
    shown[2, 5:7, 50:60] = 1.0  # a blue line, of one channel only
    found = specks(shown)
    assert found.shape == (1, 64, 64) and bool(found[0, 50:53, 50:54].all()) and int(found.sum()) == 12


def test_glare_keeps_the_light_and_reaches_farther_from_brighter_lamps():
    spread = []
    for power in (2.0, 100.0):
        light = torch.zeros(3, 64, 64)
        light[:, 28:36, 28:36] = power
        for seed in range(6):
            seen = glare(light, np.random.default_rng(seed))
            assert float(seen.sum()) == pytest.approx(float(light.sum()), rel=0.01)
        spread.append(int((seen > 0.5).sum()))
    assert spread[1] > spread[0]


def test_a_photo_of_a_lamp_has_light_to_be_found_where_it_clips_and_only_there():
    light = torch.full((3, 64, 64), 0.03)
    light[:, 26:38, 26:38] = 40.0
    for seed in range(12):
        shown, wanted = photographed(light, np.random.default_rng(seed))
        decoded = srgb_to_linear(shown)
        clipped = decoded > CLIPPED_FROM
        assert shown.shape == light.shape and 0 <= float(shown.min()) and float(shown.max()) <= 1
        assert torch.equal(wanted[~clipped], decoded[~clipped])
        assert bool((wanted >= decoded).all()) and float(wanted.max()) == pytest.approx(40, rel=0.01)
        again = photographed(light, np.random.default_rng(seed))
        assert torch.equal(again[0], shown) and torch.equal(again[1], wanted)


def test_a_photo_is_as_upright_as_what_it_shows():
    light = torch.linspace(0.6, 0.05, 64).view(1, 64, 1).expand(3, 64, 64).contiguous()
    for seed in range(12):
        shown, _ = photographed(light, np.random.default_rng(seed))
        rows = shown[:, 18:46].mean((0, 2))  # what is mirrored about a smaller photo is farther outside
        assert float(rows[:6].mean()) > float(rows[11:17].mean()) + 0.03 > float(rows[-6:].mean()) + 0.06


def test_a_photo_darkened_passes_for_night_and_its_white_is_white(tmp_path):
    picture = np.full((80, 80, 3), 110, np.uint8)
    picture[20:60, 20:60] = 255
    Image.fromarray(picture).save(tmp_path / "white.png")
    photo = PhotoRecord(tmp_path / "white.png", tmp_path / "none", None, "own")
    scenes = ClippedScenes([photo], tmp_path / "night", 2, 8, seed=0, size=64)
    for seed in range(4):
        light, _ = scenes.photo(np.random.default_rng(seed), darkened=True)
        assert float(darkness(light[None])) > 0.5 and float(light.max()) <= 1


@pytest.mark.parametrize("by_day", [False, True])
def test_gradients_flow_through_what_is_recovered(by_day):
    module = HighlightRecovery(8, by_day)
    light = night() + 0.3 * (night() < 0.9) * by_day
    module(light, darkness(light)).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in module.parameters())
