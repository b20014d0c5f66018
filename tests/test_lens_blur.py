"""Eq. 2 against a plain loop, the slabs, the far surface, and what any lens keeps: constant light stays, 0 returns."""

import math

import pytest
import torch
import torch.nn.functional as F

from deeplens_hf.layers.pooling import window_max, window_mean, window_min
from deeplens_hf.lens_blur import ConvolutionalLensBlur, KernelPrediction, SlabLensBlur, weigh
from deeplens_hf.optics import DISC, ApertureShape, disc, linear_to_srgb, srgb_to_linear
from deeplens_hf.rendering.aperture_blur import blur, convolve
from deeplens_hf.rendering.slabs import Slab, slab_knots, slab_weight, used_rows


def lens_blur(kind=SlabLensBlur, seed=0):
    torch.manual_seed(seed)
    return kind().eval()


def unknown(defocus):
    return torch.zeros_like(defocus)


def test_equation_2_is_the_sum_over_features():
    generator = torch.Generator().manual_seed(1)
    features = [torch.rand(2, 3, 4, 5, generator=generator) for _ in range(3)]
    kernels = [torch.rand(2, 1, 4, 5, generator=generator) for _ in range(3)]
    mixed = weigh(features, kernels)
    for b in range(2):
        for c in range(3):
            for y in range(4):
                for x in range(5):
                    expected = sum(float(kernels[j][b, 0, y, x] * features[j][b, c, y, x]) for j in range(3))
                    assert mixed[b, c, y, x] == pytest.approx(expected, abs=1e-6)


def test_slabs_share_every_pixel_out():
    defocus = torch.linspace(-40, 25, 997).view(1, 1, 1, -1)
    knots = slab_knots(defocus)
    weights = torch.stack([slab_weight(defocus, knots, j) for j in range(len(knots))])
    assert knots == sorted(knots, reverse=True), "front to back"
    torch.testing.assert_close(weights.sum(0), torch.ones_like(defocus))
    centre = sum(w * k for w, k in zip(weights, knots, strict=True))
    torch.testing.assert_close(centre, defocus, atol=1e-4, rtol=0), "and keep its defocus on average"


@pytest.mark.parametrize("radius", [1.0, 2.0, 4.5, 9.0])
def test_convolution_is_the_disc(radius):
    x = torch.rand(1, 2, 23, 31, generator=torch.Generator().manual_seed(2))
    kernel = disc(radius)
    out = convolve(x, kernel)
    reach = kernel.shape[0] // 2
    padded = torch.nn.functional.pad(x, (reach,) * 4, mode="replicate")
    for y, column in ((0, 0), (11, 15), (22, 30), (3, 28)):
        window = padded[0, :, y : y + 2 * reach + 1, column : column + 2 * reach + 1]
        torch.testing.assert_close(out[0, :, y, column], (window * kernel).sum((1, 2)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("radius", [2.0, 4.5, 6.0, 10.5, 17.0, 32.0])
def test_point_light_spreads_to_its_radius(radius):
    light = torch.zeros(1, 1, 161, 161)
    light[0, 0, 78:82, 78:82] = 1 / 16  # as small as a quarter-size step can see, centred on a corner of its grid
    out = blur(light, radius)[0, 0]
    at = torch.arange(161) - 79.5
    variance = (out * (at[:, None] ** 2 + at[None, :] ** 2)).sum() / out.sum() - 2 * (4**2 - 1) / 12
    assert out.sum() == pytest.approx(1, abs=1e-3)
    assert math.sqrt(2 * variance) == pytest.approx(radius, abs=0.5)  # a disc's second moment is radius^2 / 2


@pytest.mark.parametrize("radius", [5.0, 6.0, 12.0, 26.0, 44.0])  # at its size, a half and a quarter of it
def test_point_light_spreads_as_the_disc_at_every_resolution(radius):
    def variance(image):
        at = torch.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2
        return float((image.sum(-2) * at.square()).sum() / image.sum())

    light = torch.zeros(1, 1, 160, 160)
    light[..., 78:82, 78:82] = 1
    assert variance(blur(light, radius)) == pytest.approx(variance(disc(radius)) + variance(light), rel=0.02)


@pytest.mark.parametrize("kind", [SlabLensBlur, ConvolutionalLensBlur])
def test_constant_light_stays_constant(kind):
    defocus = torch.randn(2, 1, 64, 72, generator=torch.Generator().manual_seed(3)) * 6
    light = torch.tensor([0.02, 0.4, 0.99]).view(1, 3, 1, 1).expand(2, 3, 64, 72)
    module = lens_blur(kind)
    with torch.no_grad():
        for parameter in module.parameters():  # whatever was learned
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)) * 0.05)
        out, _ = module(light, defocus, unknown(defocus))
    torch.testing.assert_close(out, light.clone(), atol=2e-3, rtol=0)


