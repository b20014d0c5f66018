"""Scenes in layers of which it is known what lies behind: the colour of what edges hide is learned from them."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...layers.pooling import window_max
from ...optics import linear_to_srgb
from .drawn import kept_whole
from .flawed import flawed
from .rendered import RenderedScenes
from .studio import Sheet, Studio
from .textures import log_uniform

SMALLEST_LAMP = 1.0  # pixels
SMALLEST, LARGEST = 6.0, 60.0  # radius of the blur disc in pixels per unit disparity
LARGEST_BLUR = 32.0  # pixels
NIGHTS = 0.15  # of the scenes
CUTOUTS = 0.5  # of the scenes are of large things alone, as photos mostly are: leaves and hair have far more edge
FLAWED = 0.3  # of the samples have a disparity as a network would predict it
REACHES = (2, 5, 10, 20)  # pixels from what is seen: within all of them counts fully, beyond the last not at all


class HiddenScenes(RenderedScenes):
    """Position in the run -> sample; a pure function of (seed, position, photos), so that a run can resume anywhere.

    Samples: image and far (3, S, S) sRGB, far as it is behind the nearest layer of each pixel; covered (1, S, S), how
    much that layer covers; near_defocus and far_defocus (1, S, S) pixels, of both; defocus (1, S, S) as a map of the
    scene tells it, true or flawed; weight (1, S, S) in [0, 1]: how much a blur reveals there; position (). No scene is
    traced.
    """

    def keep(self, index: int) -> Path:
        """The file of the scene of this number, drawn if it is not there yet."""
        file = self.cache / f"layers-{self.drawn_with}{self.seed}-{self.size}-{index:05d}.npz"
        if not file.exists():
            rng = np.random.default_rng((self.seed, index, 77))
            studio = Studio(rng, self.size, self.photos, self.masks, SMALLEST_LAMP)
            sheets = studio.compose(rng.random() < NIGHTS, rng.random() < CUTOUTS)
            with kept_whole(file) as part:
                np.savez(part, **taken_apart([sheet for sheet in sheets if (sheet.alpha > 0).any()]))
        return file

    def layers(self, index: int) -> dict[str, Tensor]:
        """Scene `index`, as held or kept: image and far (3, S, S), covered and three disparities (1, S, S)."""
        return self.hold(index, self.read_layers)

    def read_layers(self, file: Path) -> dict[str, Tensor]:
        """What `keep` has written."""
        with np.load(file) as kept:
            maps = {name: torch.from_numpy(kept[name].astype(np.float32)).to(self.device) for name in kept.files}
        return {name: value / (255 if len(value) == 3 else 65535) for name, value in maps.items()}

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        draw = np.random.default_rng((self.seed, 12, position))
        scene = self.layers(self.index(position))
        turn = self.turn(draw)
        disparity = scene["disparity"]
        focus = float(draw.uniform(0, 1))
        if draw.random() < 0.75:  # something in the picture is sharp
            focus = float(disparity[0, *draw.integers(0, self.size, 2)])
        radius = log_uniform(draw, SMALLEST, LARGEST)
        radius = min(radius, LARGEST_BLUR / max(focus, 1 - focus))
        near, far = radius * (scene["near_disparity"] - focus), radius * (scene["far_disparity"] - focus)  # (1, S, S)
        blurred = torch.maximum(near.abs(), far.abs()) > 1
        hidden = (scene["covered"] > 0.02) * blurred * ((near - far - 0.5) / 1.5).clamp(0, 1)
        seen = (scene["covered"] <= 0.02).float()[None]
        weight = torch.stack([window_max(seen, reach)[0] for reach in REACHES]).mean(0) * hidden
        if draw.random() < FLAWED:
            disparity = flawed(disparity, draw)
        return {
            "image": turn(scene["image"]),
            "far": turn(scene["far"]),
            "covered": turn(scene["covered"]),
            "near_defocus": turn(near),
            "far_defocus": turn(far),
            "defocus": turn(radius * (disparity - focus)),
            "weight": turn(weight),
            "position": torch.tensor(position),
        }


def taken_apart(sheets: list[Sheet]) -> dict[str, np.ndarray]:
    """Sheets back to front -> 8-bit colours (3, S, S) and 16-bit maps (1, S, S), each pixel as of its nearest sheet.

    image, disparity: the scene, of the nearest sheet whose alpha > 0.5; covered, near_disparity: the nearest sheet
    that is there at all; far, far_disparity: the scene without it, or as it is where the last sheet shows.
    """
    seen = [sheet.disparity[sheet.alpha > 0] for sheet in sheets]
    low, high = min(float(each.min()) for each in seen), max(float(each.max()) for each in seen)
    light = np.zeros_like(sheets[0].radiance)
    disparity, covered, near, far_disparity = (np.zeros_like(sheets[0].disparity) for _ in range(4))
    far = light.copy()
    for index, sheet in enumerate(sheets):
        own = (sheet.disparity - low) / max(high - low, 1e-4)
        if index:
            here = sheet.alpha > 0.02
            far[here], far_disparity[here] = light[here], disparity[here]
            covered[here], near[here] = sheet.alpha[here], own[here]
        light = light + (sheet.radiance - light) * sheet.alpha[..., None]
        disparity = np.where(sheet.alpha > 0.5, own, disparity)
    last = covered == 0
    far[last], far_disparity[last], near[last] = light[last], disparity[last], disparity[last]
    colours = {
        name: (linear_to_srgb(torch.from_numpy(each).clamp(0, 1)) * 255).round().byte().numpy().transpose(2, 0, 1)
        for name, each in (("image", light), ("far", far))
    }
    maps = {"disparity": disparity, "covered": covered, "near_disparity": near, "far_disparity": far_disparity}
    return colours | {name: (each[None].clip(0, 1) * 65535).round().astype(np.uint16) for name, each in maps.items()}
