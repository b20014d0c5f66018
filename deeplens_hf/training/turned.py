"""Photos turned by none to three quarters, for the orientation stage: whoever took them held them upright."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..files.exif import upright_rgb
from ..layers.encoders import Encoder
from ..orientation import cells
from .data import PhotoRecord, to_tensor

LEAST = 0.6  # of either side: the smallest part of a photo that is shown


class TurnedPhotos(Dataset):
    """Position in the run -> cells (C, 6, 6) of a part of a photo, and turns () to the left.

    A pure function of (seed, position). The encoder stays as it is, so each photo is looked at once for each way
    that it can lie, and what was seen is kept in memory: 15 kB each.
    """

    def __init__(self, records: list[PhotoRecord], encoder: Encoder, length: int, seed: int):
        self.records, self.encoder, self.length, self.seed = records, encoder.eval(), length, seed
        self.seen: dict[tuple[int, int], Tensor] = {}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        draw = np.random.default_rng((self.seed, 3, position))
        index, turns = int(draw.integers(len(self.records))), int(draw.integers(4))
        if (index, turns) not in self.seen:
            with torch.inference_mode():
                image = torch.rot90(self.part(index)[None], turns, (2, 3))
                self.seen[index, turns] = cells(self.encoder, image)[0].half()
        return {"cells": self.seen[index, turns].float(), "turns": torch.tensor(turns)}

    def part(self, index: int) -> Tensor:
        """A part of a photo, as it was taken or mirrored, (3, h, w) in [0, 1]."""
        draw = np.random.default_rng((self.seed, 4, index))
        image = to_tensor(upright_rgb(self.records[index].photo))
        height, width = (round(side * draw.uniform(LEAST, 1)) for side in image.shape[1:])
        top, left = draw.integers(image.shape[1] - height + 1), draw.integers(image.shape[2] - width + 1)
        image = image[:, top : top + height, left : left + width]
        return image.flip(-1) if draw.random() < 0.5 else image
