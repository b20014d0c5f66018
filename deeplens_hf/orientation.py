"""Which way is up: photos that lie on their side, or stand on their head, are set upright before depth is predicted.

Networks learn from upright photos that what is low is near. Most photos show which way they were taken (Gidaris et al.,
"Unsupervised representation learning by predicting image rotations", ICLR 2018). Those that hint at it stay as they
are; those that do not at all, a table from above, gravel, have no low side: any of the four may be it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .depth import DepthPrediction, resized
from .layers.encoders import Encoder, encode

SIZE = 224  # pixels of the long side: enough to tell, and cheap
CELLS = 6  # along either side: what lies where
CLEAR = 0.95  # probability from which a photo is upright without being looked at again
SURE = 0.65  # probability from which a photo is turned
LOST = 0.45  # probability of the best turn, under which a photo shows no up


def cells(encoder: Encoder, image: Tensor) -> Tensor:
    """image (B, 3, H, W) -> the encoder's deepest features, averaged over parts of the photo, (B, C, 6, 6)."""
    return F.adaptive_avg_pool2d(encode(encoder, resized(image, SIZE))[-1], CELLS)


class Orientation(nn.Module):
    """`cells` (B, C, 6, 6) -> logits (B, 4) of 0 to 3 quarter turns to the left.

    An encoder that depth has taught sees best, but a copy of it, which stays as it is: depth that learns on shall not
    make orientation forget. Before training all four turns are alike, and no photo is turned.

    Args:
        channels: C.
        encoder: its own; None: the depth network's, with which weights before format 6 saw.
    """

    def __init__(self, channels: int, encoder: Encoder | None = None, width: int = 32):
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval() if encoder is not None else None
        self.standardise = nn.BatchNorm2d(channels, affine=False)
        self.read = nn.Conv2d(channels, width, 1)
        self.drop = nn.Dropout(0.3)
        self.write = nn.Linear(width * CELLS**2, 4)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)

    def forward(self, cells: Tensor) -> Tensor:
        """As its training stage wants it: in training mode it learns the cells' statistics and drops some."""
        return self._told(self.standardise(cells))

    def settled(self, cells: Tensor) -> Tensor:
        """The same with what it has learned, in any mode: photos that a model in training looks at teach it nothing."""
        learned = self.standardise
        return self._told(F.batch_norm(cells, learned.running_mean, learned.running_var, eps=learned.eps), drop=False)

    def _told(self, standard: Tensor, drop: bool = True) -> Tensor:
        x = F.relu(self.read(standard)).flatten(1)  # (B, width * 36)
        return self.write(self.drop(x) if drop else x)

    def train(self, mode: bool = True) -> "Orientation":
        """As of any module, but the encoder of its own keeps its statistics."""
        super().train(mode)
        if self.encoder is not None:
            self.encoder.eval()
        return self

    def eyes(self, depth: DepthPrediction) -> Encoder:
        """What it sees with."""
        return depth.encoder if self.encoder is None else self.encoder

    def ways(self, depth: DepthPrediction, image: Tensor) -> Tensor:
        """How much 0 to 3 quarter turns to the left count for each photo of (B, 3, H, W): (B, 4), together 1.

        One alone where it is sure, 0 alone where it is not; in photos that show no up each as much as it is probable.
        What is not clearly upright is looked at from all four sides, every other time mirrored: a photo on its head,
        turned once more by half, has to look upright.
        """
        # once, not for each look, and by way of twice that size: made small another way, one photo in 150 seems turned
        image = resized(resized(image, 2 * SIZE).clamp(0, 1), SIZE)
        logits = self.look(depth, image)  # (B, 4)
        upright = logits.softmax(1)[:, 0] > CLEAR  # (B,)
        if not bool(upright.all()):
            left, right = (torch.rot90(image, more, (2, 3)) for more in (1, 3))  # of one size: seen together
            lying = self.look(depth, torch.cat([left, right]), mirrored=True).chunk(2)  # (B, 4) each
            on_head = self.look(depth, torch.rot90(image, 2, (2, 3)))
            logits = logits + lying[0].roll(-1, 1) + on_head.roll(-2, 1) + lying[1].roll(-3, 1)
        probabilities = (logits / 4).softmax(1)
        probability, turns = probabilities.max(1)  # (B,) each
        turns = torch.where((probability > SURE) & ~upright, turns, 0)
        untold = logits.amax(1) == logits.amin(1)  # before training, all four alike
        lost = (probability < LOST) & ~upright & ~untold
        return torch.where(lost[:, None], probabilities, F.one_hot(turns, 4).to(probabilities.dtype))

    def look(self, depth: DepthPrediction, image: Tensor, mirrored: bool = False) -> Tensor:
        """image (B, 3, H, W) -> logits (B, 4) of its turns; mirrored: as seen in a mirror, where left is right."""
        encoder = self.eyes(depth)
        image = image.to(next(encoder.parameters()).dtype)  # half, maybe, of the depth network: see from_pretrained
        seen = cells(encoder, image.flip(-1) if mirrored else image)
        logits = self.settled(seen.to(self.write.weight.dtype))
        return logits[:, [0, 3, 2, 1]] if mirrored else logits
