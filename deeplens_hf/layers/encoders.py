"""The ImageNet networks that depth prediction begins with: image -> features at strides 2, 4, 8 and 16.

The last stage is atrous in each (Chen et al., "Rethinking atrous convolution for semantic image segmentation", 2017):
it keeps its resolution, and its filters reach twice as far instead.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import MobileNetV2Model

STRIDE = 16  # of the deepest features; working sizes are multiples of it
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in sRGB


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """A convolution and its batch norm, whose statistics never change here, as one convolution."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # (C,)
    weight, offset = conv.weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale
    return F.conv2d(x, weight, offset, conv.stride, conv.padding, conv.dilation, conv.groups)


def mobilenet_layer(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer of transformers' MobileNetV2, folded."""
    x = folded(layer.convolution, layer.normalization, x)
    return x if layer.activation is None else F.relu6(x, inplace=True)


def mobilenet_v2() -> "MobileNetV2Model":
    """All of MobileNetV2 before its pooling; padding and eps as in the weights that training starts from."""
    # a second and a half, which nobody should wait for whose weights have another encoder
    from transformers import MobileNetV2Config, MobileNetV2Model

    config = MobileNetV2Config(tf_padding=False, layer_norm_eps=1e-5, output_stride=STRIDE)
    return MobileNetV2Model(config, add_pooling_layer=False)


class MobileNetV2Encoder(nn.Module):
    """Blocks 1 to 14 of MobileNetV2 (Sandler et al., CVPR 2018); the 14th opens the stage of stride 32."""

    channels = (16, 24, 32, 160)  # at strides 2, 4, 8, 16
    mean, std = IMAGE_MEAN, IMAGE_STD  # that the weights were pretrained with

    def __init__(self):
        super().__init__()
        net = mobilenet_v2()
        self.stem, self.blocks = net.conv_stem, nn.ModuleList(net.layer[:13])  # the stem holds block 1
        atrous = self.blocks[12].conv_3x3.convolution
        atrous.dilation = atrous.padding = (2, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        for layer in (self.stem.first_conv, self.stem.conv_3x3, self.stem.reduce_1x1):
            x = mobilenet_layer(layer, x)
        features = [x]  # (B, 16, h/2, w/2)
        for i, block in enumerate(self.blocks):
            inner = mobilenet_layer(block.expand_1x1, x)
            inner = mobilenet_layer(block.reduce_1x1, mobilenet_layer(block.conv_3x3, inner))
            x = x + inner if block.use_residual else inner
            if i in (1, 4, 12):
                features.append(x)  # (B, 24, h/4, w/4), (B, 32, h/8, w/8), (B, 160, h/16, w/16)
        return features


class InvertedResidual(nn.Module):
    """Widen six times, filter each channel, narrow again (Sandler et al., CVPR 2018); no squeeze, ReLU6 throughout."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, dilation: int, widen: int):
        super().__init__()
        inner, same = c_in * widen, (kernel - 1) // 2 * dilation if stride == 1 else 0
        self.expand = nn.Conv2d(c_in, inner, 1, bias=False) if widen > 1 else None
        self.expand_norm = nn.BatchNorm2d(inner, eps=1e-3) if widen > 1 else None
        self.filter = nn.Conv2d(inner, inner, kernel, stride, same, dilation, groups=inner, bias=False)
        self.filter_norm = nn.BatchNorm2d(inner, eps=1e-3)
        self.narrow = nn.Conv2d(inner, c_out, 1, bias=False)
        self.narrow_norm = nn.BatchNorm2d(c_out, eps=1e-3)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else F.relu6(folded(self.expand, self.expand_norm, x), inplace=True)
        inner = F.relu6(folded(self.filter, self.filter_norm, before_stride(inner, self.filter)), inplace=True)
        inner = folded(self.narrow, self.narrow_norm, inner)
        return x + inner if self.residual else inner


def before_stride(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """The border that the weights' makers gave to what a convolution halves: the odd pixel of it right and below."""
    if conv.stride[0] == 1:
        return x
    border = []
    for side in (x.shape[-1], x.shape[-2]):
        missing = conv.kernel_size[0] - 1 - (side - 1) % 2
        border += [missing // 2, missing - missing // 2]
    return F.pad(x, border)


class EfficientNetLite2Encoder(nn.Module):
    """Blocks 1 to 20 of EfficientNet-Lite2 (Tan and Le, ICML 2019, without what phones are slow at).

    The first block of the stage of stride 32 does not stride, and the four after it are atrous.
    """

    channels = (16, 24, 48, 208)
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    # blocks, kernel, stride of the first, dilation of the others, channels
    stages = (
        (1, 3, 1, 1, 16),
        (3, 3, 2, 1, 24),
        (3, 5, 2, 1, 48),
        (4, 3, 2, 1, 88),
        (4, 5, 1, 1, 120),
        (5, 5, 1, 2, 208),
    )

    def __init__(self):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, eps=1e-3)
        self.blocks, self.shown, c_in = nn.ModuleList(), [], 32
        for count, kernel, stride, dilation, channels in self.stages:
            for i in range(count):
                first = (stride, 1) if i == 0 else (1, dilation)
                self.blocks.append(InvertedResidual(c_in, channels, kernel, *first, 6 if len(self.blocks) else 1))
                c_in = channels
            if channels in self.channels:
                self.shown.append(len(self.blocks) - 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu6(folded(self.stem, self.stem_norm, before_stride(x, self.stem)), inplace=True)
        features = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.shown:
                features.append(x)  # (B, 16, h/2, w/2), (B, 24, h/4, w/4), (B, 48, h/8, w/8), (B, 208, h/16, w/16)
        return features


class ResNet50Encoder(nn.Module):
    """Stages of 3, 4, 6 and 1 bottleneck blocks of ResNet-50 (He et al., CVPR 2016): the report's encoder."""

    channels = (64, 256, 512, 2048)
    mean, std = IMAGE_MEAN, IMAGE_STD

    def __init__(self):
        from transformers import ResNetConfig, ResNetModel

        super().__init__()
        net = ResNetModel(ResNetConfig(depths=[3, 4, 6, 1]))
        self.embedder, self.stages = net.embedder, net.encoder.stages
        last = self.stages[3].layers[0]  # atrous in place of stride 2
        last.shortcut.convolution.stride = (1, 1)
        atrous = last.layer[1].convolution
        atrous.stride, atrous.dilation, atrous.padding = (1, 1), (2, 2), (2, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.embedder.embedder(x)
        features = [x]  # (B, 64, h/2, w/2)
        x = self.embedder.pooler(x)
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i != 2:
                features.append(x)  # (B, 256, h/4, w/4), (B, 512, h/8, w/8), (B, 2048, h/16, w/16)
        return features


Encoder = MobileNetV2Encoder | EfficientNetLite2Encoder | ResNet50Encoder
ENCODERS: dict[str, type[Encoder]] = {
    "mobilenet_v2": MobileNetV2Encoder,
    "efficientnet-lite2": EfficientNetLite2Encoder,
    "resnet-50": ResNet50Encoder,
}


def encode(encoder: Encoder, image: Tensor) -> list[Tensor]:
    """image (B, 3, h, w), sRGB in [0, 1] -> the features, (B, C, h/s, w/s) at strides s of 2, 4, 8 and 16."""
    mean, std = (image.new_tensor(values).view(1, 3, 1, 1) for values in (encoder.mean, encoder.std))
    image = (image - mean) / std
    return encoder(image.contiguous(memory_format=torch.channels_last))  # a sixth faster on a CPU
