"""What each stage of training minimises, and what it shows: photos for depth, traced scenes for the renderer.

Mixed precision is for the depth network on labelled photos. Light is mixed, and scenes are rendered, in float32: the
eight bits of bfloat16 are too few for linear light.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..depth import normalise_disparity
from ..model import DeepLens
from ..optics import disc, from_focus, linear_to_srgb, srgb_to_linear
from ..rendering.aperture_blur import convolve
from ..rendering.surfaces import first_guess, near_share
from .losses import depth_loss, hidden_loss, highlights_loss, mending_loss, render_loss

Batch = dict[str, Tensor]
LAYERS_WEIGHT = 0.3  # of scenes in layers beside traced ones


class StageParts(NamedTuple):
    """One stage: the modules it trains, its loss (batch, step) -> parts, and its sample picture, batch -> (3, H, W)."""

    modules: dict[str, nn.Module]
    loss: Callable[[Batch, int], dict[str, Tensor]]
    picture: Callable[[Batch], Tensor] | None


def stage_parts(stage: str, model: DeepLens, outline_weight: float = 0.5) -> StageParts:
    """`stage` is a key of `arguments.DEFAULTS`; outline_weight: of the depth stage's loss."""
    renderer: dict[str, nn.Module] = {"lens_blur": model.lens_blur, "upsampling": model.upsampling}
    renderer |= {"mending": model.mending} if model.mending is not None else {}
    if stage == "depth":
        loss = partial(depth_stage, model, outline_weight=outline_weight)
        return StageParts({"depth": model.depth}, loss, partial(depth_picture, model))
    if stage == "orientation":
        return StageParts({"orientation": model.orientation}, partial(orientation_stage, model), None)
    if stage == "highlights":
        highlights = {name: getattr(model.lens_blur, name) for name in ("highlights", "gleams")}
        return StageParts(highlights, partial(highlights_stage, model), partial(highlights_picture, model))
    if stage == "mending":
        return StageParts({"mending": model.mending}, partial(mending_stage, model), partial(mending_picture, model))
    if stage == "hidden":
        surfaces = {"surfaces": model.lens_blur.surfaces}
        return StageParts(surfaces, partial(hidden_stage, model), partial(hidden_picture, model))
    if stage == "render":
        return StageParts(renderer, partial(render_stage, model), partial(render_picture, model))
    return StageParts({"depth": model.depth, **renderer}, partial(end_to_end, model), partial(render_picture, model))


def depth_stage(model: DeepLens, batch: Batch, step: int, outline_weight: float = 0.5) -> dict[str, Tensor]:
    """Eq. 1 on labelled photos, collages and scenes with exact depth."""
    disparity, foreground = model.depth(batch["image"])
    with torch.autocast(disparity.device.type, enabled=False):  # in bfloat16 the logarithm of a sure outline has no end
        return depth_loss(
            disparity.float(),
            foreground.float(),
            batch["disparity"],
            batch["foreground"],
            batch["has_foreground"],
            batch["has_disparity"],
            outline_weight=outline_weight,
            masks=batch["has_foreground_mean"],
            maps=batch["has_disparity_mean"],
        )


def orientation_stage(model: DeepLens, batch: Batch, step: int) -> dict[str, Tensor]:
    """Turned photos, as the depth encoder sees them: by how much they were turned."""
    logits = model.orientation(batch["cells"])  # (B, 4)
    found = (logits.argmax(1) == batch["turns"]).float().mean()
    return {"loss": F.cross_entropy(logits, batch["turns"]), "found": found}


def highlights_stage(model: DeepLens, batch: Batch, step: int) -> dict[str, Tensor]:
    """Lamps and gleams: the light that the photo lost, blurred more or less."""
    with torch.autocast(batch["image"].device.type, enabled=False):
        radiance = model.lens_blur.recovered(srgb_to_linear(batch["image"]))
        radiance = torch.where(batch["known"], radiance, batch["light"])
        return highlights_loss(radiance, batch["light"], (3.0, 8.0, 22.0)[step % 3])


