"""What many of the page's listeners answer alike: with a new scene, with nothing, or that the photo is not there."""

import dataclasses
import uuid
from typing import Any

from .files import refusal, warn
from .readout import readout_props
from .scene import Scene
from .viewfinder import calm_props, scene_props

GONE = (
    "There is no photo here any more: one left alone for half an hour is forgotten, and so are all when the page is "
    "started anew. Please open it again."
)
ANOTHER = "Another photo has come in the meantime. Please press Save again."
SKIP = {"__type__": "update"}


def made(scene: Scene) -> tuple:
    """A new scene, what the viewfinder shows of it, its source of depth, and what its f-numbers mean."""
    return scene, scene_props(scene), scene.source, readout_props(scene)


def changed(scene: Scene, **changes: Any) -> tuple:
    """`made` of the same photo with something else about it: another scene."""
    return made(dataclasses.replace(scene, **changes, id=uuid.uuid4().hex))


def unchanged(scene: Scene | None) -> tuple:
    """The same where nothing comes of a wish: the viewfinder is at rest again, the source what it was."""
    return SKIP, calm_props(), scene.source if scene else SKIP, SKIP


def present(scene: Scene | None) -> bool:
    """Whether there is a photo; says so if not."""
    there = scene is not None and scene.photo is not None
    if not there:
        warn(GONE)
    return there


def meant(scene: Scene | None, wish: dict | None) -> bool:
    """Whether there is a photo, and the one that was shown when this was wished for: another may have come since."""
    return present(scene) and (wish is None or wish.get("file") == scene.file)


def needed(scene: Scene | None, wish: dict | None) -> Scene:
    """The one that is there and meant, where nothing can be given without."""
    if scene is None or scene.photo is None:
        raise refusal(GONE)
    if not meant(scene, wish):
        raise refusal(ANOTHER)
    return scene
