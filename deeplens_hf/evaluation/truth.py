"""The truth to measure against, loaded: rendered shots, stereo scenes, labelled photos.

`root` is the folder given by `--data`; it holds truth/layered, truth/traced, truth/stereo and photos/, or some of them.
Every loader yields float tensors with a batch axis of one: image (1, 3, H, W) in [0, 1], maps (1, 1, H, W). ValueError
for a file that is not as it must be, or not of its photo's size.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..files.exif import upright_rgb
from ..files.manifest import entries, manifest_of
from ..files.pictures import full_scale, grey_levels
from ..optics import aperture_of_radius

LAYERED_FOCUS = {"mid": 0.48, "bg": 0.12, "near": 0.88}  # the disparity that each layered truth is focused at
LAYERED_RADIUS = 28.0  # pixels of blur radius per unit disparity, at 768 x 512


@dataclass(frozen=True)
class Shot:
    """One scene through one lens setting, with the picture that a real lens gives."""

    name: str
    kind: str  # "layered", "traced day" or "lights"
    focus_name: str  # "middle", "background", "near" or "far"
    image: Tensor  # (1, 3, H, W) all in focus
    disparity: Tensor  # (1, 1, H, W) in [0, 1], 1 = nearest
    focus: float  # the sharp disparity
    aperture: float
    target: Tensor  # (1, 3, H, W)


@dataclass(frozen=True)
class StereoScene:
    """A real photo with measured disparity."""

    name: str
    image: Tensor  # (1, 3, H, W)
    disparity: Tensor  # (1, 1, H, W) in [0, 1] of the scene's own range
    valid: Tensor  # (1, 1, H, W) boolean: where it was measured


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo with a teacher's disparity and, for some, a foreground mask."""

    name: str
    group: str
    image: Tensor  # (1, 3, H, W)
    disparity: Tensor  # (1, 1, h, w), at the label's own, smaller size
    foreground: Tensor | None  # (1, 1, h, w)
    annotated: bool  # the mask was made by hand


def rendered_shots(root: Path) -> list[Shot]:
    """All of both kinds. ValueError if there is none."""
    if not any(Path(root, "truth", kind).is_dir() for kind in ("layered", "traced")):
        raise ValueError(f"data must be a folder that holds truth/layered or truth/traced, got {str(root)!r}")
    shots = [*layered_shots(root), *traced_shots(root)]
    if not shots:
        raise ValueError(f"data must hold truth/layered/*_aif.png or truth/traced/*/meta.json; got {str(root)!r}")
    return shots


def layered_shots(root: Path) -> Iterator[Shot]:
    """Ray-traced scenes of cut-outs over a slanted photo, three focus settings each."""
    folder = Path(root, "truth", "layered")
    for file in sorted(folder.glob("*_aif.png")):
        name = file.name.removesuffix("_aif.png")
        image = _image(file)
        disparity = _map(folder / f"{name}_disp.png", image)
        aperture = aperture_of_radius(LAYERED_RADIUS, image.shape[-2:])
        for short, long in {"mid": "middle", "bg": "background", "near": "near"}.items():
            target = _image(folder / f"{name}_gt_{short}.png", image)
            yield Shot(name, "layered", long, image, disparity, LAYERED_FOCUS[short], aperture, target)


