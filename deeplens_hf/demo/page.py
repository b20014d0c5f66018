"""The page: upload a photo, click what shall be sharp, choose the aperture."""

import html
from collections.abc import Sequence
from pathlib import Path

import gradio as gr
from PIL import Image

from ..model import DeepLens
from ..photo import WIDEST
from .scene import Scene
from .viewfinder import scene_props, shot_props, viewfinder

IDLE = 30 * 60  # seconds after which an unused photo and its disparity are forgotten
ABOUT = """# DeepLens
Upload a photo: its main subject stays sharp and the rest is blurred, as by a wide-open lens. Then click, on the photo
or on its depth map, what shall be sharp instead."""
LOOK: dict = {}


def build_demo(model: DeepLens, examples: Sequence[Path] = ()) -> gr.Blocks:
    """The page, ready to launch: `build_demo(model).launch(**LOOK)`.

    Args:
        model: predicts the disparity, renders the result.
        examples: photos offered beside the upload box.
    """

    def open_photo(file: dict | None) -> dict:
        """The uploaded file, as it came -> a scene with the main subject in focus. Depth is predicted here, once."""
        if file is None:  # the box was emptied: by the visitor, or below
            return {upload: gr.skip()}
        name = file["orig_name"] or "photo"
        try:
            opened = Scene.of(model, model.open(file["path"]), Path(name).stem)
        except ValueError as error:
            warn(str(error).replace(file["path"], name))
            return {upload: None}
        props = scene_props(opened.id, opened.photo.size, opened.preview.picture, opened.preview.disparity)
        return {scene: opened, upload: None, view: gr.update(value={"id": opened.id}, scene=props)}

    def look(scene: Scene | None, wish: dict | None, aperture: float) -> dict:
        """The photo through the lens, at the size of the screen."""
        if scene is None:
            if wish:
                warn(f"A photo left alone for {IDLE // 60} minutes is forgotten: please upload it again.")
            return gr.skip()
        try:
            focus = scene.focus(wish)
            picture = scene.preview.refocus(focus=focus, aperture=aperture)
        except ValueError as error:
            warn(str(error))
            return gr.skip()  # what was there stays
        return gr.update(shot=shot_props(wish, picture, focus))

    def develop(scene: Scene | None, wish: dict | None, aperture: float) -> Image.Image | dict:
        """The photo through the lens, at its own size."""
        return gr.skip() if scene is None else scene.photo.refocus(focus=scene.focus(wish), aperture=aperture)

    with gr.Blocks(title="DeepLens", analytics_enabled=False, delete_cache=(IDLE, 2 * IDLE)) as page:
        gr.Markdown(ABOUT)
        scene = gr.State(time_to_live=IDLE)
        with gr.Row():
            upload = gr.Image(label="Photo", sources=["upload", "clipboard"], height=200, buttons=[], elem_id="upload")
            if examples:
                gr.Examples([str(path) for path in examples], upload, label="Or try one of these")
        view = viewfinder()
        with gr.Row():
            aperture = gr.Slider(0, WIDEST, 8, step=0.5, label="Aperture", info="0: all sharp", scale=2)
            x = gr.Number(label="Focus x", info="pixels from the left", precision=0, placeholder="main subject")
            y = gr.Number(label="Focus y", info="pixels from the top", precision=0, placeholder="main subject")
        save = gr.Button("Full resolution")
        result = gr.Image(label="Result", format="png", interactive=False, elem_id="result")

        # the viewfinder's value is what shall be sharp; whatever changes makes a new picture, the last one wins
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        work = {"concurrency_id": "gpu", "trigger_mode": "always_last", **quiet}
        upload.change(open_photo, upload, [scene, view, upload], preprocess=False, **work)
        gr.on([view.change, aperture.change], look, [scene, view, aperture], view, **work)
        save.click(develop, [scene, view, aperture], result, concurrency_id="gpu", api_visibility="private")
        # within the browser: the fields follow the clicks, and the other way round
        view.change(None, view, [x, y], js="v => v?.point ?? [null, null]")
        gr.on([x.input, y.input], None, [view, x, y], view, js=TYPED)
    return page


# both fields empty is the main subject, one empty a point being typed
TYPED = "(v, x, y) => !v || (x === null) !== (y === null) ? v : {id: v.id, point: x === null ? null : [x, y]}"


def warn(sentence: str) -> None:
    """Say it on the page, which would take it for HTML."""
    gr.Warning(html.escape(sentence, quote=False))
