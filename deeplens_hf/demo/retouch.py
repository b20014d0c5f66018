"""The depth brush: strokes that push parts of the disparity nearer or farther, or give them the depth of a point."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ..files.pictures import PhotoError

KINDS = ("nearer", "farther", "copy")
RADII = 0.01, 0.3  # of the brush, as a share of the long side
MOST_POINTS = 10_000  # of a stroke: some minutes with the button down
STEP = 0.08  # of disparity, that a stroke nearer or farther moves what is under it
SMALL = 512  # longest side, in pixels, that strokes are drawn at


def check_stroke(stroke: dict[str, Any]) -> None:
    """PhotoError unless it is one that `retouch` can draw, soon: radius within RADII, at most MOST_POINTS."""
    radius, points = stroke.get("radius"), stroke.get("points")
    if stroke.get("kind") not in KINDS:
        raise PhotoError(f"The brush paints {', '.join(KINDS)}; not {stroke.get('kind')!r}.")
    if not (isinstance(radius, (int, float)) and RADII[0] <= radius <= RADII[1]):  # nan is not
        raise PhotoError(f"The brush's size is from {RADII[0]} to {RADII[1]}.")
    if not (isinstance(points, list) and 0 < len(points) <= MOST_POINTS):
        raise PhotoError(f"One stroke has 1 to {MOST_POINTS} points. Please let go in between.")
    pairs = (point if isinstance(point, (list, tuple)) and len(point) == 2 else (None, None) for point in points)
    if not all(isinstance(value, (int, float)) and 0 <= value < 1e6 for pair in pairs for value in pair):
        raise PhotoError("A stroke's points are x, y in pixels of the photo.")


def retouch(disparity: np.ndarray, strokes: tuple[dict, ...]) -> np.ndarray:
    """The disparity after the strokes, (H, W) in [0, 1].

    Args:
        disparity: (H, W) in [0, 1].
        strokes: kind: "nearer", "farther" or "copy"; points: [[x, y], ...] in pixels; radius: as a share of the long
            side; level: the disparity to copy.
    """
    for stroke in strokes:
        share = stroke_mask(disparity.shape, stroke["points"], stroke["radius"])
        if stroke["kind"] == "copy":
            disparity = disparity + share * (stroke["level"] - disparity)
        else:
            disparity = disparity + share * (STEP if stroke["kind"] == "nearer" else -STEP)
        disparity = disparity.clip(0, 1)
    return disparity


def stroke_mask(shape: tuple[int, int], points: list[list[float]], radius: float) -> np.ndarray:
    """A soft round brush drawn through the points: (H, W) float32, 1 in the middle of the stroke, 0 away from it."""
    height, width = shape
    scale = min(1.0, SMALL / max(shape))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    reach = max(radius * max(size), 1.0)
    at = [((x + 0.5) / width * size[0], (y + 0.5) / height * size[1]) for x, y in points]
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    draw.line(at, fill=255, width=round(1.4 * reach), joint="curve")
    for point in at:
        draw.circle(point, 0.7 * reach, fill=255)
    soft = mask.filter(ImageFilter.GaussianBlur(reach / 4)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(soft, np.float32) / 255
