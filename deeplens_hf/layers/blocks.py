"""Pieces of the renderer's networks: they start by reading a picture in blocks of 2 x 2 pixels, at half the size."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def read_blocks(read: nn.Conv2d, maps: Tensor) -> Tensor:
    """`read(pixel_unshuffle(maps, 2))` for a 1 x 1 convolution `read`, without the shuffling.

    maps (B, C, H, W), H and W even -> (B, width, H/2, W/2), channels last: the layout that convolutions of few channels
    are fastest in. A `read` of more than 4 C channels is used for the first 4 C of them.
    """
    weight = read.weight[:, : 4 * maps.shape[1]].unflatten(1, (-1, 2, 2))[..., 0, 0]  # (width, C, 2, 2)
    return F.conv2d(maps, weight.contiguous(memory_format=torch.channels_last), read.bias, stride=2)


def write_blocks(write: nn.Conv2d, x: Tensor) -> Tensor:
    """`pixel_shuffle(write(x), 2)`: (B, width, H/2, W/2), and `write` to 4 C channels -> (B, C, H, W).

    Planes in one copy: of channels last the shuffle leaves each plane strided, which slows whatever follows.
    """
    blocks = write(x).unflatten(1, (-1, 2, 2))  # (B, C, 2, 2, H/2, W/2)
    return blocks.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)


def asinh(x: Tensor) -> Tensor:
    """Of the same shape: how networks are shown a defocus. torch's own takes five times as long on a CPU."""
    size = x.abs()
    return torch.sign(x) * torch.log(size + torch.sqrt(1 + size.square()))


def conv(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
    """Convolution and ReLU."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, stride, padding=1), nn.ReLU(inplace=True))


def start_small(network: nn.Module, last: nn.Conv2d) -> None:
    """Begin training as a network that hardly says anything: He's initialisation, and a `last` layer near nothing.

    torch's default lets the deeper levels fade; through the small values gradients reach them from the first step.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    nn.init.normal_(last.weight, std=1e-3)
