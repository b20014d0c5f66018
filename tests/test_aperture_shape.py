"""A point of light out of focus images as the aperture: its shape, its size, its energy, and which way up."""

import math

import numpy as np
import pytest
import torch

from deeplens_hf import ApertureShape, DeepLens, DeepLensConfig
from deeplens_hf.optics import DISC, aperture_image, disc
from deeplens_hf.rendering.aperture_blur import blur

SHAPES = {
    "disc": ApertureShape(),
    "pentagon": ApertureShape(blades=5),
    "turned hexagon": ApertureShape(blades=6, rotation=15, roundness=0.4),
    "ring": ApertureShape(ring=0.5),
    "cat's eye": ApertureShape(cat_eye=0.8),
    "all at once": ApertureShape(blades=9, rotation=5, roundness=0.2, ring=0.3, cat_eye=0.5),
}


def rim(kernel, degrees):
    """How far light reaches from the centre, clockwise from up, in pixels."""
    middle = kernel.shape[-1] // 2
    steps = torch.arange(0, middle, 0.1)
    x = (middle + steps * math.sin(math.radians(degrees))).round().long()
    y = (middle - steps * math.cos(math.radians(degrees))).round().long()
    lit = kernel[y, x] > 0.5 * kernel.max()
    return float(steps[lit].max()) if bool(lit.any()) else 0.0


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("defocus", [-20.0, -2.0, 0.0, 0.1, 1.0, 7.5])
def test_no_shape_makes_or_loses_light(shape, defocus):
    kernel = aperture_image(defocus, shape, (0.6, -0.4))
    assert kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5) and float(kernel.min()) >= 0


def test_blades_are_a_polygon_with_its_corners_on_the_disc():
    kernel = aperture_image(-40, ApertureShape(blades=6))
    for k in range(6):
        assert rim(kernel, 60 * k) == pytest.approx(40, abs=1)
        assert rim(kernel, 60 * k + 30) == pytest.approx(40 * math.cos(math.pi / 6), abs=1)


def test_rotation_is_clockwise_and_roundness_ends_at_the_disc():
    assert rim(aperture_image(-40, ApertureShape(blades=5, rotation=20)), 20) == pytest.approx(40, abs=1)
    assert rim(aperture_image(-40, ApertureShape(blades=5, rotation=20)), 0) < 34
    kernel = aperture_image(-40, ApertureShape(blades=5, roundness=1))
    torch.testing.assert_close(kernel, disc(40), atol=2e-5, rtol=0)


def test_half_round_blades_bow_half_way_to_the_disc():
    kernel = aperture_image(-40, ApertureShape(blades=6, roundness=0.5))
    assert rim(kernel, 30) == pytest.approx((40 * math.cos(math.pi / 6) + 40) / 2, abs=1)


def test_in_front_of_the_focal_plane_the_aperture_is_turned_by_half():
    behind = aperture_image(-15, ApertureShape(blades=5, rotation=10))
    torch.testing.assert_close(aperture_image(15, ApertureShape(blades=5, rotation=10)), behind.flip(0, 1))
    assert float((behind - behind.flip(0, 1)).abs().sum()) > 0.05


@pytest.mark.parametrize("cut", [{"blades": 5}, {"ring": 0.5}, {"blades": 9, "rotation": 5, "ring": 0.3}], ids=str)
def test_the_barrel_turns_with_the_blades_and_the_ring(cut):
    """Whatever cuts the aperture off is of it: the whole shape is turned by half."""
    shape = ApertureShape(**cut, cat_eye=0.8)
    behind = aperture_image(-15, shape, (0.7, 0.4))
    torch.testing.assert_close(aperture_image(15, shape, (0.7, 0.4)), behind.flip(0, 1))
    assert float((behind - behind.flip(0, 1)).abs().sum()) > 0.05


@pytest.mark.parametrize("radius", [5.0, 14.0, 30.0])  # at its size, a half and a quarter of it
def test_a_light_in_the_corner_images_turned_by_half_in_front(radius):
    """Through the blur itself: the hole of a ring that a barrel cuts off lies inwards behind the focal plane."""
    side = int(20 * radius)  # so large that what it lands on lies in about the same direction
    middle, reach = side * 3 // 4, int(radius) + 8
    light = torch.zeros(1, 1, side, side)
    light[..., middle - 2 : middle + 2, middle - 2 : middle + 2] = 1 / 16
    about = slice(middle - reach, middle + reach)
    ring = ApertureShape(ring=0.5, cat_eye=1)
    front, behind = (blur(light, way * radius, ring)[0, 0, about, about] for way in (1, -1))
    assert float(torch.minimum(front, behind.flip(0, 1)).sum()) > 0.85
    assert float(torch.minimum(front, behind).sum()) < 0.8
    towards = torch.arange(2 * reach) + 0.5 - reach  # the corner
    outwards = [float((image * (towards[:, None] + towards)).sum()) for image in (front, behind)]
    assert outwards[0] < 0 < outwards[1]


@pytest.mark.parametrize("radius", [3.0, 12.0, 30.0])  # at its size, a half and a quarter of it
def test_a_light_in_front_images_turned_by_half_at_every_radius(radius):
    light = torch.zeros(1, 1, 160, 160)
    light[..., 78:82, 78:82] = 1
    front, behind = (blur(light, side * radius, ApertureShape(blades=5, rotation=10)) for side in (1, -1))
    torch.testing.assert_close(front, behind.flip(2, 3), atol=1e-5, rtol=0)
    assert float((front - behind).abs().max()) > 0.02 * float(front.max())