def test_everything_in_focus_returns_the_light():
    light = torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(5))
    defocus = torch.zeros(1, 1, 64, 80)
    with torch.no_grad():
        out, _ = lens_blur()(light, defocus, unknown(defocus))
    torch.testing.assert_close(out, light, atol=1e-4, rtol=0)


def test_background_in_focus_shows_through_a_blurred_edge():
    """The one thing that no unlearned renderer does: half of the light at a soft edge comes from what it hides."""
    light, defocus = torch.full((1, 3, 96, 96), 0.1), torch.zeros(1, 1, 96, 96)
    light[..., :48], defocus[..., :48] = 0.8, 10.0
    with torch.no_grad():
        out, _ = lens_blur()(light, defocus, unknown(defocus))
    row = out[0, 0, 48]
    assert row[44] == pytest.approx(0.45 + 0.35 * half_plane(3.5 / 10), abs=0.06)
    assert row[40] == pytest.approx(0.45 + 0.35 * half_plane(7.5 / 10), abs=0.06)
    assert row[51] == pytest.approx(0.45 - 0.35 * half_plane(3.5 / 10), abs=0.06)


def half_plane(t):
    """Share of a unit disc within t of its middle line: 2 (t sqrt(1 - t^2) + asin t) / pi."""
    return 2 / math.pi * (t * math.sqrt(1 - t * t) + math.asin(t))


@pytest.mark.parametrize("knot", [0.0, 2.0, -4.5, 9.0, -30.0])
@pytest.mark.parametrize("band", [(0, 7), (133, 150), (290, 301)])
def test_a_slab_blurred_by_its_own_rows_is_that_of_the_whole_picture(knot, band):
    generator = torch.Generator().manual_seed(0)
    light = torch.zeros(1, 4, 301, 120)
    light[..., band[0] : band[1], :] = torch.rand(1, 4, band[1] - band[0], 120, generator=generator)
    first, last = used_rows(light.amax(1, keepdim=True), knot, DISC)
    assert last - first < 301
    part = Slab(knot, first, blur(light[..., first:last, :], knot))
    assert torch.allclose(part.rows(0, 301), blur(light, knot), atol=1e-5)


def test_a_cats_eye_is_that_of_its_place_in_the_whole_picture():
    shape, light = ApertureShape(cat_eye=1), torch.zeros(1, 4, 120, 80)
    light[..., 4:8, 10] = 1
    first, last = used_rows(light.amax(1, keepdim=True), 9.0, shape)
    part = Slab(9.0, first, blur(light[..., first:last, :], 9.0, shape))
    torch.testing.assert_close(part.rows(0, 120), blur(light, 9.0, shape), atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [1, -1])
def test_a_blurred_surface_shows_no_outline_of_its_own(side):
    """What hides what is told of a pixel's own surface where that is sharp: an outline would be as sharp as the map."""
    generator = torch.Generator().manual_seed(6)
    kernels, knots = KernelPrediction(8), [12.0, 4.5, 0.0, -4.5, -12.0]
    coverages = [torch.rand(1, 1, 12, 16, generator=generator) for _ in knots]
    steered, farthest = torch.randn(1, 3, 12, 16, generator=generator), torch.full((1, 1, 12, 16), -99.0)

    def shares(defocus):
        leaf = torch.full((1, 1, 12, 16), defocus)
        leaf[..., 4:8, 5:11] += 4.0 * side  # a leaf that stands out from others
        return torch.cat(kernels(knots, coverages, leaf, steered, farthest))

    torch.testing.assert_close(shares(5.0 * side), shares(9.0 * side))
    assert (shares(0.0) - shares(1.0 * side)).abs().max() > 0.05, "sharp ones are told apart"


