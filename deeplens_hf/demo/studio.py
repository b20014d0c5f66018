"""What the page does, one method a listener. A fault of the visitor's becomes a sentence on the page, nothing else."""

import contextlib
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ..disparity.phone_depth import read_embedded
from ..files.pictures import PhotoError
from ..files.results import SUFFIXES, save_result
from ..files.writing import save_disparity
from ..inputs import check_point
from ..model import DeepLens
from ..optics import MAX_APERTURE
from .answers import GONE, SKIP, changed, made, meant, needed, present, unchanged
from .checks import check_file, check_map
from .darkroom import Darkroom
from .files import file_to_take, refusal, warn
from .films import ENDS, Cut, Films
from .retouch import check_stroke, retouch
from .scene import STOPS, Scene
from .shelf import Shelf
from .viewfinder import calm_props, shot_props

NO_MAP = "There is no depth map of yours yet. Please give one beside, under “My depth map”."
TOO_NEAR = (
    f"So near, this lens would blur more than can be shown even at f/{STOPS[0]}. "
    "Please check distance and focal length."
)
NEARLY_FLAT = "Seen from above, as it seems: hardly anything is nearer than the rest, so little of it blurs."
DISTANCES = "far, true distances"
PREDICTED, PHONE, OWN = "predicted", "the phone", "my depth map"
DEPTHS = {PREDICTED: None, PHONE: "embedded"}  # as `photo.open_photo` takes them
MEANS = {"near": "disparity", "far": "inverted", DISTANCES: "depth"}  # the same, by what is white
UNDOABLE = 50  # strokes that can be taken back: all before are made again each time
# what belonged to the photo before: film, its files, its ends; place of the brush; distance, focal length, sensor width
FRESH = (None, gr.update(value=None, visible=False), *ENDS, None, None, None, None, None)


