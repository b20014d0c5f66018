"""How many photos are kept at once: beyond that, the one left alone longest is forgotten."""

from threading import Lock
from weakref import WeakValueDictionary

from .scene import Scene

MOST = 32  # one of 12 megapixels takes 140 to 275 MB


class Shelf:
    """The scenes in use, the last used last; those that nobody has any more leave it by themselves."""

    def __init__(self, most: int = MOST):
        self.most, self._scenes, self._lock = most, WeakValueDictionary(), Lock()

    def keep(self, scene: Scene) -> None:
        """It is used just now."""
        with self._lock:
            self._scenes.pop(scene.id, None)
            self._scenes[scene.id] = scene
            for oldest in list(self._scenes.values())[: -self.most]:
                self._scenes.pop(oldest.id).forget()