def traced_shots(root: Path) -> Iterator[Shot]:
    """Path-traced scenes with a real thin lens; their 1/m of inverse depth is scaled to [0, 1] over the scene's range.

    The files give the blur radius as K * |inverse depth - focus| pixels, hence K * range per unit disparity.
    A scene counts as "lights" if the file of its unclipped light comes with it: its lamps clip in the 8-bit photo.
    """
    for meta_file in sorted(Path(root, "truth", "traced").glob("*/meta.json")):
        folder = meta_file.parent
        try:
            told = json.loads(meta_file.read_text(encoding="utf-8"))["shots"]
            shots = sorted((shot["file"], shot["focus"], shot["disp_focus"], shot["K"]) for shot in told)
        except KeyError as error:
            raise ValueError(f"data: {meta_file} must have {error.args[0]!r}") from None
        except (ValueError, TypeError) as error:
            raise ValueError(f"data: {meta_file} must be an object of JSON with shots: {error}") from None
        kind = "lights" if (folder / "linear.npz").exists() else "traced day"
        with np.load(folder / "depth.npz") as arrays:
            if "disp" not in arrays:
                raise ValueError(f"data: {folder / 'depth.npz'} must have 'disp', in 1/m")
            inverse_depth = torch.from_numpy(arrays["disp"].astype(np.float32))[None, None]  # (1, 1, H, W) in 1/m
        low, span = inverse_depth.min().item(), (inverse_depth.max() - inverse_depth.min()).item()
        if not span > 0:
            raise ValueError(f"data: {folder / 'depth.npz'} must hold more than one depth")
        image, disparity = _image(folder / "aif.png"), (inverse_depth - low) / span
        _check_size(folder / "depth.npz", disparity, image)
        for file, focus_name, inverse_focus, per_dioptre in shots:
            aperture = aperture_of_radius(per_dioptre * span, image.shape[-2:])
            target = _image(folder / file, image)
            yield Shot(folder.name, kind, focus_name, image, disparity, (inverse_focus - low) / span, aperture, target)


def stereo_scenes(root: Path) -> Iterator[StereoScene]:
    """Real table-top scenes; 16-bit files: 0 = unknown, else (value - 1) / 65534."""
    folder = Path(root, "truth", "stereo")
    for file in sorted(folder.glob("*.disparity.png")):
        name = file.name.removesuffix(".disparity.png")
        image, levels = _image(folder / f"{name}.jpg"), grey_levels(Image.open(file), str(file))
        if levels.dtype != np.uint16 or not levels.any():
            raise ValueError(f"data: {file} must be a 16-bit picture, 0 where disparity is unknown, but not all over")
        raw = torch.from_numpy(levels.astype(np.float32))[None, None]
        _check_size(file, raw, image)
        yield StereoScene(name, image, ((raw - 1) / 65534).clamp(min=0), raw > 0)


def labelled_photos(root: Path, split: str) -> Iterator[LabelledPhoto]:
    """The photos of the manifest's `split`, "train" or "val"; none where there is no manifest."""
    if split not in ("train", "val"):
        raise ValueError(f"split must be 'train' or 'val', got {split!r}")
    manifest = manifest_of(Path(root))
    if manifest is None:
        return
    folder = manifest.parent / "train"
    for name, group, source, _ in entries(manifest, split):
        yield LabelledPhoto(
            name,
            group,
            _image(folder / f"{name}.jpg"),
            _map(folder / f"{name}.disparity.png"),
            _map(folder / f"{name}.foreground.png") if source else None,
            source == "annotated",
        )


def _image(file: Path, photo: Tensor | None = None) -> Tensor:
    """(1, 3, H, W) in [0, 1], as large as the photo that it belongs to."""
    pixels = np.array(upright_rgb(file))
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    _check_size(file, image, photo)
    return image


def _map(file: Path, photo: Tensor | None = None) -> Tensor:
    """An 8- or 16-bit grey file as (1, 1, H, W) in [0, 1], as large as the photo that it belongs to."""
    levels = grey_levels(Image.open(file), str(file))
    map = torch.from_numpy(levels.astype(np.float32) / full_scale(levels))[None, None]
    _check_size(file, map, photo)
    return map


def _check_size(file: Path, values: Tensor, photo: Tensor | None) -> None:
    if photo is not None and values.shape[-2:] != photo.shape[-2:]:
        (height, width), (rows, columns) = values.shape[-2:], photo.shape[-2:]
        raise ValueError(f"data: {file} must be as large as its photo, {columns} x {rows}; it is {width} x {height}")
