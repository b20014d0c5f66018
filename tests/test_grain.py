"""What is blurred gets the photo's own grain: as strong, as coarse, as colourful; nothing else changes."""

import copy

import numpy as np
import pytest
from PIL import Image

from deeplens_hf.files.pictures import PhotoError

FAR, NEAR = 0.0, 1.0
SIZE = (420, 300)  # width, height


def grainy(strength: float, coarse: int = 1, seed: int = 0) -> np.ndarray:
    """A wall that gets brighter to the right, with grain in it: (H, W, 3) uint8. Blue is twice as grainy as green."""
    draw = np.random.default_rng(seed)
    width, height = SIZE
    noise = draw.normal(0, 1, (height + coarse, width + coarse, 1)) + 0.5 * draw.normal(
        0, 1, (height + coarse, width + coarse, 3)
    )
    kernel = [noise[y : y + height, x : x + width] for y in range(coarse) for x in range(coarse)]
    noise = sum(kernel) / coarse * (0.8, 0.6, 1.2) * strength
    wall = np.linspace(70, 190, width)[None, :, None] * (0.9, 1.0, 0.8)
    return np.clip(wall + noise + 0.5, 0, 255).astype(np.uint8)


def residue(picture: np.ndarray) -> np.ndarray:
    """The left half's grain, well inside of what is blurred: each column less its mean."""
    part = np.asarray(picture, np.float64)[40:260, 20:180]
    return part - part.mean(0, keepdims=True)


@pytest.fixture
def left_is_far() -> np.ndarray:
    disparity = np.full(SIZE[::-1], NEAR, np.float32)
    disparity[:, :210] = FAR
    return disparity


@pytest.mark.parametrize("strength, coarse", [(3.0, 1), (6.0, 1), (4.0, 2), (4.0, 3)])
def test_blurred_parts_are_as_grainy_as_the_photo(model, left_is_far, strength, coarse):
    pixels = grainy(strength, coarse)
    photo = model.open(pixels, disparity=left_is_far)
    wanted, bare, given = map(residue, (pixels, *(photo.refocus(focus=NEAR, grain=amount) for amount in (0, 1))))
    assert bare.std() < 0.3 * wanted.std(), "the test's blur leaves grain"
    np.testing.assert_allclose(given.std((0, 1)), wanted.std((0, 1)), rtol=0.2)  # each colour
    for one, other in ((0, 1), (1, 2), (0, 2)):  # how far colours go together
        alike = [np.corrcoef(each[..., one].ravel(), each[..., other].ravel())[0, 1] for each in (wanted, given)]
        assert abs(alike[0] - alike[1]) < 0.1
    for axis in (0, 1):  # how coarse it is
        following = [
            np.corrcoef(each.take(range(1, 150), axis).ravel(), each.take(range(149), axis).ravel())[0, 1]
            for each in (wanted, given)
        ]
        assert abs(following[0] - following[1]) < 0.12


def test_amount_scales_it(model, left_is_far):
    photo = model.open(grainy(4.0), disparity=left_is_far)
    bare, half, twice = (photo.render(focus=NEAR, grain=amount) for amount in (0.0, 0.5, 2.0))
    np.testing.assert_allclose((twice - bare)[:, 20:180], 4 * (half - bare)[:, 20:180], atol=1e-6)


def test_what_is_in_focus_and_aperture_0_stay(model, left_is_far):
    pixels = grainy(4.0)
    photo = model.open(pixels, disparity=left_is_far)
    bare, given = (photo.render(focus=NEAR, grain=amount)[:, 240:] for amount in (0, 1))
    assert np.abs(given - bare).max() < 0.5 / 255
    np.testing.assert_array_equal(photo.refocus(aperture=0, grain=2), pixels)


@pytest.mark.parametrize("right", [120, 200])  # of one colour, and a slope, rounded to 8 bits
def test_a_clean_photo_gets_none(model, left_is_far, right):
    pixels = np.broadcast_to(np.linspace(120, right, SIZE[0])[None, :, None], (*SIZE[::-1], 3))
    photo = model.open(pixels.round().astype(np.uint8), disparity=left_is_far)
    np.testing.assert_array_equal(photo.refocus(focus=NEAR, grain=2), photo.refocus(focus=NEAR))


