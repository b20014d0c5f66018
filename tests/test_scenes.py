"""The ray-traced truth: against closed forms, and the random scenes against what training relies on."""

import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image

from deeplens_hf.training.scenes.layered import Layer, Scene, corrupt_disparity, random_scene, trace
from deeplens_hf.training.scenes.studio import Studio
from deeplens_hf.training.scenes.tracer import sunflower


def flat(value: float, size: int = 96) -> torch.Tensor:
    return torch.full((1, size, size), value)


def point_lights(size: int, *points: tuple[int, int], radiance: float = 100.0) -> torch.Tensor:
    light = torch.zeros(3, size, size)
    for x, y in points:
        light[:, y, x] = radiance
    return light


def disc_radius(light: torch.Tensor) -> float:
    """Radius of an even disc from its second moment: the mean of r ** 2 is R ** 2 / 2. light (H, W)."""
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in light.shape), indexing="ij")
    weight = light.double() / light.double().sum()
    x, y = x - (weight * x).sum(), y - (weight * y).sum()
    return math.sqrt(2 * float((weight * (x**2 + y**2)).sum()))


@pytest.mark.parametrize(
    "disparity, focus, radius", [(0.9, 0.4, 30.0), (0.1, 0.8, 20.0), (1.0, 0.0, 5.0), (0.0, 1.0, 31.5)]
)
def test_point_light_is_a_disc_of_the_closed_form_radius_and_keeps_its_energy(disparity, focus, radius):
    layer = Layer(point_lights(96, (48, 48)), flat(1.0), flat(disparity))
    seen = trace([layer], focus, radius)
    assert disc_radius(seen[0]) == pytest.approx(radius * abs(disparity - focus), abs=0.5)
    assert float(seen[0].sum()) == pytest.approx(100.0, rel=0.01)
    lit = (seen[0] > 0.01 * seen[0].max()).nonzero().float()
    assert float((lit - 48).norm(dim=1).max()) <= radius * abs(disparity - focus) + 1.5


def test_light_stays_unclipped():
    layer = Layer(point_lights(32, (16, 16), radiance=5000.0), flat(1.0, 32), flat(1.0, 32))
    assert float(trace([layer], 0.5, 8.0).max()) > 20


def test_a_plane_in_focus_comes_back_unchanged():
    picture = torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0))
    layer = Layer(picture, torch.ones(1, 64, 80), torch.full((1, 64, 80), 0.3))
    torch.testing.assert_close(trace([layer], 0.3, 25.0), picture, atol=1e-4, rtol=0)
    torch.testing.assert_close(trace([layer], 0.3, 25.0, crop=7), picture[:, 7:-7, 7:-7], atol=1e-4, rtol=0)


@pytest.mark.parametrize("near", [0.9, 0.6])
def test_a_blurred_edge_reveals_the_hidden_background_by_the_disc_cut_by_a_line(near):
    size, edge, focus, radius = 96, 48, 0.2, 30.0
    background = 0.2 + 0.6 * torch.rand(3, size, size, generator=torch.Generator().manual_seed(1))
    matte = torch.zeros(1, size, size)
    matte[..., :edge] = 1  # opaque and black to the left; halfway between pixels 47 and 48 it ends
    seen = trace(
        [Layer(background, flat(1.0), flat(focus)), Layer(torch.zeros(3, size, size), matte, flat(near))], focus, radius
    )
    blur = radius * (near - focus)
    for x in range(edge - int(blur), edge + int(blur)):
        distance = min(max((x - (edge - 0.5)) / blur, -1.0), 1.0)
        covered = (math.acos(distance) - distance * math.sqrt(1 - distance**2)) / math.pi
        shown = seen[:, 30:66, x] / background[:, 30:66, x]  # the very pixels behind, at their share
        assert float((shown - (1 - covered)).abs().max()) < 0.02, x


