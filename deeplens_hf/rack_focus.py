"""Rack focus: the focal plane travels from one thing to another, as a film camera does it. Frames, MP4 and WebP."""

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain

import numpy as np
from PIL import Image

from .files.pictures import PhotoError, in_srgb
from .files.writing import check_target, replacing
from .inputs import check_number
from .photo import Photo

Focus = tuple[float, float]  # disparities, far and near: all between is sharp

EASINGS = {
    "smooth": lambda t: t * t * (3 - 2 * t),  # sets off and arrives gently
    "linear": lambda t: t,
    "ease in": lambda t: t * t,
    "ease out": lambda t: t * (2 - t),
}
LONGEST = 10.0  # seconds
HOLD = 0.15  # share of the time that either end stands still
SIDE = 800  # longest side of a frame, in pixels
NO_FRAMES = "frames must hold one picture at least, got none"


def rack_focus(
    photo: Photo, start: Focus, end: Focus, seconds: float = 2.0, easing: str = "smooth", fps: int = 24, **lens: object
) -> Iterator[Image.Image]:
    """The frames, in order: `start` is sharp first, `end` last; each end stands for a moment.

    Args:
        photo: as large as the film shall be (`Photo.reduced`); sides that are odd lose a row or column of pixels.
        start, end: what is sharp, disparities in [0, 1]: `Photo.focus_range` tells those of a point.
        seconds, easing, fps: as of `focus_path`.
        lens: aperture, shape, highlights and grain, as of `Photo.refocus`.

    Raises:
        PhotoError: an argument is out of its range; before the first frame.
    """
    frames = frames_along(photo, focus_path(start, end, seconds, easing, fps), lens)
    return chain([next(frames)], frames)  # the first says at once what is wrong with the rest


def focus_path(
    start: Focus, end: Focus, seconds: float = 2.0, easing: str = "smooth", fps: int = 24
) -> list[tuple[float, float]]:
    """What is sharp in each frame, far and near.

    Args:
        start, end: disparities in [0, 1].
        seconds: 0.5 to 10.
        easing: how the plane travels, one of EASINGS.
        fps: frames a second, 1 to 60.

    Raises:
        PhotoError: an argument is out of its range.
    """
    seconds, fps = check_number("seconds", seconds, 0.5, LONGEST), check_number("fps", fps, 1, 60)
    if easing not in EASINGS:
        raise PhotoError(f"easing must be one of {', '.join(EASINGS)}, got {easing!r}")
    if np.shape(start) != (2,) or np.shape(end) != (2,):
        raise PhotoError(f"start and end must be pairs of disparities, far and near, got {start!r} and {end!r}")
    start, end = (np.array([check_number("start and end", each, 0, 1) for each in focus]) for focus in (start, end))
    travelled = EASINGS[easing](frame_times(seconds, fps))[:, None]  # (frames, 1)
    return [(float(far), float(near)) for far, near in (1 - travelled) * start + travelled * end]


def frame_times(seconds: float, fps: int) -> np.ndarray:
    """How far the plane has travelled at each frame, 0 to 1, before easing."""
    return np.interp(np.linspace(0, 1, max(2, round(seconds * fps))), [HOLD, 1 - HOLD], [0, 1])


def frames_along(photo: Photo, path: list[Focus], lens: dict) -> Iterator[Image.Image]:
    """A frame for each focus of the path; what stands still is rendered once. lens: as of `Photo.refocus`."""
    for before, focus in zip([None, *path], path, strict=False):
        if focus != before:
            frame = _shown(even(photo.refocus(focus=focus, **lens)))
        yield frame


def even(picture: Image.Image) -> Image.Image:
    """The picture without its last column or row where these are odd in number, as H.264 has it. PhotoError if none
    is left."""
    width, height = (side - side % 2 for side in picture.size)
    if not width or not height:
        raise PhotoError(f"frames must be 2 x 2 pixels at least, got {picture.width} x {picture.height}")
    return picture if picture.size == (width, height) else picture.crop((0, 0, width, height))


def _shown(frame: Image.Image) -> Image.Image:
    """As every player shows it: in sRGB, which a photo of a phone may not be."""
    return in_srgb(frame, frame.info.get("icc_profile"))


def write_mp4(frames: Iterable[Image.Image], path: str | os.PathLike, fps: int = 24) -> None:
    """H.264 in 4:2:0, which plays everywhere. The file appears whole or not at all.

    PhotoError for fps out of 1 to 60, another suffix than .mp4, a folder that does not exist, or no frames.
    """
    import av

    fps = check_number("fps", fps, 1, 60)
    check_target(path, (".mp4",))
    with replacing(path) as file, av.open(file, "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = None
        for frame in map(even, frames):
            if stream is None:
                rate = Fraction(fps).limit_denominator(1001)  # 23.976 is 24000 / 1001
                stream = container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "fast"})
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                stream.codec_context.colorspace = stream.codec_context.color_primaries = 1  # BT.709
                stream.codec_context.color_trc = 1
            picture = av.VideoFrame.from_image(_shown(frame))
            container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace="ITU709")))
        if stream is None:
            raise PhotoError(NO_FRAMES)
        container.mux(stream.encode())


def write_webp(frames: Iterable[Image.Image], path: str | os.PathLike, fps: int = 24) -> None:
    """An animated WebP that goes there and back for ever. The file appears whole or not at all.

    PhotoError for fps out of 1 to 60, another suffix than .webp, a folder that does not exist, or no frames.
    """
    fps = check_number("fps", fps, 1, 60)
    check_target(path, (".webp",))
    there = [_shown(frame) for frame in frames]
    if not there:
        raise PhotoError(NO_FRAMES)
    first, *rest = there + there[-2:0:-1]
    with replacing(path) as file:
        first.save(file, "WEBP", save_all=True, append_images=rest, duration=1000 / fps, loop=0, quality=80, method=2)