def test_a_frame_of_one_colour_hides_no_grain(model, left_is_far):
    pixels = grainy(4.0)
    pixels[:24] = pixels[-24:] = 60
    photo = model.open(pixels, disparity=left_is_far)
    bare, given = (residue(photo.refocus(focus=NEAR, grain=amount)) for amount in (0, 1))
    assert given.std() > 3 * bare.std()


def test_a_blown_sky_hides_no_grain(model, left_is_far):
    """White nearly all over, it is the least uneven part of the photo, and says nothing of the rest."""
    pixels = grainy(4.0)
    sky = np.random.default_rng(3).normal(255.3, 0.4, (100, SIZE[0], 3))  # 254 here and there
    pixels[:100] = sky.clip(0, 255).astype(np.uint8)
    photo = model.open(pixels, disparity=left_is_far)
    bare, given = (residue(np.asarray(photo.refocus(focus=NEAR, grain=amount))[90:]) for amount in (0, 1))
    assert given.std() > 2 * bare.std()


def test_leaves_are_no_grain(model, left_is_far):
    """Where one part of the photo is flat, the unevenness of the rest is what it shows."""
    pixels = grainy(1.0)
    pixels[:, :210] = np.clip(pixels[:, :210].astype(int) + grainy(40.0, 4, seed=1)[:, :210] - 120, 0, 255)
    photo = model.open(pixels, disparity=left_is_far)
    bare, given = (residue(photo.render(focus=NEAR, grain=amount)) for amount in (0, 1))
    assert (given - bare).std() < 3.0 / 255


def test_leaves_of_a_brightness_of_their_own_are_no_grain(model, left_is_far):
    """Nothing flat is as dark as they are: the grain of brighter parts tells what theirs can be at most."""
    draw = np.random.default_rng(0)
    pixels = 180 + draw.normal(0, 1.5, (*SIZE[::-1], 3))
    pixels[:, :210] += draw.normal(-110, 22, (75, 53, 1)).repeat(4, 0).repeat(4, 1)[:, :210]
    photo = model.open(pixels.clip(0, 255).astype(np.uint8), disparity=left_is_far)
    bare, given = (residue(photo.render(focus=NEAR, grain=amount)) for amount in (0, 1))
    assert (given - bare).std() < 4 / 255


def test_the_same_each_time_and_in_a_copy(model, left_is_far):
    photo = model.open(grainy(4.0), disparity=left_is_far)
    first = photo.refocus(focus=NEAR, grain=1)
    for each in (photo, copy.deepcopy(photo), model.open(grainy(4.0), disparity=left_is_far)):
        np.testing.assert_array_equal(first, each.refocus(focus=NEAR, grain=1))


@pytest.mark.parametrize("size", [(1, 1), (90, 7), (131, 127)])
def test_photos_too_small_to_tell_or_of_odd_sides(model, size):
    pixels = np.random.default_rng(0).integers(100, 110, (*size[::-1], 3)).astype(np.uint8)
    photo = model.open(pixels, disparity=np.zeros(size[::-1], np.float32))
    assert photo.refocus(focus=NEAR, grain=1).size == Image.fromarray(pixels).size


@pytest.mark.parametrize("grain", [-0.1, 2.1, float("nan"), "much"])
def test_out_of_range(model, left_is_far, grain):
    photo = model.open(grainy(4.0), disparity=left_is_far)
    with pytest.raises(PhotoError, match="grain"):
        photo.refocus(focus=NEAR, grain=grain)


def test_dark_parts_that_are_grainier_stay_so(model):
    draw = np.random.default_rng(0)
    wall = np.repeat([[60.0], [170.0]], 400, 0)[:, :, None]  # rows: dark above, bright below
    strength = np.repeat([[6.0], [3.5]], 400, 0)[:, :, None]
    pixels = (wall + strength * draw.normal(0, 1, (800, 800, 3)) + 0.5).astype(np.uint8)
    photo = model.open(pixels, disparity=np.zeros((800, 800), np.float32))
    given = np.asarray(photo.refocus(focus=NEAR, grain=1), np.float64)
    for rows in (slice(40, 360), slice(440, 760)):
        assert given[rows].std() == pytest.approx(pixels[rows].std(), rel=0.15)
