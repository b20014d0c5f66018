"""What the aperture ring says: the f-number, and the blur that it makes of this photo."""

import gradio as gr

from ..optics import MAX_APERTURE, NOMINAL
from .scene import STOPS, Scene

HTML = """${(() => {
    const stop = stops[value || 0], radius = widest / stop;
    const told = radius <= most ? `blur radius ${radius.toFixed(1)}`
        : `f/${Math.ceil(widest / most * 100) / 100} or narrower here`;
    return `<b>f/${stop}</b><span class="dim">${camera}</span><span class="dim">${told}</span>`;
})()}"""
# what a screen reader says of the slider: the stop, not its number
SPOKEN = """const say = () => {
    const ring = document.querySelector("#stop input[type=range]");
    if (!ring) return setTimeout(say, 100);
    const told = [...element.querySelectorAll("b, span")].map(part => part.innerText.trim()).filter(Boolean);
    ring.setAttribute("aria-valuetext", told.join(", "));
};
for (const name of ["value", "widest", "camera"]) watch(name, () => setTimeout(say));
setTimeout(say);"""


def readout(stop: int) -> gr.HTML:
    """The component; its value counts STOPS."""
    told = {"stops": STOPS, "most": MAX_APERTURE, "widest": NOMINAL, "camera": ""}
    return gr.HTML(value=stop, html_template=HTML, js_on_load=SPOKEN, elem_id="readout", **told)


def readout_props(scene: Scene) -> dict:
    """The update that says what an f-number means for a photo: of the calibrated lens, or nominally."""
    found = scene.photo.calibration
    return gr.update(widest=scene.widest, camera=f"{found.camera.focal_length_mm:.0f} mm lens" if found else "")
