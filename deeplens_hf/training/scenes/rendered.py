"""Scenes traced on the fly for the render stage, each kept on disk so that it is traced only once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import PhotoRecord
from .drawn import DrawnScenes, ahead, kept_whole
from .layered import Scene, corrupt_disparity, random_scene

Held = TypeVar("Held")
FLAW_CHANCE = 0.5  # of samples that get a disparity as a network would predict it; the rest keep the true one


class RenderedScenes(DrawnScenes):
    """Position in the run -> sample; a pure function of (seed, position, photos), so that a run can resume anywhere.

    Samples: image (3, S, S) and target (3, S, S) in sRGB, disparity (1, S, S), foreground (1, S, S), 0.5 = unknown,
    focus (), radius () in pixels of blur per unit disparity, position (). Scene i of the `scenes` different ones is
    traced when first asked for and kept in `cache`; every further epoch shows it flipped or turned another way, with
    other flaws in its disparity. Scenes are traced on `device`, and a GPU holds those it has seen: such a data set
    is read without worker processes, and may be drawn `ahead` by them.
    """

    samples = 256  # lens points for a blur of middling size
    kind = ""  # what the names of cached scenes begin with

    def __init__(
        self,
        records: list[PhotoRecord],
        cache: Path,
        scenes: int,
        length: int,
        seed: int,
        size: int = 256,
        device: str = "cpu",
    ):
        super().__init__(records, cache, scenes, length, seed, size)
        self.device = device
        self.held: dict[int, Any] = {}

    def draw_ahead(self, workers: int, begin: float = 0.0) -> None:
        """All scenes into the cache, by `workers` processes; `begin` as of `ahead`."""
        ahead(self.keep, self.scenes, workers, "scenes", begin)

    def keep(self, index: int) -> Path:
        """The file of the scene of this number, traced if it is not there yet."""
        file = self.cache / f"{self.kind}{self.drawn_with}{self.seed}-{self.size}-{index:05d}.npz"
        if not file.exists():
            scene = random_scene(
                self.seed * 1_000_000 + index, self.size, self.photos, self.masks, self.samples, self.device
            )
            with kept_whole(file) as part:
                np.savez(
                    part,
                    image=(scene.image * 255).round().byte().cpu().numpy(),
                    disparity=(scene.disparity * 65535).round().to(torch.int32).cpu().numpy().astype(np.uint16),
                    target=scene.target.half().cpu().numpy(),
                    lens=np.array([scene.focus, scene.radius], np.float32),
                )
        return file

    def scene(self, index: int) -> Scene:
        """The scene of this number, as it is held or kept."""
        return self.hold(index, self.read)

    def hold(self, index: int, read: Callable[[Path], Held]) -> Held:
        """What `read` makes of a scene's file, on the device; a GPU's memory holds it from then on."""
        if index in self.held:
            return self.held[index]
        found = read(self.keep(index))
        if self.device != "cpu":
            self.held[index] = found
        return found

    def read(self, file: Path) -> Scene:
        """What `keep` has written."""
        with np.load(file) as kept:
            focus, radius = (float(value) for value in kept["lens"])
            return Scene(
                torch.from_numpy(kept["image"]).to(self.device).float() / 255,
                torch.from_numpy(kept["disparity"].astype(np.float32) / 65535).to(self.device),
                torch.from_numpy(kept["target"]).to(self.device).float(),
                focus,
                radius,
            )

    def index(self, position: int) -> int:
        """Which scene a position of the run shows: each once an epoch."""
        epoch, at = divmod(position, self.scenes)
        return int(np.random.default_rng((self.seed, 2, epoch)).permutation(self.scenes)[at]) if epoch else at

    def turn(self, draw: np.random.Generator) -> Callable[[Tensor], Tensor]:
        """One of the eight ways to turn and flip a picture (C, S, S)."""
        turns, flip = int(draw.integers(4)), draw.random() < 0.5

        def turn(picture: Tensor) -> Tensor:
            picture = torch.rot90(picture, turns, (-2, -1))
            return (picture.flip(-1) if flip else picture).contiguous()

        return turn

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        draw = np.random.default_rng((self.seed, 3, position))
        scene = self.scene(self.index(position))
        turn, flawed = self.turn(draw), draw.random() < FLAW_CHANCE
        disparity, foreground = scene.disparity, torch.full_like(scene.disparity, 0.5)
        if draw.random() < (0.6 if flawed else 0.2):
            one, other = (float(disparity[0, *draw.integers(0, self.size, 2)]) for _ in range(2))
            if abs(one - other) > 0.15:  # a subject stands out
                foreground = F.avg_pool2d((disparity > (one + other) / 2).float(), 3, 1, 1, count_include_pad=False)
        if flawed:
            disparity = corrupt_disparity(disparity, torch.Generator().manual_seed(int(draw.integers(2**31))))
        return {
            "image": turn(scene.image),
            "disparity": turn(disparity),
            "foreground": turn(foreground),
            "target": turn(scene.target),
            "focus": torch.tensor(scene.focus),
            "radius": torch.tensor(scene.radius),
            "position": torch.tensor(position),
        }
