"""What the library says of a fault, in words for people: what is wrong, and what to do. Scripts keep the library's."""

import re

ANOTHER_PHOTO = "Please choose a JPEG, PNG, HEIC, TIFF or WebP."
ANOTHER_MAP = "Please choose a grey PNG or TIFF, or a .npy file of numbers."
OTHER_DEPTH = "Please choose another source of depth, or give a depth map of your own."
ABOVE_0 = "Please give it in {}, as a number above 0."

# what the library's sentence matches -> the page's, the first that does; \1 is what stood in its first bracket
PLAIN = (
    (r"(?:photo|source) is a HEIC picture", "HEIC pictures cannot be read here. Please save it as JPEG first."),
    (
        r"(?:photo|source) must be a whole",
        f"This picture is damaged or not complete. Please try the original file, or another one. {ANOTHER_PHOTO}",
    ),
    (
        r"photo must have at most (\d+) megapixels",
        r"This photo is too large: more than \1 megapixels. Please make it smaller, or choose another one.",
    ),
    (
        r"(?:photo|disparity) must have sides of at most (\d+)",
        r"This picture is too long: more than \1 pixels on one side. Please make it smaller.",
    ),
    (r"(?:photo|disparity) must be (a JPEG of at most.*)", r"This picture cannot be read: it must be \1."),
    (r"(?:photo|disparity) must have its channels", "This TIFF has 16 bits in planes. Please save it interleaved."),
    (r"(?:photo|source) must be", f"This file is not a picture that can be read. {ANOTHER_PHOTO}"),
    (r"disparity 'embedded': the photo's depth", f"The depth that came with this photo cannot be read. {OTHER_DEPTH}"),
    (
        r"disparity 'embedded'",
        f"This photo carries no depth: phones store it in portrait mode only. {OTHER_DEPTH}",
    ),
    (r"disparity must be a file, an array|depth_is must be given", f"This depth model cannot be used. {OTHER_DEPTH}"),
    (r"disparity must be a grey picture", f"This depth map has colours, so near and far are unclear. {ANOTHER_MAP}"),
    (
        r"disparity must lie as the upright photo, (\d+ x \d+)",
        r"This depth map lies across the photo. Please turn it: the photo has \1 pixels.",
    ),
    (r"disparity must have at most (\d+)", r"This depth map is too large: more than \1 megapixels. Please shrink it."),
    (r"disparity must hold finite", f"This depth map has gaps: values that are not numbers. {ANOTHER_MAP}"),
    (r"disparity, given as depth", "This depth map is black all over, which says nothing of distance. " + ANOTHER_MAP),
    (r"disparity must be", f"This file is not a depth map that can be read. {ANOTHER_MAP}"),
    (r"point must be .*None", "Half of the point is missing. Please fill in both x and y."),
    (
        r"point must be \(x, y\) with 0 <= x < (\d+) and 0 <= y < (\d+)",
        r"This point lies outside the photo. Please keep x below \1 and y below \2, neither below 0.",
    ),
    (
        r"focus must be a number",
        "What shall be sharp lies from 0, the farthest, to 1, the nearest. Please stay within.",
    ),
    (
        r"aperture must be (f/[\d.]+) or narrower",
        r"Further open, this lens would blur more than can be shown. Please choose \1 or narrower.",
    ),
    (
        r"focal_length_mm or sensor_width_mm must be given",
        "The photo does not say which lens took it. Please fill in the focal length or the sensor width.",
    ),
    (
        r"focal_length_mm and sensor_width_mm, of what is left",
        "This photo was cropped. Please fill in the focal length, and how wide a part of the sensor is left.",
    ),
    (r"focal_length_mm must be given", "The photo does not say its focal length. Please fill it in."),
    (r"sensor_width_mm must be given", "The photo does not say how wide the sensor is. Please fill it in."),
    (r"focal_length_mm must be a number", "This is no focal length. " + ABOVE_0.format("millimetres")),
    (r"sensor_width_mm must be a number", "This is no sensor width. " + ABOVE_0.format("millimetres")),
    (r"references must have distances", "This is no distance. " + ABOVE_0.format("metres")),
    (
        r"references must be (?:nearer|at two distances)",
        "At the focus point the depth map is as dark as at the horizon: no distance can be told from it. "
        "Please choose a point that is nearer.",
    ),
)


def plain(text: str) -> str:
    """A sentence of the library's as the page says it; any other as it is."""
    for pattern, told in PLAIN:
        if found := re.match(pattern, text):
            return found.expand(told)
    return text