def test_the_background_blurs_behind_a_sharp_edge_and_does_not_bleed_over_it():
    matte = torch.zeros(1, 96, 96)
    matte[..., :48] = 1
    back, front = Layer(torch.ones(3, 96, 96), flat(1.0), flat(0.0)), Layer(torch.zeros(3, 96, 96), matte, flat(0.8))
    seen = trace([back, front], 0.8, 20.0)
    assert float(seen[..., :48].max()) < 1e-5
    assert float(seen[..., 48:].min()) > 1 - 1e-3


def test_a_slanted_planes_blur_follows_its_disparity():
    size, radius, focus = 160, 30.0, 0.0
    disparity = 0.1 + 0.4 * torch.arange(size, dtype=torch.float32).expand(1, size, size) / size
    places = [30, 80, 130]
    seen = trace([Layer(point_lights(size, *[(at, 80) for at in places]), flat(1.0, size), disparity)], focus, radius)
    for at in places:
        expected = radius * float(disparity[0, 0, at])
        assert disc_radius(seen[0, 50:110, at - 22 : at + 22]) == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize("shape", ["slanted", "cylinder", "ball"])
def test_every_ray_meets_its_surface(shape):
    """Painted with its own coordinates, a surface tells where each ray hit: q + s * defocus(q) must be p again."""
    size, radius, focus = 120, 40.0, 0.3
    y, x = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")

    def height(x, y):
        if shape == "slanted":
            return 0.5 + 0.2 * x / size - 0.3 * y / size
        distance = ((x - 60) / 40) ** 2 + (((y - 60) / 40) ** 2 if shape == "ball" else 0)
        return 0.6 + 0.1 * torch.exp(-distance)

    layer = Layer(torch.stack([x, y, 0 * x]), torch.ones(1, size, size), height(x, y)[None])
    for offset in ([1.0, 0.0], [-0.6, 0.8], [0.0, -0.5]):
        q_x, q_y, _ = trace([layer], focus, radius, offsets=torch.tensor([offset]))
        blur = radius * (height(q_x, q_y) - focus)
        inside = slice(25, -25)  # rays that stay within the picture
        assert float((q_x + offset[0] * blur - x)[inside, inside].abs().max()) < 0.1
        assert float((q_y + offset[1] * blur - y)[inside, inside].abs().max()) < 0.1


def test_layers_occlude_per_lens_point():
    """Two opaque half planes at one distance leave no gap: mixing their blurred coverages would let light through."""
    left = torch.zeros(1, 96, 96)
    left[..., :48] = 1
    dark = torch.zeros(3, 96, 96)
    back = Layer(torch.ones(3, 96, 96), flat(1.0), flat(0.0))
    seen = trace([back, Layer(dark, left, flat(0.8)), Layer(dark, 1 - left, flat(0.8))], 0.0, 15.0, samples=64)
    assert float(seen.mean()) < 0.02  # what is left: the half-covered pixel of each matte at the seam


def test_sunflower_fills_the_unit_disc_evenly():
    points = sunflower(256)
    assert points.shape == (256, 2)
    assert float(points.norm(dim=1).max()) <= 1
    assert float(points.mean(0).norm()) < 0.01
    assert float(points.square().sum(1).mean()) == pytest.approx(0.5, abs=0.01)  # of an even disc


def test_trace_refuses_nothing_to_trace():
    with pytest.raises(ValueError, match="layers"):
        trace([], 0.5, 1.0)
    with pytest.raises(ValueError, match="samples"):
        trace([Layer(torch.zeros(3, 8, 8), flat(1.0, 8), flat(0.5, 8))], 0.5, 1.0, samples=0)
    with pytest.raises(ValueError, match="offsets"):
        trace([Layer(torch.zeros(3, 8, 8), flat(1.0, 8), flat(0.5, 8))], 0.5, 1.0, offsets=torch.zeros(0, 2))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two photos and the mask of one of them."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, size in (("a", (90, 60)), ("b", (40, 120))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / f"{name}.jpg")
    mask = np.zeros((45, 30), np.uint8)
    mask[5:40, 8:24] = 255
    Image.fromarray(mask).save(folder / "a.foreground.png")
    return [folder / "a.jpg", folder / "b.jpg"], [folder / "a.foreground.png"]