def highlights_picture(model: DeepLens, batch: Batch) -> Tensor:
    """(3, H, W), a tenth of the light: as photographed | as it was | as recovered."""
    shown = srgb_to_linear(batch["image"])
    return torch.cat([linear_to_srgb(x / 10) for x in (shown, batch["light"], model.lens_blur.recovered(shown))], 3)[0]


def mending_stage(model: DeepLens, batch: Batch, step: int) -> dict[str, Tensor]:
    """Scenes with a flawed disparity beside the true one, which some of them have already."""
    with torch.autocast(batch["image"].device.type, enabled=False):
        mended = model.prepare_map([srgb_to_linear(batch["image"])], batch["disparity"]).disparity
        return mending_loss(mended, batch["true_disparity"])


def mending_picture(model: DeepLens, batch: Batch) -> Tensor:
    """(3, H, W): scene | its disparity as given | as mended | true."""
    mended = model.prepare_map([srgb_to_linear(batch["image"])], batch["disparity"]).disparity
    maps = (batch["disparity"], mended, batch["true_disparity"])
    return torch.cat([batch["image"], *(each.expand(-1, 3, -1, -1) for each in maps)], 3)[0]


def split_surfaces(model: DeepLens, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scenes in layers, taken apart: what is behind each pixel's nearest surface, as found and as it is, (B, 3, S, S),
    square roots of light; and how much the nearest covers, likewise, (B, 1, S, S).

    Where the disparity, mended, tells of other surfaces than the layers have, the truth is what was found.
    """
    light = srgb_to_linear(batch["image"])
    with torch.no_grad():
        defocus = model.prepare_map([light], batch["defocus"]).disparity
    guess, near, far = first_guess(light, defocus)
    gap = near - far
    unmixed = model.lens_blur.surfaces.unmix(guess, near, far, torch.zeros_like(near))
    found, coverage = unmixed.far_shown, unmixed.coverage
    off = (far - batch["far_defocus"]).abs()
    off = torch.maximum(off, (near - batch["near_defocus"]).abs() * (batch["covered"] > 0.02))
    known = (gap > 0.5) & (off < (gap / 4).clamp(min=0.5))
    true = torch.where(known, srgb_to_linear(batch["far"]).sqrt(), found.detach())
    return found, true, coverage, torch.where(known, batch["covered"], coverage.detach())


def refocused(light: Tensor, far: Tensor, coverage: Tensor, radius: float) -> list[Tensor]:
    """Scenes of two surfaces, linear light: sRGB with the nearer in focus, and with the farther, (B, 3, H, W) each."""
    near = near_share(light, far, coverage)
    soft = convolve(torch.cat([near, far, coverage], 1), disc(radius))  # (B, 7, H, W)
    pictures = near + (1 - coverage) * soft[:, 3:6], soft[:, :3] + (1 - soft[:, 6:]) * far
    return [linear_to_srgb(each) for each in pictures]


def hidden_stage(model: DeepLens, batch: Batch, step: int) -> dict[str, Tensor]:
    """Scenes in layers: the colour behind each pixel's nearest, how much that covers, and what a lens makes of both."""
    with torch.autocast(batch["image"].device.type, enabled=False):
        found, true, coverage, true_coverage = split_surfaces(model, batch)
        light, radius = srgb_to_linear(batch["image"]), (3.0, 8.0, 20.0)[step % 3]
        wanted = refocused(light, true.square(), true_coverage, radius)
        pictures = refocused(light, found.square(), coverage, radius)
        near, far = (render_loss(*pair) for pair in zip(pictures, wanted, strict=True))
        seen = {name: (near[name] + far[name]) / 2 for name in near}
        hidden = hidden_loss(found, true, batch["weight"])["loss"]
        square = (coverage - true_coverage).square().sum((1, 2, 3))
        at_edges = (true_coverage - true_coverage.round()).abs().gt(0.02).sum((1, 2, 3)).clamp(min=64)
        soft = (square / at_edges + 1e-5).sqrt().mean()
        loss = 2 * seen["loss"] + 0.05 * hidden + 0.05 * soft
        return seen | {"coverage": soft, "hidden": hidden, "loss": loss}


def hidden_picture(model: DeepLens, batch: Batch) -> Tensor:
    """(3, H, W): scene | far surface as found, and as it is | what the near one covers as found, and as it is."""
    found, true, *coverages = split_surfaces(model, batch)
    shown = (linear_to_srgb(each.square()) for each in (found, true))
    return torch.cat([batch["image"], *shown, *(each.expand(-1, 3, -1, -1) for each in coverages)], 3)[0]


def halvings(step: int) -> int:
    """How often a scene is halved before the lens blur: of eight steps one once and one twice, for the upsampling."""
    return {1: 1, 5: 2}.get(step % 8, 0)


def render_stage(model: DeepLens, batch: Batch, step: int) -> dict[str, Tensor]:
    """Traced scenes, rendered with their own disparity, true or flawed; or scenes in layers, taken apart.

    What the blur alone teaches of edges suits the blur: coverage drifts from what a near surface covers. So the layers
    keep on teaching it, with less weight, for else what they teach is all that is kept.
    """
    if "covered" in batch:
        parts = hidden_stage(model, batch, step)
        return {name: parts[name] for name in ("colour", "gradient", "noise")} | {"loss": LAYERS_WEIGHT * parts["loss"]}
    return render_loss(render_scenes(model, batch, halvings(step)), batch["target"])


def render_scenes(model: DeepLens, batch: Batch, halvings: int) -> Tensor:
    """(B, 3, S, S), sRGB: scenes through their own lens."""
    defocus = batch["radius"].view(-1, 1, 1, 1) * from_focus(batch["disparity"], batch["focus"])
    return model.render_defocus(batch["image"], defocus, batch["foreground"], halvings)


def end_to_end(model: DeepLens, batch: Batch, step: int) -> dict[str, Tensor]:
    """Scenes rendered with the disparity that the model predicts, and Eq. 1 on photos so that depth stays depth.

    A predicted disparity has a scale and a shift of its own: each map is fitted to the scene's by least squares first.
    """
    maps = model.predict_depth(batch["image"])
    mean, true_mean = (d.mean((1, 2, 3), keepdim=True) for d in (maps.disparity, batch["disparity"]))  # (B, 1, 1, 1)
    centred, true_centred = (maps.disparity - mean).detach(), batch["disparity"] - true_mean
    scale = (centred * true_centred).mean((1, 2, 3), keepdim=True) / centred.square().mean(
        (1, 2, 3), keepdim=True
    ).clamp(min=1e-4)
    disparity = scale.clamp(min=0) * (maps.disparity - mean) + true_mean
    seen = batch | {"disparity": disparity, "foreground": maps.foreground}
    parts = render_loss(render_scenes(model, seen, halvings(step)), batch["target"])
    photo = {name.removeprefix("photo_"): value for name, value in batch.items() if name.startswith("photo_")}
    depth = depth_stage(model, photo, step)
    return parts | {"depth": depth["loss"], "loss": parts["loss"] + 0.1 * depth["loss"]}


def depth_picture(model: DeepLens, batch: Batch) -> Tensor:
    """(3, H, W): photo | disparity as labelled | as predicted | foreground as predicted."""
    maps = model.depth(batch["image"])
    grey = [batch["disparity"], normalise_disparity(maps[0]), maps[1]]
    return torch.cat([batch["image"], *(each.expand(-1, 3, -1, -1) for each in grey)], 3)[0]


def render_picture(model: DeepLens, batch: Batch) -> Tensor:
    """(3, H, W): scene | its disparity | truth | as rendered."""
    rendered = render_scenes(model, batch, 0)
    return torch.cat([batch["image"], batch["disparity"].expand(-1, 3, -1, -1), batch["target"], rendered], 3)[0]
