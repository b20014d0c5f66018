"""Scenes with two disparities, the true one and one as a network would predict it: what mending learns from."""

import numpy as np
import torch
from torch import Tensor

from .layered import corrupt_disparity
from .rendered import RenderedScenes

FLAWED = 0.7  # of the samples; the rest have the true disparity, which has to stay as it is


def flawed(disparity: Tensor, draw: np.random.Generator) -> Tensor:
    """A true map (1, S, S) with flaws at random, every other time with one alone: (1, S, S)."""
    generator = torch.Generator().manual_seed(int(draw.integers(2**31)))
    return corrupt_disparity(disparity, generator, alone=draw.random() < 0.5)


class FlawedScenes(RenderedScenes):
    """Position in the run -> sample: image (3, S, S) sRGB, disparity and true_disparity (1, S, S), position ().

    The scenes of `RenderedScenes`, not looked at through a lens, turned another way and with other flaws each time.
    """

    samples = 1  # lens points: nothing is blurred
    kind = "flawed-"

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        scene = self.scene(self.index(position))
        draw = np.random.default_rng((self.seed, 8, position))
        turn = self.turn(draw)
        disparity = scene.disparity
        if draw.random() < FLAWED:
            disparity = flawed(disparity, draw)
        return {
            "image": turn(scene.image),
            "disparity": turn(disparity),
            "true_disparity": turn(scene.disparity),
            "position": torch.tensor(position),
        }
