"""The viewfinder: result and depth map, both clickable. What happens in the browser is in viewfinder.js."""

import base64
from io import BytesIO
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from ..pictures import colour_disparity

HERE = Path(__file__).parent


def viewfinder() -> gr.HTML:
    """The component: its value is what shall be sharp, see `viewfinder.js`; `scene_props` and `shot_props` feed it."""
    return gr.HTML(
        value=None,
        html_template=(HERE / "viewfinder.html").read_text(),
        css_template=(HERE / "viewfinder.css").read_text(),
        js_on_load=(HERE / "viewfinder.js").read_text(),
        apply_default_css=False,
        elem_id="viewfinder",
        scene=None,
        shot=None,
    )


def scene_props(name: str, size: tuple[int, int], photo: Image.Image, disparity: np.ndarray) -> dict:
    """What the viewfinder needs of a photo just opened.

    Args:
        name: of the scene, unlike any other.
        size: (width, height) of the photo, which points are measured in.
        photo: a copy at the size of the screen.
        disparity: (h, w) in [0, 1], of that copy.
    """
    levels = Image.fromarray((disparity * 255).round().astype(np.uint8))
    return {
        "id": name,
        "size": list(size),
        "photo": data_url(photo),
        "depth": data_url(colour_disparity(disparity)),
        "disparity": data_url(levels, "PNG"),
    }


def shot_props(wish: dict, picture: Image.Image, focus: tuple[float, float]) -> dict:
    """What it needs of a picture just taken for `wish`: in it all between the disparities `focus` is sharp."""
    return {"wish": wish, "picture": data_url(picture), "focus": list(focus)}


def data_url(picture: Image.Image, encoding: str = "JPEG") -> str:
    """The picture within its own address: nothing is left on the server's disk."""
    file = BytesIO()
    picture.save(file, encoding, **({"quality": 90} if encoding == "JPEG" else {"compress_level": 3}))
    return f"data:image/{encoding.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
