"""Exported graphs give what the model gives, in another runtime, on a photo that they were not traced with."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from deeplens_hf import DeepLens, DeepLensConfig, cli
from deeplens_hf.commands import export as module
from deeplens_hf.commands.export import export
from deeplens_hf.depth import normalise_disparity
from deeplens_hf.layers.pooling import halve
from deeplens_hf.optics import linear_to_srgb, srgb_to_linear

ROOT = Path(__file__).resolve().parent.parent
# (H, W) of the render graph: blur wide enough for a fringe (`mending.with_fringe`), and as small as may be
WIDE, SMALL = (128, 192), (64, 96)
Graph = Callable[..., list[Tensor]]


def photo(size: tuple[int, int]) -> Tensor:
    """A photograph, (1, 3, *size) sRGB."""
    picture = Image.open(ROOT / "examples" / "coffee.jpg").convert("RGB").resize(size[::-1])
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(1, *size, 3).permute(0, 3, 1, 2) / 255


def assert_graphs_are_the_model(graphs: dict[str, Graph], model: DeepLens, told: dict, shots: tuple) -> None:
    """shots: pairs of focus and aperture."""
    size = told["graphs"]["render"]["inputs"]["image"][2:]
    image = photo(tuple(2 * side for side in size))
    small = linear_to_srgb(halve(srgb_to_linear(image)))
    halving = copy.copy(model)  # at the render graph's size, as the two graphs together work
    halving.config = replace(model.config, blur_size=max(size))
    with torch.no_grad():
        depth_image = photo(tuple(told["graphs"]["depth"]["inputs"]["image"][2:]))
        disparity, foreground = model.predict_small(depth_image)
        answer = graphs["depth"](image=depth_image)
        assert (answer[0] - normalise_disparity(disparity)).abs().max() < 1e-3
        assert (answer[1] - foreground).abs().max() < 1e-3

        maps = model.predict_depth(image)
        disparity = maps.disparity[..., 1::2, 1::2].contiguous()
        foreground = F.avg_pool2d(maps.foreground, 2)
        for focus, aperture in shots:
            lens = {"focus": torch.tensor([focus]), "aperture": torch.tensor([aperture])}
            given = {"image": small, "disparity": disparity, "foreground": foreground}
            picture, light, features, mended = graphs["render"](**given, **lens)
            wanted = model.render(small, disparity, focus, aperture, foreground)
            assert (picture - wanted).abs().max() < 1e-3
            (picture,) = graphs["upsampling"](
                image=image, disparity=maps.disparity, **lens, light=light, features=features, defocus=mended
            )
            wanted = halving.render(image, maps.disparity, focus, aperture, maps.foreground)
            assert (picture - wanted).abs().max() < 1e-3
            if aperture > 4:
                assert (picture - image).abs().max() > 0.05, "something was blurred"


@pytest.mark.slow
def test_onnx(model: DeepLens, model_folder: Path, tmp_path: Path, capsys):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    arguments = ["--size", f"{WIDE[1]}x{WIDE[0]}", "--max-aperture", "16", "--model", str(model_folder)]
    assert cli.main(["export", str(tmp_path), *arguments]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        str(tmp_path / name) for name in ("depth", "render", "upsampling")
    ]
    told = json.loads((tmp_path / "export.json").read_text())
    assert told["max_aperture"] == 16
    graphs = {}
    for name, graph in told["graphs"].items():
        standard = onnx.load(tmp_path / graph["file"])
        onnx.checker.check_model(standard)
        assert [each.domain for each in standard.opset_import] == [""], "operators that every runtime has"
        session = onnxruntime.InferenceSession(str(tmp_path / graph["file"]))
        assert {each.name: each.shape for each in session.get_inputs()} == graph["inputs"]
        assert [each.name for each in session.get_outputs()] == graph["outputs"]

        def run(session=session, **given: Tensor) -> list[Tensor]:
            answer = session.run(None, {name: value.numpy() for name, value in given.items()})
            return [torch.from_numpy(each) for each in answer]

        graphs[name] = run
    assert_graphs_are_the_model(graphs, model, told, shots=((0.8, 0.0), (0.1, 7.0), (0.5, 16.0), (0.1, 16.0)))


@pytest.mark.slow
@pytest.mark.parametrize("lens_blur", ["slabs", "convolutional"])
def test_torch_export(lens_blur: str, tmp_path: Path):
    torch.manual_seed(0)
    config = DeepLensConfig(depth_width=32, blur_width=8, upsampling_width=8, blur_size=max(SMALL), lens_blur=lens_blur)
    model = DeepLens(config).eval()
    export(model, tmp_path, "torch", SMALL, max_aperture=5.0)
    told = json.loads((tmp_path / "export.json").read_text())
    graphs = {}
    for name, graph in told["graphs"].items():
        module = torch.export.load(tmp_path / graph["file"]).module()

        def run(module=module, **given: Tensor) -> list[Tensor]:
            answer = module(**given)
            return list(answer) if isinstance(answer, tuple) else [answer]

        graphs[name] = run
    assert_graphs_are_the_model(graphs, model, told, shots=((0.8, 0.0), (0.1, 2.0), (0.5, 5.0)))


@pytest.mark.parametrize(("name", "by"), [("depth", -0.01), ("render", -0.01), ("upsampling", 0.01)])
def test_a_graph_that_answers_otherwise_is_told(name, by, tmp_path, monkeypatch):
    """The first of its answers, the picture or the disparity, is a little too dark or too bright."""
    torch.manual_seed(0)
    model = DeepLens(DeepLensConfig(depth_width=32, blur_width=8, upsampling_width=8, blur_size=max(SMALL))).eval()

    def written(graph, inputs, outputs, file):
        def run(**given: Tensor) -> list[Tensor]:
            answer = graph(**given)
            first, *others = answer if isinstance(answer, tuple) else [answer]
            return [first + by * (file.stem == name), *others]

        return run

    monkeypatch.setattr(torch.export, "export", lambda graph, *_: graph)
    monkeypatch.setattr(module, "_to_torch", written)
    with pytest.raises(ValueError, match=rf"graphs differ from the model by more than 0.001: {{'{name}': 0\.0\d+}}"):
        export(model, tmp_path, "torch", SMALL, 5.0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"kind": "tflite"}, "kind must be one of onnx, torch; got 'tflite'"),
        ({"size": (384, 500)}, "size must be two multiples of 16 from 64 to 1024; got 384, 500"),
        ({"size": (768, 1040)}, "size must be two multiples of 16 from 64 to 1024"),
        ({"max_aperture": 0.0}, "max_aperture must lie above 0"),
        ({"max_aperture": float("nan")}, "max_aperture must lie above 0"),
    ],
)
def test_what_cannot_be_exported(model, tmp_path, arguments, told):
    with pytest.raises(ValueError, match=told):
        export(model, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_bad_size_on_the_command_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", str(tmp_path), "--size", "big"])
    assert stopped.value.code == 2
    assert "must be WIDTHxHEIGHT in pixels, such as 512x384; got 'big'" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_another_precision_is_refused(model_folder, tmp_path, dtype):
    with pytest.raises(ValueError, match="model must be in float32 throughout"):
        export(DeepLens.from_pretrained(model_folder, dtype=dtype), tmp_path, "torch")
    assert not list(tmp_path.iterdir())