def test_nothing_farther_shows_than_the_farthest_that_is_seen():
    """A twentieth of sky in the cracks of a dark post is a bright line; but a wide blur's own slabs lie apart."""
    kernels, knots = KernelPrediction(8), [-3.0, -4.5, -8.0, -17.0, -21.0]
    steered = torch.tensor([-8.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)

    def shares(farthest, *coverages):
        coverages, farthest = [torch.full((1, 1, 4, 4), coverage) for coverage in coverages], torch.tensor(farthest)
        made = kernels(knots, coverages, farthest.expand(1, 1, 4, 4), steered, farthest.expand(1, 1, 4, 4))
        return [float((kernel * coverage).mean()) for kernel, coverage in zip(made, coverages, strict=True)]

    assert sum(shares(-3.9, 0.4, 0.53, 0.06, 0.3, 0.0)[2:]) < 0.02  # 0.04 when the room went by the knot
    assert sum(shares(-8.0, 0.4, 0.53, 0.06, 0.3, 0.0)[2:]) == pytest.approx(0.07, abs=0.01), "seen past an edge"
    own = shares(-18.5, 0.0, 0.0, 0.0, 0.6, 0.4)
    assert own == pytest.approx([0, 0, 0, 0.6, 0.4], abs=0.01)


def test_no_crack_in_what_is_sharp_shows_what_is_behind_it(model):
    """A dark thing in focus, of slightly uneven depth, before a bright wall: at its steps no wall shines through."""
    image = torch.full((1, 3, 96, 128), 0.9)
    image[..., 20:76, 24:104] = 0.1
    disparity = torch.zeros(1, 1, 96, 128)
    disparity[..., 20:76, 24:104] = 0.8 + 0.1 * (torch.arange(80) // 10 % 2)  # steps of 0.6 pixels of blur
    with torch.inference_mode():
        rendered = model.render(image, disparity, 0.8, 16.0)
    inside = (..., slice(26, 70), slice(30, 98))
    assert float((rendered - image)[inside].abs().max()) < 0.12  # 0.29 with cracks
    assert float(rendered[..., 20:76, 24:104].mean()) < 0.2 < 0.7 < float(rendered[..., :10, :].mean())


def test_no_crack_in_what_is_blurred_shows_what_is_behind_it(model):
    """A dark thing of uneven depth, all of it blurred, before a bright wall: well inside it stays dark."""
    image = torch.full((1, 3, 160, 200), 0.9)
    image[..., 20:, 40:160] = 0.1
    disparity = torch.zeros(1, 1, 160, 200)
    disparity[..., 20:, 40:160] = 0.5 + 0.08 * (torch.arange(120) / 7).sin()  # blurred by 6 to 10 pixels
    with torch.inference_mode():
        rendered = model.render(image, disparity, 1.0, 26.0)
    inside = rendered[..., 60:140, 68:132]
    assert float((inside - 0.1).abs().max()) < 0.03


def test_along_the_edges_of_what_is_sharp_shows_nothing_behind(model):
    """Boots in focus, uneven by parts of a pixel of blur, had lines as bright as the pavement along their edges."""
    generator = torch.Generator().manual_seed(2)
    image, defocus = torch.full((1, 3, 96, 128), 0.85), torch.full((1, 1, 96, 128), -3.5)
    image[..., 30:90] = 0.03
    defocus[..., 30:90] = 0.2 + 0.6 * F.interpolate(torch.rand(1, 1, 24, 15, generator=generator), (96, 60))
    with torch.inference_mode():
        rendered = model.render_defocus(image, defocus)
    assert float((rendered - image)[..., 31:89].max()) < 0.03  # 0.16 where it is looked for at half the size


@pytest.mark.parametrize("aperture", [2.5, 5.0, 12.0, 24.0, 32.0])
def test_a_wide_edge_lets_through_what_passes_beside_it(model, aperture):
    """As much of the disc as lies beyond a straight edge, up to 77 pixels away; it was cut off from 45 pixels on."""
    image, disparity = torch.full((1, 3, 300, 768), 0.9), torch.zeros(1, 1, 300, 768)
    image[..., 384:], disparity[..., 384:] = 0.1, 1.0
    with torch.inference_mode():
        rendered = model.render(image, disparity, 0.0, aperture)[0, 0, 150, 386:480]
    away = (torch.arange(94) + 2.5) / (aperture * 768 / 320)  # of the blur's radius
    beyond = torch.where(away < 1, away.clamp(max=1).acos() - away * (1 - away**2).clamp(min=0).sqrt(), 0) / math.pi
    dark, bright = srgb_to_linear(torch.tensor([0.1, 0.9]))
    true = linear_to_srgb(torch.lerp(dark, bright, beyond))
    assert float((rendered - true).abs().max()) < 0.08
    assert float((rendered - true).abs().mean()) < 0.02


@pytest.mark.parametrize("focus", [1.0, 0.7])
def test_through_a_hollow_shows_what_is_as_far_as_the_hollow(model, focus):
    """What is behind a thing as a whole was taken for what is behind a hollow's rim, and shone through it."""
    image = torch.full((1, 3, 160, 200), 0.9)
    image[..., 20:, 40:160] = 0.1
    disparity = torch.zeros(1, 1, 160, 200)
    disparity[..., 20:, 40:160] = 0.65
    disparity[..., 80:100, 92:112] = 0.5  # farther by 2.4 pixels of blur, and the wall by 8 more
    with torch.inference_mode():
        rendered = model.render(image, disparity, focus, 26.0)
    assert float((rendered[..., 60:140, 70:130] - 0.1).abs().max()) < 0.01  # 0.02 and 0.2 where the wall shone through


def test_a_steep_slope_within_a_thing_shows_nothing_behind(model):
    """A post that recedes by 6 pixels of blur over 6, before the sky: a bright sliver where its slabs lie apart."""
    image, defocus = torch.full((1, 3, 160, 200), 0.9), torch.full((1, 1, 160, 200), -22.0)
    image[..., 20:, 60:140] = 0.1
    defocus[..., 20:, 60:140] = -4 - 6 * ((torch.arange(80) - 12) / 6).clamp(0, 1)
    with torch.inference_mode():
        rendered = model.render_defocus(image, defocus)
    assert float((rendered[..., 60:140, 70:130] - 0.1).abs().max()) < 0.04  # 0.08 with wider windows


@pytest.mark.parametrize("focus", [0.4, 0.6])
def test_a_leaf_with_a_soft_map_has_no_light_flecks(model, focus):
    """Sharp in part, before a bright wall, its map of a quarter of the size: where slabs change, no wall shines in."""
    y, x = torch.meshgrid(torch.arange(192), torch.arange(256), indexing="ij")
    leaf = ((x - 128) / 90) ** 2 + ((y - 150) / 100) ** 2 < 1
    green = torch.tensor([0.15, 0.25, 0.12]).view(1, 3, 1, 1)
    grain = 0.9 + 0.1 * torch.rand(1, 1, 192, 256, generator=torch.Generator().manual_seed(3))
    image = torch.where(leaf, green, 0.88) * grain
    disparity = torch.where(leaf, 0.35 + 0.3 * (y - 50) / 140, 0.05)[None, None]
    small = F.interpolate(disparity, scale_factor=0.25, mode="bilinear", antialias=True)
    disparity = F.interpolate(small, (192, 256), mode="bicubic").clamp(0, 1)
    with torch.inference_mode():
        rendered = model.render(image, disparity, focus, 16.0)
    inside = window_mean(leaf.float()[None, None], 3) > 0.999
    assert float((rendered - window_mean(rendered, 2)).mean(1, keepdim=True)[inside].max()) < 0.015  # 0.026, 0.046


def test_the_outline_of_a_blurred_thing_before_something_sharp_is_soft(model):
    """A dark thing with a crook, its map as soft as a predicted one, before a bright wall in focus: no cut, no rim."""
    at = torch.arange(1600) - 799.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    covered = ((x + 288).hypot(y + 80) < 256) | ((x.abs() < 160) & (y > 0)) | ((y > 352) & (x.abs() < 480))
    covered = covered.float()[None, None]
    texture = torch.rand(1, 3, 400, 400, generator=torch.Generator().manual_seed(3))
    thing = torch.tensor([0.35, 0.25, 0.2]).view(1, 3, 1, 1) * (0.5 + F.interpolate(texture, (1600, 1600)))
    wall = torch.tensor([0.8, 0.93, 0.95]).view(1, 3, 1, 1)
    soft = covered
    for _ in range(3):
        soft = F.avg_pool2d(soft, 13, 1, 6, count_include_pad=False)
    with torch.inference_mode():
        rendered = model.render(torch.lerp(wall, thing, covered), 0.1 + 0.8 * soft, 0.1, 12.0)
    spread = convolve(torch.cat([srgb_to_linear(thing) * covered, covered], 1), disc(12.0 * 1600 / 320 * 0.8))
    true = linear_to_srgb(spread[:, :3] + (1 - spread[:, 3:]) * srgb_to_linear(wall))

    def contrast(picture):
        grey = picture.mean(1, keepdim=True)
        return window_max(grey, 4) - window_min(grey, 4)

    about = window_max(covered, 12) - window_min(covered, 12) > 0.5
    more = (contrast(rendered) - contrast(true)).clamp(min=0)[about]
    assert float(more.mean()) < 0.015  # 0.024 where it is cut out


def test_what_is_sharp_behind_a_blurred_edge_has_no_specks(model):
    """A soft map lets a trace of the near surface into the wall's pixels, which must not take their light along."""
    at = torch.arange(400) - 199.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    covered = ((0.9 * x + 0.4 * y < -10) & (y > -120)).float()[None, None]
    texture = torch.rand(1, 3, 100, 100, generator=torch.Generator().manual_seed(3))
    thing = torch.tensor([0.35, 0.25, 0.2]).view(1, 3, 1, 1) * (0.5 + F.interpolate(texture, (400, 400)))
    wall = torch.tensor([0.8, 0.93, 0.95]).view(1, 3, 1, 1)
    soft = covered
    for _ in range(3):
        soft = window_mean(soft, 2)
    with torch.inference_mode():
        rendered = model.render(torch.lerp(wall, thing, covered), 0.1 + 0.8 * soft, 0.1, 12.0).mean(1, keepdim=True)
    outside = window_max(covered, 9) - window_max(covered, 3) > 0.5
    outside[..., :40, :] = outside[..., -40:, :] = False
    assert float((rendered - window_mean(rendered, 1))[outside].abs().max()) < 0.02  # 0.05 with specks
