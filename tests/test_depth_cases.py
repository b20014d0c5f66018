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
SKIN = (0.85, 0.65, 0.53)


def picture(name: str) -> Image.Image:
    file = PICTURES / f"{name}.jpg"
    photo = (Image.open(file) if file.exists() else Image.fromarray(getattr(skimage, name)())).convert("RGB")
    photo.thumbnail((400, 400))
    return photo


@cache
def predicted(model, name: str, flipped: bool = False) -> np.ndarray:
    """Disparity (H, W) as the upright photo lies, predicted from it or from the photo standing on its head."""
    photo = painted_hand()[0] if name == "painted_hand" else picture(name)
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


def painted_hand(
    floor: str = "brick", colour: tuple[float, float, float] = SKIN
) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """A floor seen aslant with a hand painted on it -> the picture, where the hand is, and the floor's true disparity.

    The floor is a plane, so its inverse distance is affine in the picture's rows, hand and all.
    """
    height, width = 300, 400
    rows, columns = (np.mgrid[0:height, 0:width] + 0.5) / np.array([height, width]).reshape(2, 1, 1)
    inverse = 0.45 + 0.55 * rows
    v, u = 1 / inverse, (columns - 0.5) / inverse  # on the floor
    ground = getattr(skimage, floor)()[(v * 700).astype(int) % 512, (u * 500).astype(int) % 512][..., None] / 255.0

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
    colours = np.where(hand[..., None], np.array(colour), ground * np.array([1.0, 0.8, 0.55]))
    return Image.fromarray((colours * 255).astype(np.uint8)), hand, inverse


def off_the_floor(disparity: np.ndarray, hand: np.ndarray, inverse: np.ndarray) -> float:
    """The painted hand's step, from the plane that its floor lies in, as a share of the whole range."""
    slope, offset = np.polyfit(inverse[~hand], disparity[~hand], 1)
    off = disparity - (slope * inverse + offset)
    return float(abs(off[hand].mean() - off[~hand].mean()))


# ---- flat, of many colours


@pytest.mark.xfail(strict=False, reason="a step of 0.17: the network knows a hand when it sees one")
def test_paint_on_a_floor_is_no_step_in_depth(model):
    _, hand, inverse = painted_hand()
    disparity = predicted(model, "painted_hand")
    assert alike(disparity[~hand], inverse[~hand]) > 0.9
    assert off_the_floor(disparity, hand, inverse) < 0.08


@pytest.mark.xfail(strict=False, reason="steps of 0.06 to 0.49, 0.29 in the mean")
def test_paint_of_other_colours_on_other_floors_is_none_either(model, monkeypatch):
    """So that who learns the hand above has learned more than that. As they lie: orientation is another matter."""
    monkeypatch.setattr(type(model), "ways", lambda self, image: image.new_tensor([[1, 0, 0, 0]]))
    steps = []
    for floor in ("brick", "grass", "gravel"):
        for colour in (SKIN, (0.9, 0.9, 0.9), (0.2, 0.4, 0.8), (0.25, 0.2, 0.15)):
            photo, hand, inverse = painted_hand(floor, colour)
            disparity = model.open(photo).disparity
            assert alike(disparity[~hand], inverse[~hand]) > 0.9
            steps.append(off_the_floor(disparity, hand, inverse))
    assert np.mean(steps) < 0.08


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
    _, hand, inverse = painted_hand()
    assert alike(predicted(model, "painted_hand", flipped=True)[~hand], inverse[~hand]) > 0.5


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
