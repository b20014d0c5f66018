"""What clipped light was: a lamp that a photo shows as white may be fifty times as bright, and its blur shows it.

Predicted from how lamps, windows and signs look at night, and gleams on metal, glaze and water by day: their size,
shape, colour and surroundings. Much of what clips by day is white things, hardly brighter than they look; what the
whole picture is like helps to tell.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.blocks import read_blocks, start_small, write_blocks
from ..layers.pooling import lengthen

MOST = 5.3  # of the logarithm of the gain: two hundredfold
# What clips in every channel hardly shows its colour: the gains are pulled so far towards the largest, that is, towards
# white. A lamp's middle is white in most photos; a gleam on gold stays golden.
WHITENED, WHITENED_BY_DAY = 0.5, 0.25
CLIPPED_FROM, CLIPPED_AT = 0.93, 0.99  # linear light of a channel
LEAST = 0.05  # of white: where nothing gains more, nothing is said to have been lost
STRIDE, SEEN = 16, 96  # pixels: of the coarsest level; how far away the network still sees anything


def darkness(light: Tensor) -> Tensor:
    """1 for a picture taken at night, 0 by day, (B, 1, 1, 1), by what is not a lamp: dark in the mean, and most of it
    darker than that. A lawn by day is as dark as a street at night, but evenly so.
    """
    mean = light.mean(1, keepdim=True)  # (B, 1, H, W)
    unlit = (light.amax(1, keepdim=True) < 0.8).float()
    in_shade = ((0.095 - mean) / 0.025).clamp(0, 1)
    seen = unlit.sum((1, 2, 3), keepdim=True).clamp(min=1)
    ambient, shade = ((each * unlit).sum((1, 2, 3), keepdim=True) / seen for each in (mean, in_shade))
    dark = ((0.14 - ambient) / 0.04).clamp(0, 1) * ((shade - 0.5) / 0.08).clamp(0, 1)
    return dark * unlit.amax((1, 2, 3), keepdim=True)  # all white is no night


def character(light: Tensor, clipped: Tensor, dark: Tensor) -> Tensor:
    """What the whole picture is like: mean and spread of its square roots, shares clipped, darkness: (B, 5, 1, 1)."""
    grey = light.mean(1, keepdim=True).clamp(min=1e-6).sqrt()  # (B, 1, H, W)
    spread, mean = torch.std_mean(grey, (1, 2, 3), keepdim=True)
    shares = [each.mean((1, 2, 3), keepdim=True) for each in (clipped.amax(1, True), clipped.amin(1, True))]
    return torch.cat([mean, spread, *shares, dark], 1)


def marked_part(marked: Tensor) -> tuple[Tensor | slice, slice, slice, slice] | None:
    """An index of what of (B, C, H, W) holds all marks, and all that the network sees about them; None without any."""
    samples, rows, columns = (marked.amax(other).cpu().nonzero()[:, 0] for other in ((1, 2, 3), (0, 1, 3), (0, 1, 2)))
    if not len(samples):
        return None
    spans = [(int(each[0]) - SEEN, int(each[-1]) + 1 + SEEN) for each in (rows, columns)]
    chosen = slice(None) if len(samples) == len(marked) else samples  # a slice is no copy
    return chosen, slice(None), *(slice(max(a // STRIDE * STRIDE, 0), -(-b // STRIDE) * STRIDE) for a, b in spans)


class HighlightRecovery(nn.Module):
    """The radiance of saturated pixels, each channel apart, by a small U-Net on 2 x 2 blocks.

    One of these knows pictures taken at night, another one those by day; between the two both do a part.
    """

    def __init__(self, width: int = 16, by_day: bool = False):
        super().__init__()
        wide = 2 * width
        self.by_day = by_day
        self.read = nn.Conv2d(4 * 6, width, 1)
        self.fine = nn.Conv2d(width, width, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(c, wide, 3, stride=2, padding=1) for c in (width, wide, wide))
        self.up = nn.ModuleList(nn.Conv2d(wide, c, 3, padding=1) for c in (wide, wide, width))
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.write = nn.Conv2d(width, 4 * 3, 3, padding=1)
        start_small(self, self.write)
        if by_day:
            nn.init.constant_(self.write.bias, -4.0)  # before training hardly anything is a gleam
            self.whole = nn.Conv2d(5, wide, 1)
            nn.init.zeros_(self.whole.weight)
            nn.init.zeros_(self.whole.bias)

    def forward(self, light: Tensor, dark: Tensor) -> Tensor:
        """light (B, 3, H, W) linear, clipped at 1, and its `darkness` -> with the radiance that clipped channels had.

        The tensor itself where nothing was lost.
        """
        clipped = ((light - CLIPPED_FROM) / (CLIPPED_AT - CLIPPED_FROM)).clamp(0, 1)  # (B, 3, H, W)
        clipped = clipped - clipped.amin((2, 3), keepdim=True)  # what is white all over is no lamp
        share = 1 - dark if self.by_day else dark  # (B, 1, 1, 1)
        compiling = torch.compiler.is_compiling()  # a graph cannot look at its data
        part = None if compiling else marked_part(clipped * share > 0)
        if part is None and not (compiling or torch.is_grad_enabled()):
            return light
        context = self.whole(character(light, clipped, dark)) if self.by_day else None  # (B, 2 width, 1, 1)
        if part is None:  # for a gradient of zero, too, the whole goes through
            return self.recovered(light, clipped, share, context)
        samples = part[0]
        context = None if context is None else context[samples]
        found = self.recovered(light[part], clipped[part], share[samples], context)
        if not torch.is_grad_enabled():
            gained = (found - light[part]).amax((1, 2, 3), keepdim=True) >= LEAST  # each picture by itself
            if not gained.any():
                return light
            found = torch.where(gained, found, light[part])
        if found.shape == light.shape:
            return found
        out = light.clone()
        out[part] = found
        return out

    def recovered(self, light: Tensor, clipped: Tensor, share: Tensor, context: Tensor | None) -> Tensor:
        """`forward` where all of light, clipped (B, 3, H, W) is looked at."""
        gain = self.gain(light, clipped, context)
        brightest = (gain * clipped).amax(1, keepdim=True)  # (B, 1, H, W)
        whitened = WHITENED_BY_DAY if self.by_day else WHITENED
        return light * torch.exp(torch.lerp(gain, brightest, whitened) * (clipped * share))

    def gain(self, light: Tensor, clipped: Tensor, context: Tensor | None) -> Tensor:
        """Logarithm of how many times brighter than it looks: (B, 3, H, W), 0 to MOST.

        At night the mean of two looks, one at the mirrored picture: one's mistakes are seldom those of the other.
        """
        height, width = light.shape[-2:]
        maps = lengthen(torch.cat([light.clamp(min=1e-6).sqrt(), clipped], 1), STRIDE)  # (B, 6, H, W)
        gain = self.look(maps, context)
        if not (self.by_day or self.training):
            gain = (gain + self.look(maps.flip(3), context).flip(3)) / 2
        return gain[..., :height, :width]

    def look(self, maps: Tensor, context: Tensor | None) -> Tensor:
        """The U-Net: maps (B, 6, H, W), sides multiples of STRIDE -> what one look at them gives for `gain`."""
        x = self.fine(read_blocks(self.read, maps).relu_()).relu_()  # (B, width, H/2, W/2)
        levels = [x]
        for down in self.down:
            x = down(x).relu_()
            levels.append(x)  # (B, 2 width, H/4, W/4) and on
        x = x if context is None else x + context
        for up, level in zip(self.up, reversed(levels[:-1]), strict=True):
            x = up(F.interpolate(x, scale_factor=2, mode="bilinear")).relu_() + level
        return F.softplus(write_blocks(self.write, self.mix(x).relu_())).clamp(max=MOST)
