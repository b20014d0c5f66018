"""Scenes at night with the light that a photo clips: what highlight recovery learns from. Nothing is traced."""

import math
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import Dataset

from ..optics import linear_to_srgb
from .data import PhotoRecord
from .studio import Studio

SMALLEST_LAMP = 1.0  # pixels


def glare(light: Tensor, draw: Generator) -> Tensor:
    """What a real lens makes of light before a sensor clips it, (3, H, W) -> the same: soft edges, and often a veil.

    It is what tells a lamp from white paper in a photo: the brighter, the farther its edge reaches beyond itself.
    """
    sharp = _gaussian(light, math.exp(draw.uniform(math.log(0.3), math.log(1.2))))
    if draw.random() < 0.5:
        return sharp
    share = math.exp(draw.uniform(math.log(1e-3), math.log(0.03)))
    return sharp + share * (_gaussian(light, math.exp(draw.uniform(math.log(2), math.log(10)))) - sharp)


def _gaussian(light: Tensor, sigma: float) -> Tensor:
    """(3, H, W), blurred along both sides; the border goes on outside."""
    reach = min(math.ceil(3 * sigma), light.shape[-1] - 1)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    for _ in range(2):  # along one side, then, turned over, along the other
        padded = F.pad(light[:, None], (reach, reach, 0, 0), mode="replicate")  # (3, 1, H, W + 2 reach)
        light = F.conv2d(padded, kernel)[:, 0].transpose(-1, -2)
    return light.contiguous()


class NightScenes(Dataset):
    """Position in the run -> sample; a pure function of (seed, position, photos), so that a run can resume anywhere.

    Samples: image (3, S, S) sRGB of 8 bit, light (3, S, S) linear, unclipped. Scenes are kept in `cache`; further
    epochs show them turned, a little brighter or darker, and through another lens.
    """

    def __init__(self, records: list[PhotoRecord], cache: Path, scenes: int, length: int, seed: int, size: int = 192):
        self.photos = [record.photo for record in records]
        self.masks = [record.foreground for record in records if record.foreground]
        self.cache, self.scenes, self.length, self.seed, self.size = cache, scenes, length, seed, size
        cache.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return self.length

    def light(self, index: int) -> np.ndarray:
        """(3, S, S) linear, unclipped, of scene `index`."""
        file = self.cache / f"night-{self.seed}-{self.size}-{index:05d}.npy"
        if not file.exists():
            rng = np.random.default_rng(self.seed * 1_000_000 + index)
            sheets = Studio(rng, self.size, self.photos, self.masks, SMALLEST_LAMP).compose(night=True)
            light = np.zeros_like(sheets[0].radiance)
            for sheet in sheets:
                light += (sheet.radiance - light) * sheet.alpha[..., None]
            part = file.with_suffix(f".{os.getpid()}.part.npy")
            np.save(part, light.transpose(2, 0, 1).astype(np.float16))
            os.replace(part, file)
        return np.load(file).astype(np.float32)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        epoch, at = divmod(position, self.scenes)
        order = np.random.default_rng((self.seed, 6, epoch)).permutation(self.scenes)
        draw = np.random.default_rng((self.seed, 7, position))
        light = torch.from_numpy(self.light(int(order[at]))) * float(np.exp(draw.normal() * 0.2))
        light = torch.rot90(light, int(draw.integers(4)), (-2, -1))
        light = glare(light.flip(-1) if draw.random() < 0.5 else light, draw)
        return {
            "image": (linear_to_srgb(light) * 255).round() / 255,
            "light": light,
            "position": torch.tensor(position),
        }