def test_ring_is_dark_in_the_middle():
    kernel = aperture_image(20, ApertureShape(ring=0.5))
    assert float(kernel[20, 20]) == 0 and float(kernel[20, 12]) == 0 and float(kernel[20, 6]) > 0


def test_cat_eye_narrows_towards_the_corners_and_is_a_disc_in_the_middle():
    shape = ApertureShape(cat_eye=1)
    torch.testing.assert_close(aperture_image(20, shape, (0, 0)), disc(20), atol=1e-4, rtol=0)
    right = aperture_image(20, shape, (1, 0))
    assert rim(right, 90) == pytest.approx(10, abs=1), "cut along the way to the corner, on both sides"
    assert rim(right, 270) == pytest.approx(10, abs=1)
    assert rim(right, 0) == pytest.approx(20 * math.cos(math.asin(0.5)), abs=1)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_point_light_images_as_the_shape(shape):
    """Through the blur itself, at half and at quarter of the size too."""
    for defocus in (-4.0, 14.0, -30.0):
        x = torch.zeros(1, 1, 161, 241)
        x[..., 40, 60] = 1.0  # up and left of the middle
        out = blur(x, defocus, shape)[0, 0]
        corner = torch.tensor([60 - 120.0, 40 - 80.0]) / math.hypot(120, 80)
        kernel = aperture_image(defocus, shape, tuple(corner.tolist()))
        reach = kernel.shape[0] // 2
        assert float(out.sum()) == pytest.approx(1, abs=0.02)
        wanted = torch.zeros(161 + 2 * reach, 241 + 2 * reach)
        wanted[40 : 41 + 2 * reach, 60 : 61 + 2 * reach] = kernel
        wanted = wanted[reach : reach + 161, reach : reach + 241]
        overlap = torch.minimum(out, wanted).sum()
        assert float(overlap) > 0.8, f"{float(overlap):.2f} of the light is where the shape is"


def test_cat_eye_keeps_a_constant_picture_constant():
    x = torch.full((1, 2, 70, 100), 0.3)
    torch.testing.assert_close(blur(x, 9.0, ApertureShape(cat_eye=1)), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("height, width", [(240, 240), (180, 300)])
def test_at_a_side_the_barrel_cuts_less_than_in_a_corner(height, width):
    light = torch.zeros(1, 1, height, width)
    light[..., height // 2, width - 20] = 1.0
    shape, away = ApertureShape(cat_eye=1), (width / 2 - 19.5) / (math.hypot(height, width) / 2)

    def breadth(image):
        """The variance along the way to the side."""
        columns = torch.arange(image.shape[-1])
        return float((image.sum(0) * (columns - (image.sum(0) * columns).sum()).square()).sum())

    wanted = aperture_image(-5.0, shape, (away, 0.0))
    assert breadth(blur(light, -5.0, shape)[0, 0]) == pytest.approx(breadth(wanted), rel=0.15)


def test_the_picture_changes_with_the_shape(model):
    image = torch.zeros(1, 3, 96, 96)
    image[..., 48, 48] = 1.0
    disparity = torch.zeros(1, 1, 96, 96)
    pictures = [model.render(image, disparity, 1.0, 30.0, shape=shape)[0, 1] for shape in (DISC, SHAPES["ring"])]
    pictures = [picture.detach() for picture in pictures]
    assert float(pictures[0][48, 48]) > 2 * float(pictures[1][48, 48])


def test_an_opened_photo_goes_through_the_shape_asked_for(model):
    pixels = np.zeros((96, 96, 3), np.uint8)
    pixels[47:50, 47:50] = 255
    photo = model.open(pixels, disparity=np.zeros((96, 96), np.float32))
    shapes = (DISC, ApertureShape(ring=0.8))
    disc, ring = (photo.render(focus=1.0, aperture=16, highlights=0, shape=shape) for shape in shapes)
    assert float(disc[48, 48].min()) > 2 * float(ring[48, 48].max())


@pytest.mark.parametrize(
    "bad",
    [
        {"blades": 4},
        {"blades": 12},
        {"rotation": math.nan},
        {"roundness": 1.1},
        {"ring": 0.95},
        {"cat_eye": -0.1},
        {"blades": "5"},
        {"rotation": "x"},
        {"roundness": "0.5"},
        {"ring": None},
        {"cat_eye": torch.tensor([0.5, 0.5])},
    ],
    ids=str,
)
def test_a_shape_that_no_lens_has_is_refused(bad):
    with pytest.raises(ValueError, match=f"^{next(iter(bad))} must"):
        ApertureShape(**bad)


def test_the_2018_variant_says_that_it_knows_the_disc_only():
    model = DeepLens(DeepLensConfig(lens_blur="convolutional"))
    with pytest.raises(ValueError, match="shape"):
        model.render(torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64), 0.5, 8.0, shape=ApertureShape(blades=5))


@pytest.mark.parametrize("highlights", [-0.1, 2.1, math.nan, None, "much", torch.ones(2)], ids=str)
def test_highlights_out_of_range(model, highlights):
    with pytest.raises(ValueError, match="highlights"):
        model.render(torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64), 0.5, 8.0, highlights=highlights)