def check(scene: Scene, size: int) -> None:
    assert scene.image.shape == scene.target.shape == (3, size, size)
    assert scene.disparity.shape == (1, size, size)
    for picture in (scene.image, scene.disparity, scene.target):
        assert picture.dtype == torch.float32
        assert torch.isfinite(picture).all()
        assert 0 <= float(picture.min()) and float(picture.max()) <= 1
        assert not picture.requires_grad and not picture.is_inference()  # inference tensors cannot train a network
    torch.testing.assert_close(scene.image * 255, (scene.image * 255).round(), atol=1e-4, rtol=0)
    assert 0 <= scene.focus <= 1 and 0 <= scene.radius < math.inf


def test_random_scenes_hold_what_training_reads(pictures):
    for seed in range(24):
        check(random_scene(seed, 48, *pictures, samples=16), 48)
        check(random_scene(seed, 48, samples=16), 48)


def test_random_scene_is_a_function_of_its_arguments(pictures):
    for seed in (1, 7):
        first, second = (random_scene(seed, 40, *pictures, samples=16) for _ in range(2))
        for name in ("image", "disparity", "target"):
            assert torch.equal(getattr(first, name), getattr(second, name))
        assert (first.focus, first.radius) == (second.focus, second.radius)
    assert not torch.equal(random_scene(2, 40, samples=4).image, random_scene(3, 40, samples=4).image)


def test_without_a_lens_the_target_is_the_image():
    scene = next(s for s in (random_scene(seed, 32, samples=4) for seed in itertools.count()) if s.radius == 0)
    assert float((scene.target - scene.image).abs().max()) <= 0.5 / 255 + 1e-4


def test_blurs_run_from_nothing_to_thirty_pixels():
    scenes = [random_scene(seed, 32, samples=1) for seed in range(60)]
    blurs = torch.tensor([float((s.radius * (s.disparity - s.focus)).abs().max()) for s in scenes])
    assert float(blurs.max()) <= 30.01
    assert int((blurs < 4).sum()) >= 8 and int((blurs > 8).sum()) >= 8


def test_nearer_things_have_the_larger_disparity():
    for seed in range(8):
        studio = Studio(np.random.default_rng(seed), 64, (), (), smallest_lamp=0.7)
        studio.cutouts()
        back, *things = studio.sheets
        assert things
        for thing in things:
            solid = thing.alpha > 0.5
            assert thing.disparity[solid].mean() > back.disparity[solid].mean()


def test_standing_things_touch_the_ground_at_their_foot():
    studio = Studio(np.random.default_rng(3), 128, (), (), smallest_lamp=0.7)
    ground = studio.plane(0.5, 0.0, 1.0)  # nearest at the bottom
    studio.standing(ground, 4, (0.0, 1.0))
    assert len(studio.sheets) == 4
    for thing in studio.sheets:
        rows, columns = np.nonzero(thing.alpha > 0.5)
        foot = rows.argmax()
        at_foot = rows[foot], columns[foot]
        assert thing.disparity[at_foot] == pytest.approx(ground[at_foot], abs=0.07)


def test_random_scene_refuses_a_size_too_small():
    with pytest.raises(ValueError, match="size"):
        random_scene(0, 8)


def test_corrupted_disparity_is_changed_in_range_and_repeatable():
    disparity = random_scene(4, 64, samples=1).disparity
    changed = 0
    for seed in range(30):
        first, second = (corrupt_disparity(disparity, torch.Generator().manual_seed(seed)) for _ in range(2))
        assert torch.equal(first, second)
        assert first.shape == disparity.shape
        assert torch.isfinite(first).all() and 0 <= float(first.min()) and float(first.max()) <= 1
        assert float((first - disparity).abs().mean()) < 0.2  # still the same scene
        changed += not torch.equal(first, disparity)
    assert changed >= 20
    assert corrupt_disparity(disparity.expand(3, 1, 64, 64), torch.Generator().manual_seed(0)).shape == (3, 1, 64, 64)
    with pytest.raises(ValueError, match="disparity"):
        corrupt_disparity(torch.zeros(2, 3, 8, 8), torch.Generator())
