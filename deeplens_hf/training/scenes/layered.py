"""Training scenes for the render stage, drawn at random: a photo with all in focus, its disparity, and the truth.

A scene is one to seven layers (cut-outs over a slanted photo, things standing on a ground, hair before foliage, print,
fences, lights at night), composed on a margin as wide as the largest blur, ray-traced, and cropped. Light stays
unclipped until the photo is taken, so the target holds the energy that the clipped photo has lost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor

from ...optics import linear_to_srgb
from .mattes import Map
from .studio import Sheet, Studio
from .tracer import Layer, sunflower, trace

__all__ = ["Layer", "Scene", "corrupt_disparity", "random_scene", "trace"]

LARGEST_BLUR = 30.0  # px: the largest blur-disc radius drawn
LARGEST_RADIUS = 60.0  # px per unit disparity: keeps a nearly flat scene from an absurd lens
CUTOUTS = 0.3  # of the scenes, and some of the rest, are of large things before a photo alone, as photos are
MOST_SAMPLES = 441  # where discs are large, if 256 are asked for


@dataclass(frozen=True)
class Scene:
    """What training reads: a photo with everything sharp, its disparity, and the same through a lens."""

    image: Tensor  # (3, H, W) sRGB [0, 1], clipped and quantised to 8 bit
    disparity: Tensor  # (1, H, W) in [0, 1], 1 = nearest: of the front layer whose alpha > 0.5
    target: Tensor  # (3, H, W) sRGB [0, 1], clipped
    focus: float
    radius: float  # blur-disc radius in px per unit disparity


def _front_disparity(sheets: list[Sheet]) -> Map:
    """(H, W): of the front sheet whose alpha > 0.5."""
    front = sheets[0].disparity.copy()
    for sheet in sheets[1:]:
        np.copyto(front, sheet.disparity, where=sheet.alpha > 0.5)
    return front


def _draw_blur(rng: Generator) -> float:
    """The largest blur-disc radius of a scene, px: none, or from 1 to LARGEST_BLUR, the small ones more often."""
    if rng.random() < 0.04:
        return 0.0
    if rng.random() < 0.3:
        return float(rng.uniform(4, LARGEST_BLUR))
    return float(math.exp(rng.uniform(0, math.log(LARGEST_BLUR))))


def _lens_points(blur: float, samples: int) -> int:
    """Lens points for discs of `blur` pixels: `samples` at 16 px, in proportion from 0.8 to 1.7 times of that."""
    return max(round(samples * min(max(blur / 16, 0.8), MOST_SAMPLES / 256)), 1) if blur else 1


def random_scene(
    seed: int,
    size: int = 256,
    photos: Sequence[Path] = (),
    masks: Sequence[Path] = (),
    samples: int = 256,
    device: torch.device | str = "cpu",
) -> Scene:
    """One scene of `size` x `size` pixels, a pure function of its arguments.

    photos: pictures that layers are painted with; masks: foreground masks (white = subject) that they are cut by;
    a mask NAME.*.png of one of the photos NAME.* often keeps that photo's own subject.
    samples: lens points for a blur of middling size; small blurs take fewer, large ones up to 441.
    The drawing is done on the CPU, the tracing on `device`, where the result stays. Raises ValueError for size < 32.
    """
    if size < 32:
        raise ValueError(f"size: must be at least 32, not {size}")
    rng = np.random.default_rng(seed)
    blur = _draw_blur(rng)
    margin = math.ceil(blur) + 2
    inside = slice(margin, margin + size)
    count = _lens_points(blur, samples)
    spacing = blur * math.sqrt(math.pi / count)  # px between neighbouring lens points, in the largest disc
    smallest_lamp = min(max(0.7, 0.6 * spacing), 3.0)
    studio = Studio(rng, size + 2 * margin, photos, masks, smallest_lamp)
    sheets = studio.compose(cutouts=bool(rng.random() < CUTOUTS))

    visible = np.concatenate([sheet.disparity[sheet.alpha > 0] for sheet in sheets])
    low, high = float(visible.min()), float(visible.max())
    # Most scenes fill [0, 1]; some are like a cut of a larger photo, which sees only a part of the range.
    far, near = (0.0, 1.0) if rng.random() < 0.6 else (rng.uniform(0, 0.4), rng.uniform(0.6, 1))
    if high - low < 1e-4:
        far = near = rng.uniform(0, 1)
    for sheet in sheets:
        share = (sheet.disparity - low) / max(high - low, 1e-4)
        sheet.disparity = (far + (near - far) * share).astype(np.float32)
    disparity = _front_disparity(sheets)[inside, inside]

    if rng.random() < 0.75:  # something in the picture is sharp
        focus = float(disparity[tuple(rng.integers(0, size, 2))])
    else:
        focus = float(rng.uniform(far, near))
    radius = min(blur / max(abs(far - focus), abs(near - focus), 1e-3), LARGEST_RADIUS)

    layers = [
        Layer(
            torch.from_numpy(np.ascontiguousarray(sheet.radiance.transpose(2, 0, 1), np.float32)).to(device),
            torch.from_numpy(np.ascontiguousarray(sheet.alpha[None], np.float32)).to(device),
            torch.from_numpy(sheet.disparity[None]).to(device),
        )
        for sheet in sheets
    ]
    turned = sunflower(count, turn=rng.uniform(0, 2 * math.pi))
    sharp = trace(layers, focus, 0.0, samples=1, crop=margin)
    lens = trace(layers, focus, radius, offsets=turned, crop=margin)
    return Scene(
        image=(linear_to_srgb(sharp) * 255).round() / 255,
        disparity=torch.from_numpy(np.ascontiguousarray(disparity[None])).clamp(0, 1).to(device),
        target=linear_to_srgb(lens),
        focus=focus,
        radius=radius,
    )


def corrupt_disparity(disparity: Tensor, generator: torch.Generator, alone: bool = False) -> Tensor:
    """Make a true disparity look predicted: softer, displaced at edges, coarser. Same shape, [0, 1].

    disparity: (B, 1, H, W) or (1, H, W). Each of five faults strikes by chance, or one of them `alone`, at a random
    strength. `generator` lives on the CPU. Raises ValueError for other shapes.
    """
    if disparity.ndim not in (3, 4) or disparity.shape[-3] != 1:
        raise ValueError(f"disparity: must be (B, 1, H, W) or (1, H, W), not {tuple(disparity.shape)}")

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    only = int(uniform(0, 5)) if alone else None

    def strikes(fault: int, chance: float) -> bool:
        return fault == only if alone else uniform(0, 1) < chance

    out = disparity.reshape(-1, *disparity.shape[-3:])  # (B, 1, H, W)
    height, width = out.shape[-2:]
    if strikes(0, 0.4):  # edges displaced: the near side grown or shrunk
        side = 2 * int(uniform(1, 4)) + 1
        sign = 1 if uniform(0, 1) < 0.5 else -1
        out = sign * F.max_pool2d(sign * out, side, stride=1, padding=side // 2)
    if strikes(1, 0.4):  # low-frequency warp of up to 3 px, a shift of 1 to 2 px in it
        knots = torch.rand(1, 2, 4, 4, generator=generator) * 2 - 1
        bend = uniform(0, 3) * F.interpolate(knots, (height, width), mode="bicubic", align_corners=True).to(out.device)
        shift = torch.rand(1, 2, 1, 1, generator=generator).to(out.device) * 4 - 2
        to_unit = torch.tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)], device=out.device)
        rows, columns = (torch.linspace(-1, 1, side, device=out.device) for side in (height, width))
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        grid = torch.stack([x, y], -1) + (bend + shift)[0].permute(1, 2, 0) * to_unit  # (H, W, 2)
        grid = grid.expand(len(out), -1, -1, -1)
        out = F.grid_sample(out, grid, mode="bilinear", padding_mode="border", align_corners=True)
    if strikes(2, 0.5):  # a map predicted at a smaller size
        factor = uniform(2, 5)
        small = (max(round(height / factor), 1), max(round(width / factor), 1))
        coarse = F.interpolate(out, small, mode="bilinear", align_corners=False, antialias=True)
        out = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    if strikes(3, 0.5):
        sigma = uniform(0.5, 3)
        reach = math.ceil(2.5 * sigma)
        at = torch.arange(-reach, reach + 1, device=out.device, dtype=out.dtype)
        bell = torch.exp(-0.5 * (at / sigma) ** 2)
        bell = bell / bell.sum()
        padded = F.pad(out, (reach,) * 4, mode="replicate")
        out = F.conv2d(F.conv2d(padded, bell.view(1, 1, 1, -1)), bell.view(1, 1, -1, 1))
    if strikes(4, 0.3):
        levels = round(uniform(8, 64)) - 1
        out = (out * levels).round() / levels
    return out.clamp(0, 1).reshape(disparity.shape)