class Studio:
    """The functions behind the controls; what a visitor has open comes and goes as a Scene.

    Those that make a scene return it with what the viewfinder shows of it, the name of its source of depth, and what
    its f-numbers mean.
    """

    def __init__(self, model: DeepLens, examples: Sequence[Path]):
        self.darkroom, self.examples, self.shelf = Darkroom(model), examples, Shelf()
        self.films = Films(self.darkroom)

    # a photo comes in

    @staticmethod
    def admit(file: dict | None) -> None:
        """Refuses what is no photo, or too large, without waiting for a GPU."""
        answer = check_file(file)
        if not answer["is_valid"]:
            raise refusal(answer["message"])

    def open_upload(self, file: dict | None, cut: Cut | None) -> tuple:
        """The uploaded file as it came; no example stays outlined."""
        if file is None:  # emptied just now
            return (SKIP,) * (5 + len(FRESH))
        return *self._open(file["path"], file["orig_name"] or "photo", cut), gr.update(selected_index=-1)

    @staticmethod
    def choose(event: gr.SelectData) -> tuple[int, str]:
        """Which example, and something new each time: the same one can be chosen again."""
        return event.index, uuid.uuid4().hex

    def open_example(self, chosen: tuple[int, str], cut: Cut | None) -> tuple:
        """One of the examples."""
        path = self.examples[chosen[0]]
        return self._open(str(path), path.name, cut)

    def _open(self, path: str, name: str, cut: Cut | None) -> tuple:
        """With the depth that a phone stored in it, else the predicted one; the film under way ends."""
        try:
            try:
                read_embedded(path)
                source = PHONE
            except PhotoError:
                source = PREDICTED
            photo = self.darkroom.open(path, DEPTHS[source])
        except ValueError as error:
            warn(error)
            return *unchanged(None), *[SKIP] * len(FRESH)
        self.films.cancel(cut)
        scene = Scene(Path(name).stem, photo, source, path, uuid.uuid4().hex, photo.disparity)
        self.shelf.keep(scene)
        if scene.nearly_flat:
            gr.Info(NEARLY_FLAT, duration=6)  # it covers tools of a phone
        return *made(scene), *FRESH

    # its depth changes

    def swap_depth(self, scene: Scene | None, source: str, white: str) -> tuple:
        """Predicted, the phone's, one's own, or that of another depth model; nothing if it is what the scene has."""
        if scene and source == scene.source:  # shown by `made`, not chosen
            return (SKIP,) * 4
        if source != OWN:
            return self._reopen(scene, source, DEPTHS.get(source, source))
        if scene and not scene.own:
            warn(NO_MAP)
            return unchanged(scene)
        return self._reopen(scene, OWN, scene and scene.own, white)

    def own_depth(self, scene: Scene | None, path: str, white: str) -> tuple:
        """The visitor's own depth map; `white` is near or far. The box is emptied for the next one."""
        try:
            check_map(path)
        except PhotoError as error:
            warn(error)
            return *unchanged(scene), None
        return *self._reopen(scene, OWN, path, white), None

    def turn_depth(self, scene: Scene | None, white: str) -> tuple:
        """The same map, white being near or far now; nothing if the scene's depth is another."""
        if not scene or scene.source != OWN:
            return (SKIP,) * 4
        return self._reopen(scene, OWN, scene.own, white)

    def _reopen(self, scene: Scene | None, source: str, disparity: str | None, white: str | None = None) -> tuple:
        if not present(scene):
            return unchanged(scene)
        if not Path(scene.path).exists() or (source == OWN and not Path(disparity).exists()):  # left alone for too long
            warn(GONE)
            return unchanged(scene)
        try:
            photo = self.darkroom.open(scene.path, disparity, MEANS.get(white))
        except ValueError as error:
            warn(error)
            return unchanged(scene)
        if scene.photo.calibration:
            gr.Info("f-numbers are nominal again: the distance you gave was of the depth before.")
        own = disparity if source == OWN else scene.own
        return made(Scene(scene.name, photo, source, scene.path, scene.file, photo.disparity, own=own))

    def stroke(self, scene: Scene | None, wish: dict | None, event: gr.EventData) -> tuple:
        """One stroke of the depth brush, drawn in the viewfinder."""
        return self._retouched(scene, wish, event._data)

    def paint(
        self, scene: Scene | None, wish: dict | None, kind: str, radius: float, x: float | None, y: float | None
    ) -> tuple:
        """A dab of it at (x, y), or without these at the focus point, by keyboard."""
        point = (wish or {}).get("point") if x is None and y is None else (x, y)
        if not meant(scene, wish):
            return unchanged(scene)
        try:
            if point is None:
                raise PhotoError("Choose a focus point first, or say where to paint: the brush needs a place.")
            scene.photo.focus_at(point)
        except ValueError as error:
            warn(error)
            return unchanged(scene)
        return self._retouched(scene, wish, {"kind": kind, "radius": radius, "points": [point]})

    def undo(self, scene: Scene | None, wish: dict | None) -> tuple:
        """Take the last stroke back."""
        if not meant(scene, wish) or not scene.strokes:
            return unchanged(scene)
        strokes = scene.strokes[:-1]
        photo = scene.photo.corrected(retouch(scene.untouched, strokes))
        return changed(scene, photo=photo, strokes=strokes)

    def _retouched(self, scene: Scene | None, wish: dict | None, stroke: dict | None) -> tuple:
        if not meant(scene, wish) or not stroke:
            return unchanged(scene)
        try:
            check_stroke(stroke)
            level = sum(scene.focus(wish)) / 2 if stroke["kind"] == "copy" else 0.0
        except ValueError as error:
            warn(error)
            return unchanged(scene)
        stroke = {name: stroke[name] for name in ("kind", "radius", "points")} | {"level": level}
        photo = scene.photo.corrected(retouch(scene.photo.disparity, (stroke,)))
        strokes, untouched = (*scene.strokes, stroke), scene.untouched
        if len(strokes) > UNDOABLE:
            strokes, untouched = strokes[1:], retouch(untouched, strokes[:1])
        return changed(scene, photo=photo, strokes=strokes, untouched=untouched)

    def calibrate(
        self, scene: Scene | None, wish: dict | None, metres: float | None, focal: float | None, sensor: float | None
    ) -> tuple:
        """A known distance at the focus point makes f-numbers those of a real lens; no distance, nominal ones again."""
        if not meant(scene, wish):
            return unchanged(scene)
        point = (wish or {}).get("point")
        try:
            if metres and not point:
                raise PhotoError("Choose a focus point first: the distance is that of what lies there.")
            photo = scene.photo.corrected(scene.photo.disparity)
            photo.calibration = None
            if not metres and photo.dioptres is None:
                gr.Info("f-numbers are nominal: they are real once a distance is given.")
                return changed(scene, photo=photo)
            found = photo.calibrate([(point, metres)] if metres else (), focal or None, sensor or None)
            if found.aperture(STOPS[0]) > MAX_APERTURE:
                raise PhotoError(TOO_NEAR)
        except ValueError as error:
            warn(error)
            return unchanged(scene)
        gr.Info(f"f-numbers are real now, those of a {found.camera.focal_length_mm:.0f} mm lens.")
        return changed(scene, photo=photo)

    # pictures to look at

    @staticmethod
    def judge(scene: Scene | None, x: int | None, y: int | None) -> None:
        """Says so if a point being typed lies outside the photo; the one before stays."""
        if scene and scene.photo and x is not None and y is not None:
            try:
                check_point((x, y), scene.photo.size)
            except PhotoError as error:
                warn(error)

    def look(self, scene: Scene | None, wish: dict | None, comparing: bool, *lens: Any) -> tuple:
        """The photo through the lens at the size of the screen; original and result, if compared.

        The scene as well, as it was: in use, its photo and its files are kept.
        """
        if not wish or not present(scene) or wish["id"] != scene.id:
            return calm_props(), SKIP, SKIP
        self.shelf.keep(scene)
        self._keep_files(scene)
        try:
            focus = scene.focus(wish)
            picture = self.darkroom.look(scene.preview, focus, scene.lens(*lens))
        except ValueError as error:
            warn(error)
            return calm_props(), SKIP, scene  # what was there stays
        # as an update: gradio never deletes the files of what comes without one after an update, as SKIP is
        pair = gr.update(value=(scene.preview.picture, picture)) if comparing else SKIP
        return shot_props(wish, picture, focus), pair, scene

    def _keep_files(self, scene: Scene) -> None:
        """Those of a scene in use: gradio deletes what was not touched for as long as a photo is kept."""
        for path in filter(None, (scene.path, scene.own)):
            if Path(path) not in self.examples:
                with contextlib.suppress(OSError):  # gone already: `_reopen` says so
                    os.utime(path)

    def compare(self, event: gr.SelectData, scene: Scene | None, wish: dict | None, *lens: Any) -> tuple:
        """A tab was opened: whether it is the one with the original beside the result, and both then."""
        comparing = event.value == "Before / after" and scene is not None
        return comparing, self.look(scene, wish, True, *lens)[1] if comparing else SKIP

    # files to take away

    def save(self, scene: Scene | None, wish: dict | None, encoding: str, place: bool, *lens: Any) -> str:
        """The photo through the lens, at its own size."""
        scene = needed(scene, wish)
        try:
            rendered = self.darkroom.develop(scene.photo, scene.focus(wish), scene.lens(*lens))
        except ValueError as error:
            raise refusal(error) from None
        path = file_to_take(scene.name, f"_refocused{SUFFIXES[encoding]}")
        save_result(rendered, scene.photo.picture, path, place)
        return str(path)

    def save_depth(self, scene: Scene | None, wish: dict | None) -> str:
        """The disparity at the photo's size, 16 bits."""
        scene = needed(scene, wish)
        path = file_to_take(scene.name, "_depth.png")
        save_disparity(scene.photo.disparity, path, scene.photo.dioptres)
        return str(path)
