"""Scenes with exact depth for the depth stage; what costs much to draw is kept on disk."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data import PhotoRecord
from .drawn import kept_whole
from .planes import plane_scene
from .rendered import RenderedScenes
from .tabletop import tabletop_scene


class ExactScenes:
    """Scene i of a kind -> picture (S, S, 3) and disparity (S, S), both uint8; a pure function of (seed, i, photos).

    `tabletop`: solids seen by a pinhole camera. `layered`: cut-outs, hair, foliage and fences before one another with
    everything in focus; they are those of the render stage, which finds them in the same `cache`. `plane`: flat ones.
    `lit`: the files of a folder that `blender_depth` has filled, of any shape (H, W); ValueError if none are in it.
    """

    def __init__(self, records: list[PhotoRecord], cache: Path, seed: int, size: int = 320, lit: Path | None = None):
        self.cache, self.seed, self.size = cache, seed, size
        self.traced = RenderedScenes(records, cache, 1, 1, seed)
        self.files = sorted(lit.glob("lit-*-?????.npz")) if lit else []
        if lit and not self.files:
            raise ValueError(f"lit: no scenes with depth in {lit}")

    def tabletop(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        file = self.cache / f"tabletop-{self.traced.drawn_with}{self.seed}-{self.size}-{index:05d}.npz"
        if not file.exists():
            drawn = tabletop_scene(self.seed * 1_000_000 + index, self.size, self.traced.photos, self.traced.masks)
            image, disparity = _bytes(*drawn)
            with kept_whole(file) as part:
                np.savez_compressed(part, image=image, disparity=disparity)
        with np.load(file) as kept:
            return kept["image"], kept["disparity"]

    def layered(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        scene = self.traced.scene(index)
        image = (scene.image * 255).round().byte().permute(1, 2, 0).numpy()  # (S, S, 3)
        return image, (scene.disparity[0] * 255).round().byte().numpy()

    def plane(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        drawn = plane_scene(self.seed * 1_000_000 + index, self.size * 3 // 4, self.traced.photos, self.traced.masks)
        return _bytes(*drawn)

    def lit(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        with np.load(self.files[index]) as kept:
            return kept["image"], kept["disparity"]


def _bytes(image: NDArray, disparity: NDArray) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return tuple((values * 255).round().astype(np.uint8) for values in (image, disparity))
