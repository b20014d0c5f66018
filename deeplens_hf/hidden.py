"""The colour of what an edge hides, from what shows beside it: a network of its own, learned from scenes in layers.

What lies within some eight pixels behind an edge is nearly all that a blur reveals, and a soft edge mixes it into the
pixels that are seen. `behind.extend_far` continues it as smooth colour, some mixed pixels with it; this corrects it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import conv, read_blocks, start_small, write_blocks
from .pooling import lengthen

WIDTHS = (24, 32, 48, 64)  # channels at a half, a quarter, an eighth and a sixteenth of the size
STRIDE = 16  # of the coarsest level; the sides are padded to multiples of it


class HiddenColour(nn.Module):
    """maps of the photo and its two surfaces -> the far surface's colour, where the near one covers it.

    A U-Net on 2 x 2 blocks. Before training it changes next to nothing.
    """

    def __init__(self):
        super().__init__()
        levels = list(zip(WIDTHS, WIDTHS[1:], strict=False))
        self.read, self.fine = nn.Conv2d(4 * 11, WIDTHS[0], 1), conv(WIDTHS[0], WIDTHS[0])
        self.down = nn.ModuleList(nn.Sequential(conv(a, b, stride=2), conv(b, b)) for a, b in levels)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in levels)
        self.join = nn.ModuleList(conv(a, a) for a, _ in levels)
        self.write = nn.Conv2d(WIDTHS[0], 4 * 3, 3, padding=1)
        start_small(self, self.write)

    def forward(self, maps: Tensor, contrast: Tensor) -> Tensor:
        """maps (B, 11, H, W) of `surfaces.first_guess`, and the contrast of the neighbourhood, (B, 3, H, W), which
        bounds what is changed -> the far surface's colour, (B, 3, H, W) square roots of light.
        """
        height, width = maps.shape[-2:]
        levels = [self.fine(read_blocks(self.read, lengthen(maps, STRIDE)).relu_())]  # (B, 24, H/2, W/2)
        for down in self.down:
            levels.append(down(levels[-1]))  # at last (B, 64, H/16, W/16)
        x = levels.pop()
        for up, join, own in reversed(list(zip(self.up, self.join, levels, strict=True))):
            x = join(own + F.interpolate(up(x), scale_factor=2, mode="bilinear"))
        change = write_blocks(self.write, x)[..., :height, :width]  # (B, 3, H, W)
        return (maps[:, 3:6] + contrast * torch.tanh(change)).clamp(min=0)
