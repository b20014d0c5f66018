"""Scenes with exact depth for the depth stage, each kept on disk so that it is drawn only once."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .data import PhotoRecord
from .scenes import random_scene
from .tabletop import tabletop_scene

KINDS = ("tabletop", "layered")


class ExactScenes:
    """Scene i of a kind -> picture (S, S, 3) and disparity (S, S), both uint8; a pure function of (seed, size, photos).

    "tabletop": solids seen by a pinhole camera (`tabletop`); "layered": cut-outs, hair, foliage and fences before one
    another, those of the render stage with everything in focus (`scenes`).
    """

    def __init__(self, records: Sequence[PhotoRecord], cache: Path, seed: int, size: int = 320):
        self.photos = [record.photo for record in records]
        self.masks = [record.foreground for record in records if record.foreground]
        self.cache, self.seed, self.size = cache, seed, size
        cache.mkdir(parents=True, exist_ok=True)

    def scene(self, kind: str, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """From the cache, else drawn and cached. Raises ValueError for an unknown kind."""
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
        file = self.cache / f"{kind}-{self.seed}-{self.size}-{index:05d}.npz"
        if not file.exists():
            image, disparity = self._draw(kind, self.seed * 1_000_000 + index)
            part = file.with_suffix(f".{os.getpid()}.part.npz")
            np.savez_compressed(part, image=image, disparity=disparity)
            os.replace(part, file)
        with np.load(file) as kept:
            return kept["image"], kept["disparity"]

    def _draw(self, kind: str, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        if kind == "tabletop":
            image, disparity = tabletop_scene(seed, self.size, self.photos, self.masks)
        else:  # one lens point: the blurred picture is not needed here
            scene = random_scene(seed, self.size, self.photos, self.masks, samples=1)
            image, disparity = scene.image.permute(1, 2, 0).numpy(), scene.disparity[0].numpy()
        return tuple((values * 255).round().astype(np.uint8) for values in (image, disparity))
