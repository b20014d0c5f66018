"""Films of a rack focus: what starts them, what ends them early, and how they are made."""

import uuid
from collections.abc import Iterator
from threading import Event
from typing import Any

import gradio as gr
import numpy as np

from ..files.pictures import PhotoError
from ..rack_focus import SIDE, focus_path, write_mp4, write_webp
from .answers import SKIP, present
from .darkroom import Darkroom
from .files import file_to_take, warn
from .scene import Scene

PLANES = "x, y, or near, far, subject"
FPS = 24
ENDS = ("subject", "far")  # of a film, unless others are chosen


class Cut(Event):
    """Ends a film once it is set, the one that is called so."""

    def __init__(self) -> None:
        super().__init__()
        self.film = uuid.uuid4().hex


class Films:
    """The listeners of the tab "Rack focus"."""

    def __init__(self, darkroom: Darkroom):
        self.darkroom = darkroom

    @staticmethod
    def film_end(wish: dict | None) -> str | dict:
        """The focus point, as `_plane` reads it; what is there stays while a range is sharp, which has none."""
        if wish and wish.get("range"):
            gr.Info("A film starts and ends at a point: click one first.")
            return SKIP
        point = (wish or {}).get("point")
        return ", ".join(map(str, point)) if point else "subject"

    @classmethod
    def roll(cls, cut: Cut | None) -> tuple[Cut, str]:
        """A flag for a film: once set, that film ends at its next frame, or before its first. The one before ends."""
        cls.cancel(cut)
        cut = Cut()
        return cut, cut.film

    @staticmethod
    def cancel(cut: Cut | None) -> None:
        """Set the flag of the film under way, if there is one."""
        if cut is not None:
            cut.set()

    def film(
        self, scene: Scene | None, cut: Cut, asked: str, start: str, end: str, seconds: float, easing: str, *lens: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  that is how gradio finds it
    ) -> Iterator[tuple]:  # fmt: skip
        """A rack focus; a step a frame, so that it can end between any two."""
        yield SKIP, SKIP  # one that yields nothing empties what was there
        if cut.film != asked or cut.is_set() or not present(scene):  # another was asked for while it waited, or none
            return
        try:
            ends = [self._plane(scene, text) for text in (start, end)]
            planes, frames = focus_path(*ends, seconds, easing, FPS), []
            for frame in self.darkroom.film(scene.photo.reduced(SIDE), planes, scene.lens(*lens)):
                if cut.is_set():
                    return
                frames.append(frame)
                progress((len(frames), len(planes)), desc="Rendering", unit="frames")
                yield SKIP, SKIP  # whoever has left the page ends the film here
        except ValueError as error:
            warn(error)
            return
        progress(1.0, desc="Encoding")
        mp4, webp = (file_to_take(scene.name, f"_rack_focus{suffix}") for suffix in (".mp4", ".webp"))
        write_mp4(frames, mp4, FPS)
        write_webp(frames, webp, FPS)
        if not cut.is_set():  # nor is another photo here by now
            yield str(mp4), gr.update(value=[str(mp4), str(webp)], visible=True)

    @staticmethod
    def _plane(scene: Scene, text: str) -> tuple[float, float]:
        """What is sharp at one end of a film: near, far, subject, or x, y."""
        name = text.strip().lower()
        if name in ("near", "far"):  # the nearest thing and the farthest, not beyond them
            end = float((np.max if name == "near" else np.min)(scene.photo.disparity))
            return end, end
        if name in ("subject", ""):
            return scene.photo.subject_range()
        try:
            x, y = (float(part) for part in name.split(","))
        except ValueError:
            raise PhotoError(f"A film cannot start or end at “{text}”. Please say {PLANES}.") from None
        return scene.photo.focus_range((x, y))
