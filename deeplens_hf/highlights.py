"""What clipped light was: a lamp that a photo shows as white may be fifty times as bright, and its blur shows it.

Predicted from how lamps, windows and signs look: their size, shape, colour and surroundings. By day what clips is
mostly white things, hardly brighter than they look, and nothing is done.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import read_blocks
from .pooling import lengthen

MOST = 5.3  # of the logarithm of the gain: two hundredfold
WHITENED = 0.5  # a lamp that clips in every channel hardly shows its colour: half-way from the one guessed to white
CLIPPED_FROM, CLIPPED_AT = 0.93, 0.99  # linear light of a channel


def darkness(light: Tensor) -> Tensor:
    """1 for a picture taken at night, 0 by day, (B, 1, 1, 1), from the mean of what is not a lamp."""
    mean = light.mean(1, keepdim=True)  # (B, 1, H, W)
    unlit = (light.amax(1, keepdim=True) < 0.8).float()
    ambient = (mean * unlit).sum((1, 2, 3), keepdim=True) / unlit.sum((1, 2, 3), keepdim=True).clamp(min=1)
    return ((0.14 - ambient) / 0.04).clamp(0, 1) * unlit.amax((1, 2, 3), keepdim=True)  # all white is no night


class HighlightRecovery(nn.Module):
    """The radiance of saturated pixels, each channel apart, by a small U-Net on 2 x 2 blocks."""

    def __init__(self, width: int = 16):
        super().__init__()
        wide = 2 * width
        self.read = nn.Conv2d(4 * 6, width, 1)
        self.fine = nn.Conv2d(width, width, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(c, wide, 3, stride=2, padding=1) for c in (width, wide, wide))
        self.up = nn.ModuleList(nn.Conv2d(wide, c, 3, padding=1) for c in (wide, wide, width))
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.write = nn.Conv2d(width, 4 * 3, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # torch's default lets the deeper levels fade
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.write.weight, std=1e-3)

    def forward(self, light: Tensor) -> Tensor:
        """light (B, 3, H, W) linear, clipped at 1 -> the same, with the radiance that clipped channels had by night."""
        clipped = ((light - CLIPPED_FROM) / (CLIPPED_AT - CLIPPED_FROM)).clamp(0, 1)  # (B, 3, H, W)
        by_night = clipped * darkness(light)
        if not (torch.is_grad_enabled() or torch.compiler.is_compiling() or bool(by_night.any())):
            return light
        gain = self.gain(light, clipped)
        brightest = (gain * clipped).amax(1, keepdim=True)  # (B, 1, H, W)
        return light * torch.exp(by_night * torch.lerp(gain, brightest, WHITENED))

    def gain(self, light: Tensor, clipped: Tensor) -> Tensor:
        """Logarithm of how many times brighter than it looks: (B, 3, H, W), 0 to MOST."""
        height, width = light.shape[-2:]
        maps = torch.cat([light.clamp(min=1e-6).sqrt(), clipped], 1)  # (B, 6, H, W)
        maps = lengthen(maps, 16)
        x = F.relu(self.fine(F.relu(read_blocks(self.read, maps))))  # (B, width, H/2, W/2)
        levels = [x]
        for down in self.down:
            x = F.relu(down(x))
            levels.append(x)  # (B, 2 width, H/4, W/4) and on
        for up, level in zip(self.up, reversed(levels[:-1]), strict=True):
            x = F.relu(up(F.interpolate(x, scale_factor=2, mode="bilinear"))) + level
        x = self.write(F.relu(self.mix(x)))
        return F.softplus(F.pixel_shuffle(x, 2)[..., :height, :width]).clamp(max=MOST)
