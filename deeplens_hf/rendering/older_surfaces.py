"""Surface extraction as weights of formats 1 to 7 have it: two networks, one after the other, in place of one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.blocks import conv, read_blocks, write_blocks
from ..layers.pooling import lengthen
from .surfaces import SurfaceExtraction, Unmixed, local_contrast
from .unmixing import Unmixing


class OlderSurfaceExtraction(SurfaceExtraction):
    """One network gives the colour of what is hidden (from format 5 on); a small U-Net on 2 x 2 blocks all the rest."""

    def __init__(self, width: int = 24, with_colour: bool = True):
        nn.Module.__init__(self)  # without the one network
        wide, widest = 2 * width, 3 * width
        self.hidden_colour = Unmixing(inputs=11, outputs=3) if with_colour else None
        self.read = nn.Conv2d(4 * 12, width, 1)
        self.fine = conv(width, width)
        self.to_middle, self.middle = conv(width, wide, stride=2), conv(wide, wide)
        self.to_coarse, self.coarse = conv(wide, widest, stride=2), conv(widest, widest)
        self.from_coarse, self.middle_up = nn.Conv2d(widest, wide, 1), conv(wide, wide)
        self.from_middle, self.fine_up = nn.Conv2d(wide, width, 1), conv(width, width)
        self.write = nn.Conv2d(width, 4 * 6, 3, padding=1)
        nn.init.normal_(self.write.weight, std=1e-3)  # nearly nothing: gradients reach the layers below from the start
        nn.init.zeros_(self.write.bias)

    def unmix(self, guess: Tensor, near_defocus: Tensor, far_defocus: Tensor, subject: Tensor) -> Unmixed:
        """As of `SurfaceExtraction`."""
        height, width = guess.shape[-2:]
        contrast = local_contrast(guess[:, :3])  # (B, 3, H, W)
        far_shown = guess[:, 3:6]
        if self.hidden_colour is not None:
            far_shown = (far_shown + contrast * torch.tanh(self.hidden_colour(guess)[0])).clamp(min=0)
        maps = torch.cat([guess[:, :3], far_shown, guess[:, 6:], subject], 1)  # (B, 12, H, W)
        said, features = self.correct(maps)
        colour, depth, edge, hidden = said[..., :height, :width].split([3, 1, 1, 1], 1)  # (B, 3 or 1, H, W)
        gap = near_defocus - far_defocus
        return Unmixed(
            far_shown=(far_shown + contrast * torch.tanh(colour)).clamp(min=0),
            coverage=(guess[:, 9:10] + gap.clamp(0, 1) * edge).clamp(0, 1),
            hidden=gap.clamp(0, 1) * torch.sigmoid(hidden + 3),
            far_defocus=near_defocus - gap * (1 + torch.tanh(depth)),
            features=features,
        )

    def correct(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The U-Net: maps (B, 12, H, W) -> corrections (B, 6, H, W) and more rows, features (B, width, H/2, W/2)."""
        height, width = maps.shape[-2:]
        maps = lengthen(maps, 8)
        fine = self.fine(read_blocks(self.read, maps).relu_())  # (B, width, H/2, W/2)
        middle = self.middle(self.to_middle(fine))  # (B, 2 width, H/4, W/4)
        coarse = self.coarse(self.to_coarse(middle))  # (B, 3 width, H/8, W/8)
        middle = self.middle_up(middle + F.interpolate(self.from_coarse(coarse), scale_factor=2, mode="bilinear"))
        fine = self.fine_up(fine + F.interpolate(self.from_middle(middle), scale_factor=2, mode="bilinear"))
        rows, columns = (height + 1) // 2, (width + 1) // 2
        return write_blocks(self.write, fine), fine[..., :rows, :columns]
