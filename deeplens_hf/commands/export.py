"""`deeplens export`: the modules as graphs of fixed size, for ONNX runtimes and for torch's ahead-of-time compiler.

A graph cannot look at its data, so the lens blur has all the slabs that the widest aperture may need, where the model
itself takes only those that a photo has; and it convolves where the model goes through an FFT.
"""

import copy
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import ExportedProgram

from ..depth import normalise_disparity, working_size
from ..disparity.mending import follow, with_fringe
from ..inputs import LEAST_SIDE
from ..layers.pooling import halve, halve_map
from ..lens_blur import SlabLensBlur
from ..model import DeepLens
from ..optics import MAX_APERTURE, linear_to_srgb, pixels_per_disparity, signed_defocus, srgb_to_linear
from ..rendering.slabs import slab_knots
from ..version import __version__

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
TOLERANCE = 1e-3  # the most that a graph's answer may differ from the model's, of values in [0, 1]
MULTIPLE = 16  # of both sides
Run = Callable[..., list[Tensor]]  # the inputs by name -> the outputs in order


class DepthGraph(nn.Module):
    """image (1, 3, h, w), upright -> disparity, foreground (1, 1, h, w), at the working size of depth prediction."""

    outputs = ("disparity", "foreground")

    def __init__(self, model: DeepLens):
        super().__init__()
        self.depth, self.mending = model.depth, model.mending

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        disparity, foreground = self.depth.infer(image)
        if self.mending is not None:
            disparity = self.mending(srgb_to_linear(image), disparity, foreground)
        return normalise_disparity(disparity), foreground


