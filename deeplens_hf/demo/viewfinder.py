"""The viewfinder: result and depth map, both clickable. What happens in the browser is in viewfinder.js.

With it come arrival.js, by which photos come to the page from anywhere, and fingers.js, for whoever scrolls with them.
"""

import base64
import uuid
from io import BytesIO
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from ..files.writing import colour_disparity
from .scene import Scene

HERE = Path(__file__).parent


def viewfinder() -> gr.HTML:
    """The component: its value is what shall be sharp, see `viewfinder.js`; `scene_props` and `shot_props` feed it."""
    scripts = [(HERE / name).read_text(encoding="utf-8") for name in ("viewfinder.js", "arrival.js", "fingers.js")]
    return gr.HTML(
        value=None,
        html_template=(HERE / "viewfinder.html").read_text(encoding="utf-8"),
        css_template=(HERE / "viewfinder.css").read_text(encoding="utf-8"),
        js_on_load="".join(scripts),
        apply_default_css=False,
        elem_id="viewfinder",
        scene=None,
        shot=None,
        calm=None,
    )


def scene_props(scene: Scene) -> dict:
    """The update that shows a scene just made."""
    shown = scene.preview
    levels = Image.fromarray((shown.disparity * 255).round().astype(np.uint8))
    props = {
        "id": scene.id,
        "file": scene.file,
        "size": list(scene.photo.size),
        "strokes": len(scene.strokes),
        "photo": data_url(shown.picture),
        "depth": data_url(colour_disparity(shown.disparity)),
        "disparity": data_url(levels, "PNG"),
    }
    return gr.update(scene=props)


def shot_props(wish: dict, picture: Image.Image, focus: tuple[float, float]) -> dict:
    """The update that shows a picture just taken for `wish`: in it all between the disparities `focus` is sharp."""
    shot = {"wish": wish, "picture": data_url(picture), "focus": list(focus), "id": uuid.uuid4().hex}  # new, always
    return gr.update(shot=shot)


def calm_props() -> dict:
    """The update that says: nothing comes of what was asked for."""
    return gr.update(calm=uuid.uuid4().hex)


def data_url(picture: Image.Image, encoding: str = "JPEG") -> str:
    """The picture within its own address: nothing is left on the server's disk."""
    file = BytesIO()
    picture.save(file, encoding, **({"quality": 90} if encoding == "JPEG" else {"compress_level": 3}))
    return f"data:image/{encoding.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
