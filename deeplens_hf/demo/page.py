"""The page: what is on it, and what happens when. What it does is in `studio`."""

import json
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from ..files.results import SUFFIXES
from ..model import DeepLens
from ..rack_focus import EASINGS, LONGEST
from .api import add_api
from .browser import (
    AT_REST,
    BLADES_SHOWN,
    BRUSH_CHOSEN,
    BRUSH_SHOWN,
    CAMERA_OFF,
    CHOSEN,
    EMPTIED,
    ENDS_SHOWN,
    FAR_MOVED,
    FETCH,
    FILM_CUT,
    HANDED_OVER,
    LENS_SET,
    LOADED,
    NEAR_MOVED,
    NOT_BUSY,
    OPENING,
    PANEL_SHOWN,
    POINT_LEFT,
    POINT_TYPED,
    SAVING,
    WISH_SHOWN,
)
from .checks import check_opening
from .films import ENDS, PLANES
from .readout import readout
from .retouch import RADII
from .scene import ROUND, STOPS
from .studio import MEANS, OWN, PHONE, PREDICTED, Studio
from .viewfinder import viewfinder

IDLE = 30 * 60  # seconds after which an unused photo and its disparity are forgotten
WAITING = 100  # jobs that may wait; who comes then is told so
STROKES = ["nearer", "farther", ("depth of the focus point", "copy")]
TITLE = """# DeepLens
Shallow depth of field for any photo. Drop one in, then click what shall be sharp."""


