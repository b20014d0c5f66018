"""The page: upload a photo, click what shall be sharp, choose the aperture."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import gradio as gr
from PIL import Image, ImageDraw

from .model import DeepLens
from .photo import WIDEST, Photo
from .pictures import colour_disparity

PANE = 1280  # longest side, in pixels, of the photo and the depth map as shown; the result has the photo's own size
IDLE = 30 * 60  # seconds after which an unused photo and its disparity are forgotten
ABOUT = """# DeepLens
Upload a photo: its main subject stays sharp and the rest is blurred, as by a wide-open lens. Then click, on the photo
or on its depth map, what shall be sharp instead."""


@dataclass(frozen=True, eq=False)  # compared by identity: a scene with another focus is another scene
class Scene:
    """What one visitor is looking at: the photo with its disparity, how both are shown, and the point in focus."""

    photo: Photo
    view: Image.Image
    depth: Image.Image
    point: tuple[float, float] | None = None  # (x, y), pixels of the upright photo; None: the main subject


def build_demo(model: DeepLens, examples: Sequence[Path] = ()) -> gr.Blocks:
    """The page, ready to launch.

    Args:
        model: predicts the disparity, renders the result.
        examples: photos offered beside the upload box.
    """

    def open_photo(file: dict | None) -> dict:
        """The uploaded file, as it came -> a scene with the main subject in focus. Depth is predicted here, once."""
        empty = {scene: None, x: None, y: None}
        if file is None:
            return empty
        try:
            photo = model.open(file["path"])
            depth = colour_disparity(photo.disparity)
        except ValueError as error:
            warn(str(error).replace(file["path"], file["orig_name"] or "the file"))
            return empty | {upload: None}
        return empty | {scene: Scene(photo, reduced(photo.picture), reduced(depth))}

    def refocus(scene: Scene | None, aperture: float) -> Image.Image | dict | None:
        """The photo through the lens, at its own size."""
        if scene is None:
            return None
        try:
            return scene.photo.refocus(point=scene.point, aperture=aperture)
        except ValueError as error:
            warn(str(error))
            return gr.skip()  # what was there stays

    with gr.Blocks(title="DeepLens", analytics_enabled=False, delete_cache=(IDLE, 2 * IDLE)) as page:
        gr.Markdown(ABOUT)
        scene = gr.State(time_to_live=IDLE)
        with gr.Row():
            upload = gr.Image(label="Photo", sources=["upload", "clipboard"], height=200, buttons=[], elem_id="upload")
            if examples:
                gr.Examples([str(path) for path in examples], upload, label="Or try one of these")
        shown = {"format": "jpeg", "height": 400, "interactive": False, "buttons": []}
        with gr.Row():
            view = gr.Image(label="Click what shall be sharp", elem_id="view", **shown)
            depth = gr.Image(label="Depth map: bright is near", elem_id="depth", **shown)
        with gr.Row():
            aperture = gr.Slider(0, WIDEST, 8, step=0.5, label="Aperture", info="0: all sharp", scale=2)
            x = gr.Number(label="Focus x", info="pixels from the left", precision=0, placeholder="main subject")
            y = gr.Number(label="Focus y", info="pixels from the top", precision=0, placeholder="main subject")
        result = gr.Image(
            label="Result", format="png", height=600, interactive=False, buttons=["download", "fullscreen"],
            elem_id="result",
        )  # fmt: skip

        # and what it does: events change the scene; a changed scene or aperture makes a new picture, the last one wins
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        work = {"concurrency_id": "gpu", "trigger_mode": "always_last", "api_visibility": "private"}
        upload.change(open_photo, upload, [scene, x, y, upload], preprocess=False, show_progress_on=view, **work)
        for pane in (view, depth):
            pane.select(pick, scene, [scene, x, y], trigger_mode="multiple", **quiet)
        gr.on([x.input, y.input], type_point, [scene, x, y], scene, trigger_mode="always_last", **quiet)
        scene.change(mark, scene, [view, depth], trigger_mode="always_last", **quiet)
        gr.on([scene.change, aperture.change], refocus, [scene, aperture], result, show_progress="minimal", **work)
    return page


def pick(scene: Scene | None, click: gr.SelectData) -> tuple[Scene | None, int | None, int | None]:
    """A click on the photo or its depth map -> a scene focused there, and the point in pixels of the photo."""
    if scene is None:
        warn(f"A photo left alone for {IDLE // 60} minutes is forgotten: please upload it again.")
        return None, None, None
    x, y = (
        int((at + 0.5) * full / shown)
        for at, full, shown in zip(click.index, scene.photo.size, scene.view.size, strict=True)
    )
    return replace(scene, point=(x, y)), x, y


def type_point(scene: Scene | None, x: float | None, y: float | None) -> Scene | None:
    """The same by keyboard; both fields empty is the main subject, one empty a point being typed."""
    if scene is None or (x is None) != (y is None):
        return scene
    return replace(scene, point=None if x is None else (x, y))


def mark(scene: Scene | None) -> tuple[Image.Image | None, Image.Image | None]:
    """Photo and depth map as shown, a ring around the point in focus."""
    if scene is None:
        return None, None
    if scene.point is None:
        return scene.view, scene.depth
    return ring(scene.view, scene), ring(scene.depth, scene)


def ring(picture: Image.Image, scene: Scene) -> Image.Image:
    """A white ring with dark edges, so that it shows on anything, drawn on a copy."""
    x, y = (
        (at + 0.5) * shown / full for at, shown, full in zip(scene.point, picture.size, scene.photo.size, strict=True)
    )
    picture = picture.copy()
    radius = max(picture.size) / 40
    draw = ImageDraw.Draw(picture)
    for colour, width in (("black", radius / 2), ("white", radius / 4)):
        draw.circle((x, y), radius + width / 2, outline=colour, width=round(width))
    return picture


def reduced(picture: Image.Image) -> Image.Image:
    """A copy small enough to show."""
    picture = picture.copy()
    picture.thumbnail((PANE, PANE))
    return picture


def warn(sentence: str) -> None:
    """Say it on the page, which would take it for HTML."""
    gr.Warning(html.escape(sentence, quote=False))
