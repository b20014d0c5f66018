"""Labels better than their teacher's: what the network itself says of a photo, and what a larger one says of it.

After Laine and Aila, "Temporal ensembling for semi-supervised learning", ICLR 2017: an average of several answers is
better than each of them, so the network can learn from its own. Its averaged weights look at the photo, large for the
edges, and at its mirror image, small, for the broad shape. There a larger network, if there is one, has the greater
say, and the teacher's label a little. What comes of it is brought to the photo's edges, as users' maps are: a network
that learns from soft steps draws soft ones.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..depth import DepthPrediction, look, normalise_disparity, resized
from ..disparity.edges import refine
from ..disparity.fusion import reshaped, standardise, without_rings
from ..disparity.mending import EdgeMending
from ..files.exif import upright_rgb
from ..optics import srgb_to_linear
from . import people
from .data import PEOPLE, PhotoRecord, grey, mark, to_tensor
from .labels import held_together
from .large import LargeDepth
from .record import add_weights
from .scenes.drawn import ahead, kept_whole

DETAIL_SIZE, BROAD_SIZE = 448, 288  # long sides, pixels
LARGE = 0.6  # its share of the broad shape beside that of the weights
TEACHER = 0.15  # the teacher's: on stereo scenes it orders less of it right than the weights do


def ensembled(
    depth: DepthPrediction,
    image: Tensor,
    label: Tensor,
    large: LargeDepth | None = None,
    mending: EdgeMending | None = None,
    subject: Tensor | None = None,
) -> Tensor:
    """image (1, 3, H, W), its disparity as labelled (1, 1, h, w) -> disparity (1, 1, H, W) in [0, 1].

    mending: that of the weights that look, if they have one: softer steps without. subject: its mask, of any size, in
    [0, 1], if a better one is known than the weights' own.
    """
    small = resized(image, DETAIL_SIZE).clamp(0, 1)

    def as_small(map: Tensor) -> Tensor:
        return standardise(F.interpolate(map, small.shape[-2:], mode="bilinear"))

    fine, foreground = depth(small)  # (1, 1, h', w') each
    fine = standardise(fine)
    coarse = as_small(look(depth, image.flip(-1), BROAD_SIZE)[0].flip(-1))
    if large is not None:
        coarse = standardise(torch.lerp(coarse, as_small(large(image)), LARGE))
    disparity = without_rings(reshaped(fine, torch.lerp(coarse, as_small(label), TEACHER)))
    if subject is not None:
        foreground = F.interpolate(subject, small.shape[-2:], mode="bilinear")
        disparity = held_together(disparity, foreground)
    if mending is not None:
        disparity = mending(srgb_to_linear(small), disparity, foreground)
    return normalise_disparity(refine(torch.cat([disparity, foreground], 1), image)[:, :1])


class EnsembledLabels:
    """A labelled photo -> its disparity as a picture of bytes, kept in `cache` so that it is looked at only once.

    Where people have drawn the mask of a person, `people.grounded` has put the person right.
    """

    def __init__(
        self,
        depth: DepthPrediction,
        cache: Path,
        large: LargeDepth | None = None,
        mending: EdgeMending | None = None,
        device: str = "cpu",
    ):
        self.depth, self.large, self.mending = (each and each.eval() for each in (depth, large, mending))
        self.cache, self.device = cache, device
        weights = hashlib.sha256(repr((DETAIL_SIZE, BROAD_SIZE, LARGE, TEACHER, "subjects in one piece")).encode())
        for network in filter(None, (depth, large, mending)):
            add_weights(weights, network)
        self.name = weights.hexdigest()[:8]
        rules = Path(people.__file__).read_bytes()
        self.grounded = f"{self.name}-{hashlib.sha256(rules).hexdigest()[:8]}"
        cache.mkdir(parents=True, exist_ok=True)

    def __call__(self, record: PhotoRecord) -> Image.Image:
        if record.group in PEOPLE and record.foreground:
            return self._kept(self.grounded, record, self._grounded)
        return self._kept(self.name, record, self._looked)

    def look_ahead(self, records: list[PhotoRecord], workers: int, begin: float = 0.0) -> None:
        """All photos' labels into the cache, by `workers` processes; `begin` as of `ahead`."""
        ahead(partial(_label, self, records), len(records), workers, "labels", begin)

    def _kept(self, name: str, record: PhotoRecord, make: Callable[[PhotoRecord], Tensor]) -> Image.Image:
        file = self.cache / f"label-{name}-{record.photo.stem}-{mark([record])}.png"
        if not file.exists():
            disparity = make(record)[0, 0]  # (H, W)
            with kept_whole(file) as part:
                Image.fromarray((disparity.numpy() * 255).round().astype(np.uint8)).save(part)
        return Image.open(file)

    def _looked(self, record: PhotoRecord) -> Tensor:
        image = to_tensor(upright_rgb(record.photo))[None]
        label = to_tensor(grey(record.disparity))[None]
        subject = to_tensor(grey(record.foreground))[None].to(self.device) if record.foreground else None
        with torch.inference_mode():
            depth, *others = (each and each.to(self.device) for each in (self.depth, self.large, self.mending))
            return ensembled(depth, image.to(self.device), label.to(self.device), *others, subject).cpu()

    def _grounded(self, record: PhotoRecord) -> Tensor:
        looked = self._kept(self.name, record, self._looked)
        disparity, mask = to_tensor(looked)[None], to_tensor(grey(record.foreground))[None]
        with torch.inference_mode():
            mask = F.interpolate(mask, disparity.shape[-2:], mode="bilinear")
            return normalise_disparity(people.grounded(disparity, mask))


def _label(labels: EnsembledLabels, records: list[PhotoRecord], index: int) -> None:
    labels(records[index])