def build_demo(
    model: DeepLens, examples: Sequence[Path] = (), credits: str = "", depth_models: Sequence[str] = ()
) -> gr.Blocks:
    """The page, ready to launch: `build_demo(model).launch(**LAUNCH)`.

    Args:
        model: predicts the disparity, renders the result; on its device.
        examples: photos offered beside the upload box; the file names are their captions.
        credits: whose they are, in Markdown.
        depth_models: ids of depth-estimation models offered in place of the predicted depth.
    """
    studio = Studio(model, examples)
    private = {"api_visibility": "private"}
    quiet = {"show_progress": "hidden", **private}
    gpu = {"concurrency_id": "gpu", "concurrency_limit": 1, **private}
    reel = {"concurrency_id": "film", "concurrency_limit": 1, **private}  # takes turns with the rest: `Darkroom.film`
    at_focus = {"info": "pixels", "placeholder": "focus point", "precision": 0, "min_width": 100}
    of_point = {"placeholder": "main subject", "precision": 0, "min_width": 130}
    of_range = {"buttons": [], "min_width": 200, "step": 0.01}
    plain = {"buttons": [], "min_width": 230}
    of_exif = {"placeholder": "the EXIF's"}

    with gr.Blocks(title="DeepLens", analytics_enabled=False, delete_cache=(IDLE, IDLE)) as page:
        scene = gr.State(time_to_live=IDLE)
        comparing = gr.State(False)
        cut = gr.State()  # the flag of the film under way
        asked = gr.Textbox(visible="hidden")  # its name as asked for: states are read once a job's turn comes
        chosen = gr.State()  # the example
        gr.Markdown(TITLE, elem_id="title")
        note = gr.Markdown(visible=False, elem_id="note")
        with gr.Row(equal_height=False):
            upload = gr.Image(
                label="Photo", sources=["upload", "clipboard", "webcam"], height=150, buttons=[], elem_id="upload",
                min_width=280, scale=2, placeholder="Drop, paste or click",
            )  # fmt: skip
            captions = [(str(path), path.stem.replace("_", " ").capitalize()) for path in examples]
            gallery = gr.Gallery(
                captions, label="Examples", show_label=False, columns=len(captions) or None, height=150,
                allow_preview=False, object_fit="cover", buttons=[], interactive=False, elem_id="examples",
                min_width=280, scale=5, visible=bool(captions),
            )  # fmt: skip
        with gr.Column(elem_classes="studio"):
            view = viewfinder()
            with gr.Row(elem_id="aperture"):
                says = readout(15)
                stop = gr.Slider(
                    0, len(STOPS) - 1, 15, step=1, label="Aperture", show_label=False, container=False, buttons=[],
                    elem_id="stop", scale=5, min_width=150,
                )  # fmt: skip
                save = gr.Button("Save full resolution", variant="primary", scale=1, min_width=190, elem_id="save")
            with gr.Tabs() as tabs:
                with gr.Tab("Focus", elem_id="focus"), gr.Row(equal_height=True):
                    with gr.Row(equal_height=True, elem_id="point"):
                        x = gr.Number(label="Focus x", info="pixels from the left", **of_point)
                        y = gr.Number(label="Focus y", info="pixels from the top", **of_point)
                    with gr.Row(equal_height=True, elem_id="ends"):
                        far = gr.Slider(0, 1, 0, label="Sharp from", info="0 is the farthest", **of_range)
                        near = gr.Slider(0, 1, 1, label="Sharp to", info="1 is the nearest", **of_range)
                with gr.Tab("Lens", elem_id="lens"):
                    with gr.Row():
                        blades = gr.Radio(
                            [ROUND, "5", "6", "7", "8", "9"], value=ROUND, label="Aperture blades", min_width=230,
                            scale=2,
                        )  # fmt: skip
                        roundness = gr.Slider(0, 1, 0, step=0.05, label="Rounded blades", interactive=False, **plain)
                        rotation = gr.Slider(0, 72, 0, step=1, label="Turned by (degrees)", interactive=False, **plain)
                    with gr.Row():
                        ring = gr.Slider(0, 0.9, 0, step=0.05, label="Mirror ring", **plain)
                        cat_eye = gr.Slider(0, 1, 0, step=0.05, label="Cat's eye in the corners", **plain)
                        highlights = gr.Slider(0, 2, 1, step=0.1, label="Glow of lights", **plain)
                        grain = gr.Slider(0, 2, 0, step=0.1, label="Grain of the photo", **plain)
                with gr.Tab("Before / after"):
                    slider = gr.ImageSlider(
                        show_label=False, type="pil", format="jpeg", interactive=False,
                        buttons=["fullscreen"], elem_id="compare",
                    )  # fmt: skip
                with gr.Tab("Rack focus"), gr.Row(equal_height=False):
                    with gr.Column(scale=2, min_width=280):
                        with gr.Row():
                            start = gr.Textbox(label="From", info=PLANES, value=ENDS[0], min_width=130)
                            end = gr.Textbox(label="To", info=PLANES, value=ENDS[1], min_width=130)
                        with gr.Row():
                            start_here = gr.Button("From the focus point", size="sm", min_width=130)
                            end_here = gr.Button("To the focus point", size="sm", min_width=130)
                        with gr.Row():
                            seconds = gr.Slider(0.5, LONGEST, 2, step=0.5, label="Seconds", buttons=[], min_width=130)
                            easing = gr.Dropdown(list(EASINGS), value="smooth", label="Movement", min_width=130)
                        with gr.Row():
                            roll = gr.Button("Make the film", variant="primary", min_width=130)
                            cancel = gr.Button("Cancel", variant="stop", min_width=130)
                    with gr.Column(scale=3, min_width=280):
                        film = gr.Video(
                            label="Rack focus", autoplay=True, loop=True, buttons=[], elem_id="film", height=330
                        )
                        reels = gr.File(
                            label="MP4 and animated WebP", file_count="multiple", visible=False, interactive=False,
                            elem_id="reels",
                        )  # fmt: skip
                with gr.Tab("Depth", elem_id="depth"), gr.Row(equal_height=False):
                    with gr.Column(min_width=260):
                        source = gr.Dropdown(
                            [PREDICTED, PHONE, OWN, *depth_models], value=PREDICTED, label="Depth from",
                            info="a phone's portrait photo brings its own",
                        )  # fmt: skip
                        own = gr.File(label="My depth map", file_types=["image", ".npy"], height=140, elem_id="own")
                        sense = gr.Radio([*MEANS], value="near", label="In my depth map, white is")
                    with gr.Column(min_width=260):
                        kind = gr.Dropdown(STROKES, value="nearer", label="Depth brush paints")
                        with gr.Row():
                            paint_x = gr.Number(label="Paint at x", **at_focus)
                            paint_y = gr.Number(label="Paint at y", **at_focus)
                        radius = gr.Slider(*RADII, 0.05, step=0.01, label="Brush size", buttons=[])
                        with gr.Row():
                            paint = gr.Button("Paint", min_width=80)
                            undo = gr.Button("Undo stroke", min_width=80)
                    with gr.Column(min_width=260):
                        metres = gr.Number(
                            label="Focus point is at", info="metres: makes f-numbers real; empty: nominal"
                        )
                        with gr.Row():
                            focal = gr.Number(label="Focal length", info="mm", min_width=100, **of_exif)
                            sensor = gr.Number(label="Sensor width", info="mm", min_width=100, **of_exif)
                        calibrate = gr.Button("Calibrate", min_width=80)
                with gr.Tab("Save"), gr.Row(equal_height=False):
                    encoding = gr.Radio(list(SUFFIXES), value="JPEG", label="Format", min_width=330)
                    with gr.Column(min_width=330):
                        place = gr.Checkbox(False, label="Keep the GPS position", info="where the photo was taken")
                        save_depth = gr.Button("Save depth map (16-bit PNG)", elem_id="save-depth")

        if credits:
            with gr.Accordion("About the examples", open=False):
                gr.Markdown(credits)
        lens = [stop, blades, roundness, rotation, ring, cat_eye, highlights, grain]

        # a photo comes in, or its depth changes: a new scene; the viewfinder answers it with a new wish
        made = [scene, view, source, says]
        fresh = [film, reels, start, end, paint_x, paint_y, metres, focal, sensor]
        raw = {"preprocess": False}  # the file as it came, not decoded by gradio
        # gradio drops what comes while another is at work, and the emptied box itself waits for its turn at the GPU
        every = {"trigger_mode": "multiple"}
        admitted = upload.change(
            studio.admit, upload, None, js=HANDED_OVER, concurrency_limit=None, **every, **raw, **quiet
        )
        admitted.failure(None, None, upload, js="() => null")
        # whoever calls the listener past `admit` meets its validator, whose refusals browsers log as errors
        opening = {"validator": check_opening, "show_progress_on": upload, "js": OPENING, **every, **raw, **gpu}
        opened = admitted.success(studio.open_upload, [upload, cut], [*made, *fresh, gallery], **opening)
        opened.then(None, upload, upload, js=EMPTIED).then(None, js=CAMERA_OFF)
        page.load(None, None, [paint_x, paint_y, metres, focal, sensor, note], js=LOADED)
        # by way of a state: a listener of select that is to run once more would see the first choice again
        gallery.select(studio.choose, None, chosen, js=CHOSEN, trigger_mode="multiple", **quiet)
        latest = {"trigger_mode": "always_last", "show_progress_on": gallery}
        chosen.change(studio.open_example, [chosen, cut], [*made, *fresh], **latest, **gpu)
        # `change`: its `input` fires twice a click, its `select` not for the keyboard
        source.change(studio.swap_depth, [scene, source, sense], made, show_progress_on=source, **gpu)
        own.upload(studio.own_depth, [scene, own, sense], [*made, own], show_progress_on=own, **every, **gpu)
        sense.input(studio.turn_depth, [scene, sense], made, trigger_mode="always_last", show_progress_on=source, **gpu)
        # what makes a scene takes its turn: two at once would start from the same one, and the last to end would win
        each = {**every, **gpu, "show_progress": "hidden"}
        view.stroke(studio.stroke, [scene, view], made, **each)
        paint.click(studio.paint, [scene, view, kind, radius, paint_x, paint_y], made, **each)
        gr.on([undo.click, view.undo], studio.undo, [scene, view], made, **each)
        calibrate.click(studio.calibrate, [scene, view, metres, focal, sensor], made, **each)

        # within the browser: the fields follow the clicks, and the other way round; these come first, since gradio runs
        # the listeners of an event one after the other: they would wait for the picture
        view.change(None, [view, x, y, far, near], [x, y, far, near], js=WISH_SHOWN)
        stop.change(None, stop, says, js="stop => stop")
        gr.on([x.input, y.input], None, [view, x, y], view, js=POINT_TYPED)
        gr.on([x.blur, y.blur], None, [x, y], [x, y], js=POINT_LEFT)
        far.input(None, [view, far, near], [view, far], js=FAR_MOVED)
        near.input(None, [view, far, near], [view, near], js=NEAR_MOVED)
        gr.on([far.release, near.release], None, [far, near], [far, near], js=ENDS_SHOWN)
        view.brush(None, None, [kind, radius], js=BRUSH_CHOSEN)
        gr.on([kind.input, radius.input], None, [kind, radius], js=BRUSH_SHOWN)
        blades.change(None, blades, [roundness, rotation], js=BLADES_SHOWN)
        tabs.select(None, js=PANEL_SHOWN)

        # the viewfinder's value is what shall be sharp; whatever changes makes a new picture, the last one wins
        shot = [scene, view, comparing, *lens]
        changes = [view.change, *(control.change for control in lens)]
        seen = [view, slider, scene]  # given back as it was: it is forgotten once none did so for long
        ranges = [[each.minimum, each.maximum] if isinstance(each, gr.Slider) else None for each in lens]
        last = {"trigger_mode": "always_last", "show_progress": "hidden"}
        looking = {"js": LENS_SET.replace("RANGES", json.dumps(ranges)), **last, **gpu}
        looked = gr.on(changes, studio.look, shot, seen, **looking)
        looked.failure(None, js=NOT_BUSY)
        looked.success(None, [far, near], [far, near], js=ENDS_SHOWN)
        gr.on([x.input, y.input], studio.judge, [scene, x, y], None, concurrency_limit=None, **last, **private)
        tabs.select(studio.compare, [scene, view, *lens], [comparing, slider], trigger_mode="multiple", **gpu)

        # files to take away
        for button, function, inputs in (
            (save, studio.save, [scene, view, encoding, place, *lens]),
            (save_depth, studio.save_depth, [scene, view]),
        ):
            # one for each: of two files that are there together the second would take the first one's place
            ready = gr.DownloadButton("ready", visible="hidden", elem_id=f"ready-{function.__name__}")
            at_rest = AT_REST.replace("ID", button.elem_id).replace("LABEL", button.value)
            button.click(None, None, button, js=SAVING)
            taken = button.click(function, inputs, ready, show_progress="hidden", **gpu)
            taken.success(None, js=FETCH.replace("NAME", function.__name__))
            for ended in (taken.success, taken.failure):  # nothing comes `then` after an error
                ended(None, None, button, js=at_rest)
        for button, text in ((start_here, start), (end_here, end)):  # without a queue nothing can be said
            button.click(studio.films.film_end, view, text, concurrency_limit=None, **quiet)
        for button, cutting in ((roll, "false"), (cancel, "true")):
            button.click(None, js=FILM_CUT.format(cutting))
        films = studio.films
        rolling = roll.click(films.roll, cut, [cut, asked], queue=False, **quiet)
        anew = {"trigger_mode": "multiple", "show_progress_on": film, **reel}  # pressed again, the film before ends
        rolling.success(films.film, [scene, cut, asked, start, end, seconds, easing, *lens], [film, reels], **anew)
        cancel.click(films.cancel, cut, None, queue=False, **quiet)  # gradio's `cancels` now and then ends in "Error"
        add_api(studio.darkroom)
    page.queue(max_size=WAITING)
    return page