class RenderGraph(nn.Module):
    """A photo of the lens blur's own size through a lens.

    image (1, 3, H, W) sRGB, disparity, foreground (1, 1, H, W), focus, aperture (1,) -> picture (1, 3, H, W) sRGB; and
    light (1, 3, H, W) linear, features (1, F, H/2, W/2), defocus (1, 1, H, W) with mended edges and fringe, for
    the upsampling graph.
    """

    outputs = ("picture", "light", "features", "defocus")

    def __init__(self, model: DeepLens, size: tuple[int, int], max_aperture: float):
        super().__init__()
        self.mending, self.lens_blur, self.upsampling = model.mending, model.lens_blur, model.upsampling
        self.fixed = {}
        if isinstance(model.lens_blur, SlabLensBlur):
            reach = torch.tensor([pixels_per_disparity(max_aperture, size)])
            self.fixed["knots"] = slab_knots(reach, -reach)

    def forward(
        self, image: Tensor, disparity: Tensor, foreground: Tensor, focus: Tensor, aperture: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        photo = srgb_to_linear(image)
        if self.mending is not None:
            disparity = self.mending(photo, disparity, foreground)
        defocus = with_fringe(photo, signed_defocus(disparity, focus, aperture))
        light, features = self.lens_blur(photo, defocus, foreground * 2 - 1, **self.fixed)
        return linear_to_srgb(self.upsampling(photo, defocus, light, features)), light, features, defocus


class UpsamplingGraph(nn.Module):
    """What the render graph made of a photo halved, brought to the photo's own size.

    image (1, 3, 2H, 2W) sRGB, disparity (1, 1, 2H, 2W), focus, aperture (1,), light (1, 3, H, W), features
    (1, F, H/2, W/2), defocus (1, 1, H, W) -> picture (1, 3, 2H, 2W) sRGB.
    """

    outputs = ("picture",)

    def __init__(self, model: DeepLens):
        super().__init__()
        self.upsampling = model.upsampling

    def forward(
        self,
        image: Tensor,
        disparity: Tensor,
        focus: Tensor,
        aperture: Tensor,
        light: Tensor,
        features: Tensor,
        defocus: Tensor,
    ) -> Tensor:
        own = signed_defocus(disparity, focus, aperture)
        own = follow(own, halve_map(own) / 2, defocus)
        return linear_to_srgb(self.upsampling(srgb_to_linear(image), own, light, features))


class Scene(NamedTuple):
    """What the graphs are traced and checked with: a photo of twice the render graph's size, and the same halved."""

    image: Tensor  # (1, 3, 2H, 2W) sRGB
    disparity: Tensor  # (1, 1, 2H, 2W)
    foreground: Tensor  # (1, 1, 2H, 2W)
    small_image: Tensor  # (1, 3, H, W)
    small_disparity: Tensor  # (1, 1, H, W)
    small_foreground: Tensor  # (1, 1, H, W)
    depth_image: Tensor  # (1, 3, h, w)


def make_scene(size: tuple[int, int], depth_size: int) -> Scene:
    """A soft pattern, a near disc before a slope, for a render graph of `size` (H, W); the same at each call."""
    height, width = (2 * side for side in size)
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    image = torch.stack([torch.sin(a * x + b * y) for a, b in ((5, 3), (-7, 11), (23, 2))])[None] * 0.45 + 0.5
    near = (x.square() + y.square() < 0.3).float()[None, None]
    disparity = near * 0.9 + (1 - near) * (0.3 + 0.2 * y)
    small = linear_to_srgb(halve(srgb_to_linear(image)))
    depth_image = F.interpolate(image, working_size(size, depth_size), mode="bilinear", antialias=True).clamp(0, 1)
    return Scene(image, disparity, near, small, halve_map(disparity).clone(), halve(near), depth_image)


@torch.no_grad()
def export(
    model: DeepLens, folder: Path, kind: str = "onnx", size: tuple[int, int] = (384, 512), max_aperture: float = 16.0
) -> dict[str, float]:
    """Write the three graphs, and export.json, which tells their inputs and outputs.

    Args:
        model: in float32; on the device that a torch graph is to run on.
        folder: depth, render and upsampling go there, as .onnx, or as .pt2 of torch.export.
        kind: "onnx" or "torch".
        size: (H, W) that the render graph works at: multiples of 16, 64 at least, the model's blur_size at most. The
            upsampling graph's photo is twice as large; the depth graph has depth prediction's own working size.
        max_aperture: the widest that the render graph has slabs for.

    Returns:
        The greatest difference of each graph's answer from the model's, over a scene at three apertures.

    Raises:
        ValueError: an argument out of its range, a model in another precision, or a graph that answers otherwise than
            the model, by more than 1e-3.
    """
    if any(parameter.dtype != torch.float32 for parameter in model.parameters()):
        raise ValueError("model must be in float32 throughout: load it without dtype")
    if kind not in SUFFIXES:
        raise ValueError(f"kind must be one of {', '.join(SUFFIXES)}; got {kind!r}")
    if any(side % MULTIPLE or not LEAST_SIDE <= side <= model.config.blur_size for side in size):
        accepted = f"two multiples of {MULTIPLE} from {LEAST_SIDE} to {model.config.blur_size}"
        raise ValueError(f"size must be {accepted}; got {size[0]}, {size[1]} (height, width)")
    if not 0 < max_aperture <= MAX_APERTURE:
        raise ValueError(f"max_aperture must lie above 0 and be at most {MAX_APERTURE:g}; got {max_aperture!r}")
    if kind == "onnx":
        import onnxruntime  # noqa: F401  what is missing is told now, not after minutes
        import onnxscript  # noqa: F401

        model = model.cpu()
    folder.mkdir(parents=True, exist_ok=True)
    scene = Scene(*(each.to(model.device) for each in make_scene(size, model.config.depth_size)))
    lens = _lens(0.9, max_aperture / 2, model)
    maps = {"image": scene.small_image, "disparity": scene.small_disparity, "foreground": scene.small_foreground}
    render = RenderGraph(model, size, max_aperture)
    low = dict(zip(RenderGraph.outputs[1:], render(**maps, **lens)[1:], strict=True))
    graphs = {
        "depth": (DepthGraph(model), {"image": scene.depth_image}),
        "render": (render, maps | lens),
        "upsampling": (UpsamplingGraph(model), {"image": scene.image, "disparity": scene.disparity, **lens, **low}),
    }
    told, runs = {}, {}
    for name, (graph, inputs) in graphs.items():
        file = folder / f"{name}{SUFFIXES[kind]}"
        with _quiet():
            program = torch.export.export(graph.eval(), (), inputs)
            runs[name] = (_to_onnx if kind == "onnx" else _to_torch)(program, inputs, graph.outputs, file)
        shapes = {key: list(value.shape) for key, value in inputs.items()}
        told[name] = {"file": file.name, "inputs": shapes, "outputs": list(graph.outputs)}
    differences = _compare(model, runs, scene, max_aperture)
    content = {"deeplens_hf": __version__, "max_aperture": max_aperture, "differences": differences, "graphs": told}
    (folder / "export.json").write_text(json.dumps(content, indent=2) + "\n")
    if wrong := {name: value for name, value in differences.items() if not value <= TOLERANCE}:
        raise ValueError(f"these graphs differ from the model by more than {TOLERANCE:g}: {wrong}")
    return differences


def _lens(focus: float, aperture: float, model: DeepLens) -> dict[str, Tensor]:
    return {
        "focus": torch.tensor([focus], device=model.device),
        "aperture": torch.tensor([aperture], device=model.device),
    }


def _to_onnx(program: ExportedProgram, inputs: dict[str, Tensor], outputs: tuple[str, ...], file: Path) -> Run:
    import onnx
    import onnxruntime

    names = {"input_names": list(inputs), "output_names": list(outputs)}
    providers = ["CPUExecutionProvider"]
    # torch's own optimiser takes minutes for what the runtime's does in a second, and leaves files three times as large
    exported = torch.onnx.export(program, kwargs=inputs, **names, dynamo=True, verbose=False, optimize=False)
    with TemporaryDirectory() as folder:
        exported.save(raw := os.path.join(folder, "raw.onnx"), external_data=False)
        options = onnxruntime.SessionOptions()
        standard = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # no operators of its own
        options.graph_optimization_level = standard
        options.optimized_model_filepath, options.log_severity_level = str(file), 3
        onnxruntime.InferenceSession(raw, options, providers)
    model = onnx.load(file)  # which names all operator sets that this runtime knows, but other runtimes do not
    domains = {node.domain for node in model.graph.node}
    used = [each for each in model.opset_import if each.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(used)
    onnx.save(model, file)
    session = onnxruntime.InferenceSession(str(file), providers=providers)
    return lambda **given: [
        torch.from_numpy(each) for each in session.run(None, {name: value.numpy() for name, value in given.items()})
    ]


def _to_torch(program: ExportedProgram, inputs: dict[str, Tensor], outputs: tuple[str, ...], file: Path) -> Run:
    torch.export.save(program, file)
    module = torch.export.load(file).module()

    def run(**given: Tensor) -> list[Tensor]:
        answer = module(**given)
        return list(answer) if isinstance(answer, tuple) else [answer]

    return run


def _compare(model: DeepLens, runs: dict[str, Run], scene: Scene, max_aperture: float) -> dict[str, float]:
    """The greatest difference of each graph from what the model's own methods give."""
    differences = dict.fromkeys(runs, 0.0)

    def note(name: str, answer: Tensor, wanted: Tensor) -> None:
        differences[name] = max(differences[name], float((answer - wanted).abs().max()))

    disparity, foreground = model.predict_small(scene.depth_image)
    for answer, wanted in zip(
        runs["depth"](image=scene.depth_image), (normalise_disparity(disparity), foreground), strict=True
    ):
        note("depth", answer, wanted)
    maps = {"image": scene.small_image, "disparity": scene.small_disparity}
    halving = copy.copy(model)  # works at the render graph's size, as the two graphs together do
    halving.config = replace(model.config, blur_size=max(scene.small_image.shape[-2:]))
    for focus, aperture in ((0.9, 0.0), (0.9, max_aperture / 2), (0.3, max_aperture)):
        lens = _lens(focus, aperture, model)
        picture, *low = runs["render"](**maps, foreground=scene.small_foreground, **lens)
        note("render", picture, model.render(**maps, **lens, foreground=scene.small_foreground))
        large = {"image": scene.image, "disparity": scene.disparity}
        (picture,) = runs["upsampling"](**large, **lens, **dict(zip(RenderGraph.outputs[1:], low, strict=True)))
        note("upsampling", picture, halving.render(**large, **lens, foreground=scene.foreground))
    return differences


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's talk of packages that it does not need, and of its own future."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
