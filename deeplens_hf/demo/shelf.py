"""How many photos are kept at once: beyond that, the one left alone longest is forgotten."""

from threading import Lock
from weakref import WeakValueDictionary

from .scene import Scene

MOST = 32
MOST_PIXELS = 32 * 12_000_000  # of all of them: one of 12 megapixels takes 140 to 275 MB


class Shelf:
    """The scenes in use, the last used last; those that nobody has any more leave it by themselves."""

    def __init__(self, most: int = MOST, most_pixels: int = MOST_PIXELS):
        self.most, self.most_pixels = most, most_pixels
        self._scenes, self._lock = WeakValueDictionary(), Lock()

    def keep(self, scene: Scene) -> None:
        """It is used just now."""
        with self._lock:
            self._scenes.pop(scene.id, None)
            self._scenes[scene.id] = scene
            count, pixels = 0, 0
            for each in reversed(list(self._scenes.values())):
                count, pixels = count + 1, pixels + each.untouched.size
                if each is not scene and (count > self.most or pixels > self.most_pixels):
                    self._scenes.pop(each.id).forget()
