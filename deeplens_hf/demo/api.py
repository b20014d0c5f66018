"""The three functions that programs and agents can call: /refocus, /depth and /rack_focus, also as MCP tools."""

from pathlib import Path

import gradio as gr

from ..files.pictures import Picture
from ..files.results import noted_exif
from ..files.writing import save_disparity, save_picture
from ..rack_focus import SIDE, focus_path, write_mp4
from .checks import validator_of
from .darkroom import Darkroom
from .files import file_to_take, told


def add_api(darkroom: Darkroom) -> None:
    """Publish them, within a `gr.Blocks`; `darkroom` does the work."""

    def refocus(
        photo: str, x: float | None = None, y: float | None = None, aperture: float = 8, highlights: float = 1
    ) -> str:
        """Blur a photo as a wide-open lens would, keeping one thing sharp.

        Args:
            photo: the photo, JPEG, PNG, TIFF, WebP or HEIC, at most 50 megapixels.
            x: what shall be sharp, in pixels from the left of the upright photo; without x and y the main subject.
            y: the same, in pixels from the top.
            aperture: 0, all sharp, to 16, a very wide lens: blur-disc radius in pixels of a 320-pixel-long photo.
            highlights: 0 to 2: how much the lights of night photos glow; 1 is natural.

        Returns:
            The photo through the lens, a JPEG of its own size with its colour profile and its EXIF, the place left out.
        """
        with told(photo):
            scene = darkroom.open(photo)
            point = None if x is None or y is None else (x, y)
            lens = {"aperture": aperture, "highlights": highlights}
            picture = darkroom.look(scene, scene.focus_range(point), lens)
        path = file_to_take(Path(photo).stem, "_refocused.jpg")
        exif = noted_exif(picture, place=False).tobytes()
        save_picture(Picture.of(picture, {**picture.info, "exif": exif}), path)
        return str(path)

    def depth(photo: str) -> str:
        """Predict how near each part of a photo is.

        Args:
            photo: the photo, JPEG, PNG, TIFF, WebP or HEIC, at most 50 megapixels.

        Returns:
            A 16-bit grey PNG of the photo's size: relative inverse depth, white is nearest.
        """
        with told(photo):
            disparity = darkroom.open(photo).disparity
        path = file_to_take(Path(photo).stem, "_depth.png")
        save_disparity(disparity, path)
        return str(path)

    def rack_focus(
        photo: str,
        start_x: float,
        start_y: float,
        end_x: float,
        end_y: float,
        aperture: float = 8,
        seconds: float = 2,
        easing: str = "smooth",
    ) -> str:
        """Film a photo while the focus travels from one thing in it to another.

        Args:
            photo: the photo, JPEG, PNG, TIFF, WebP or HEIC, at most 50 megapixels.
            start_x: what is sharp first, in pixels from the left of the upright photo.
            start_y: the same, in pixels from the top.
            end_x: what is sharp last, in pixels from the left.
            end_y: the same, in pixels from the top.
            aperture: 0, all sharp, to 16, a very wide lens.
            seconds: how long it takes, 0.5 to 10.
            easing: smooth, linear, ease in or ease out.

        Returns:
            An MP4 film (H.264), at most 800 pixels a side.
        """
        with told(photo):
            scene = darkroom.open(photo)
            ends = [scene.focus_range(point) for point in ((start_x, start_y), (end_x, end_y))]
            planes = focus_path(*ends, seconds, easing)
            frames = list(darkroom.film(scene.reduced(SIDE), planes, {"aperture": aperture}))
        path = file_to_take(Path(photo).stem, "_rack_focus.mp4")
        write_mp4(frames, path)
        return str(path)

    with gr.Row(visible=False):  # never seen: what the three take and give
        photo = gr.File(label="Photo", type="filepath")
        points = [gr.Number(label=label) for label in ("X", "Y", "End x", "End y")]
        aperture, highlights = gr.Number(8, label="Aperture"), gr.Number(1, label="Highlights")
        seconds, easing = gr.Number(2, label="Seconds"), gr.Textbox("smooth", label="Easing")
        file = gr.File(label="Result")
        for function, inputs, line in (  # lines of their own: who has the page open waits for one call, not for all
            (refocus, [photo, *points[:2], aperture, highlights], "calls"),
            (depth, [photo], "calls"),
            (rack_focus, [photo, *points, aperture, seconds, easing], "called films"),
        ):
            gr.Button().click(
                function, inputs, file, api_name=function.__name__, api_visibility="public",
                validator=validator_of(function), concurrency_id=line,
                concurrency_limit=1,
            )  # fmt: skip
