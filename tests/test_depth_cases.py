"""What the DeepLens report names as its failures: flat scenes of many colours, "the bottom is near", plants.

Figures at an xfail are those of the weights it was written with; what a better model reaches passes.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

skimage = pytest.importorskip("skimage.data")

PICTURES = Path(__file__).parent / "pictures"
FLIPPED = Image.Transpose.FLIP_TOP_BOTTOM


def picture(name: str) -> Image.Image:
    file = PICTURES / f"{name}.jpg"
    photo = (Image.open(file) if file.exists() else Image.fromarray(getattr(skimage, name)())).convert("RGB")
    photo.thumbnail((400, 400))
    return photo


@cache
def predicted(model, name: str, flipped: bool = False) -> np.ndarray:
    """Disparity (H, W) as the upright photo lies, predicted from it or from the photo standing on its head."""
    photo = hand_on_bricks()[0] if name == "hand_on_bricks" else picture(name)
    disparity = model.open(photo.transpose(FLIPPED) if flipped else photo).disparity
    return disparity[::-1] if flipped else disparity


def at(disparity: np.ndarray, x: float, y: float) -> float:
    """The median of 7 x 7 pixels about a place, as shares of width and height."""
    row, column = (int(share * side) for share, side in zip((y, x), disparity.shape, strict=True))
    return float(np.median(disparity[row - 3 : row + 4, column - 3 : column + 4]))


def alike(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def lower_edge(disparity: np.ndarray) -> float:
    """How much "the bottom is near" explains, -1 to 1."""
    return alike(disparity, np.linspace(0, 1, len(disparity))[:, None].repeat(disparity.shape[1], 1))


def hand_on_bricks() -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """A floor seen aslant with a hand painted on it -> the picture, where the hand is, and the floor's true disparity.

    The floor is a plane, so its inverse distance is affine in the picture's rows, hand and all.
    """
    height, width = 300, 400
    rows, columns = (np.mgrid[0:height, 0:width] + 0.5) / np.array([height, width]).reshape(2, 1, 1)
    inverse = 0.45 + 0.55 * rows
    v, u = 1 / inverse, (columns - 0.5) / inverse  # on the floor
    bricks = skimage.brick()[(v * 700).astype(int) % 512, (u * 500).astype(int) % 512][..., None] / 255.0

    def capsule(a: tuple[float, float], b: tuple[float, float], radius: float) -> np.ndarray:
        (ax, ay), (bx, by) = a, b
        along = ((u - ax) * (bx - ax) + (v - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
        along = along.clip(0, 1)
        return np.hypot(u - ax - along * (bx - ax), v - ay - along * (by - ay)) < radius

    hand = (
        capsule((0, 1.5), (0, 1.3), 0.11)
        | capsule((0, 1.5), (0, 2.3), 0.075)
        | capsule((0.08, 1.42), (0.2, 1.27), 0.035)
    )
    for x, length in ((-0.13, 0.25), (-0.05, 0.33), (0.04, 0.33), (0.12, 0.27)):
        hand |= capsule((0.7 * x, 1.35), (1.2 * x, 1.35 - length), 0.03)
    skin = np.array([0.85, 0.65, 0.53])
    colours = np.where(hand[..., None], skin, bricks * np.array([1.0, 0.8, 0.55]))
    return Image.fromarray((colours * 255).astype(np.uint8)), hand, inverse


# ---- flat, of many colours


@pytest.mark.xfail(strict=False, reason="a step of 0.17: the network knows a hand when it sees one")
def test_paint_on_a_floor_is_no_step_in_depth(model):
    _, hand, inverse = hand_on_bricks()
    disparity = predicted(model, "hand_on_bricks")
    assert alike(disparity[~hand], inverse[~hand]) > 0.9
    slope, offset = np.polyfit(inverse[~hand], disparity[~hand], 1)
    off = disparity - (slope * inverse + offset)  # from the plane that the bricks lie in
    assert abs(off[hand].mean() - off[~hand].mean()) < 0.08  # of the whole range


@pytest.mark.xfail(strict=False, reason="a step of 0.34")
def test_a_dark_shadow_is_no_step_in_depth(model):
    disparity = predicted(model, "bowl_from_above")
    assert abs(at(disparity, 0.27, 0.25) - at(disparity, 0.07, 0.25)) < 0.08  # shadow and concrete beside it


# ---- "the bottom is near"


@pytest.mark.parametrize(
    "name",
    [
        "astronaut",
        "chelsea",
        "dandelions",
        "bowl_from_above",
        "coffee",
        "coins",
        "grass",
        "gravel",
    ],
)
def test_a_photo_on_its_head_is_not_near_at_the_bottom_again(model, name):
    """What is said of the photo and of the photo on its head, in common: 0 for who looks, 1 for "bottom is near"."""
    both = lower_edge(predicted(model, name)), lower_edge(predicted(model, name, flipped=True)[::-1])
    assert sum(both) / 2 < 0.4


@pytest.mark.parametrize("name", ["coins", "grass", "gravel"])
def test_what_lies_flat_from_above_has_little_depth(model, name):
    """So that it hardly blurs; a bowl does."""
    flat, bowl = (float(np.ptp(predicted(model, each))) for each in (name, "bowl_from_above"))
    assert flat < 0.45
    assert bowl > 0.65


def test_a_floor_on_its_head_keeps_its_slant(model):
    _, hand, inverse = hand_on_bricks()
    assert alike(predicted(model, "hand_on_bricks", flipped=True)[~hand], inverse[~hand]) > 0.5


def test_from_above_what_stands_on_the_table_is_nearer_than_the_table(model):
    disparity = predicted(model, "bowl_from_above")
    bowl = at(disparity, 0.8, 0.75), at(disparity, 0.58, 0.5)
    assert min(bowl) > max(at(disparity, 0.07, 0.25), at(disparity, 0.95, 0.08), at(disparity, 0.15, 0.85)) + 0.1


# ---- plants


@pytest.mark.parametrize("flipped", [False, True])
def test_the_dandelion_in_front_is_nearest(model, flipped):
    disparity = predicted(model, "dandelions", flipped)
    head = at(disparity, 0.29, 0.35)
    assert head > 0.9
    assert head > 0.15 + max(at(disparity, x, y) for x, y in ((0.82, 0.77), (0.75, 0.05), (0.6, 0.95), (0.6, 0.6)))


def test_leaves_stand_in_front_of_the_sky(model):
    disparity = predicted(model, "dragonfly")
    assert at(disparity, 0.35, 0.5) + 0.2 > at(disparity, 0.06, 0.12) + 0.3


def test_a_stalk_stands_in_front_of_the_leaves(model):
    disparity = predicted(model, "dragonfly")
    stalk, beside = at(disparity, 0.7, 0.68), at(disparity, 0.745, 0.68)
    assert stalk > at(disparity, 0.35, 0.5) + 0.3
    assert stalk > beside + 0.2


@pytest.mark.parametrize("flipped", [False, True])
def test_the_sky_between_leaves_is_behind_them(model, flipped):
    """In windows that hold both: the leaves' mean disparity above the sky's, in at least 85 % of them."""
    photo = picture("dragonfly")
    red, green, blue = np.moveaxis(np.asarray(photo).astype(int), 2, 0)
    sky, leaf = (blue > red + 15) & (blue > 110), green > blue + 10
    disparity, nearer = predicted(model, "dragonfly", flipped), []
    for top in range(0, photo.height - 40, 20):
        for left in range(0, photo.width - 40, 20):
            window = np.s_[top : top + 40, left : left + 40]
            if min(sky[window].sum(), leaf[window].sum()) > 100:
                nearer.append(disparity[window][leaf[window]].mean() > disparity[window][sky[window]].mean())
    assert len(nearer) > 40
    assert np.mean(nearer) >= 0.85
