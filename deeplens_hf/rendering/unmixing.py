"""What a photo shows of two surfaces, unmixed: a network, learned from scenes in layers and from traced ones.

What lies within some eight pixels behind an edge is nearly all that a blur reveals, and a soft edge mixes both surfaces
in the pixels that are seen (layer separation; for coverage, image matting). Guesses of colour and coverage
(`behind.py`, `matting.py`) go in, and are corrected.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.blocks import conv, read_blocks, start_small, write_blocks
from ..layers.pooling import lengthen

GROWTH = (1.0, 4 / 3, 2.0, 8 / 3)  # of the channels: at a half, a quarter, an eighth and a sixteenth of the size
STRIDE = 16  # of the coarsest level; the sides are padded to multiples of it


class Unmixing(nn.Module):
    """A U-Net on 2 x 2 blocks. Before training it says next to nothing."""

    def __init__(self, inputs: int, outputs: int, width: int = 24):
        super().__init__()
        widths = [round(width * growth) for growth in GROWTH]
        levels = list(zip(widths, widths[1:], strict=False))
        self.read, self.fine = nn.Conv2d(4 * inputs, width, 1), conv(width, width)
        self.down = nn.ModuleList(nn.Sequential(conv(a, b, stride=2), conv(b, b)) for a, b in levels)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in levels)
        self.join = nn.ModuleList(conv(a, a) for a, _ in levels)
        self.write = nn.Conv2d(width, 4 * outputs, 3, padding=1)
        start_small(self, self.write)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """maps (B, inputs, H, W) -> (B, outputs, H, W), and features (B, width, H/2, W/2), rounded up."""
        height, width = maps.shape[-2:]
        levels = [self.fine(read_blocks(self.read, lengthen(maps, STRIDE)).relu_())]  # (B, width, H/2, W/2)
        for down in self.down:
            levels.append(down(levels[-1]))  # at last (B, 8/3 width, H/16, W/16)
        x = levels.pop()
        for up, join, own in reversed(list(zip(self.up, self.join, levels, strict=True))):
            x = join(own + F.interpolate(up(x), scale_factor=2, mode="bilinear"))
        said = write_blocks(self.write, x)[..., :height, :width]
        return said, x[..., : (height + 1) // 2, : (width + 1) // 2]
