"""Labels better than their teacher's: what the network itself says of a photo, looked at six times.

After Laine and Aila, "Temporal ensembling for semi-supervised learning", ICLR 2017: an average of several answers is
better than each of them, so the network can learn from its own. Its averaged weights look at the photo and at its
mirror image, large for the edges and small, twice, for the broad shape, in which the teacher's label has a say, and a
larger network, if there is one, as much as either of the small looks.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..depth import DepthPrediction, averaged, broad, look, normalise_disparity, standardise
from . import people
from .data import PEOPLE, PhotoRecord, to_tensor
from .drawn import kept_whole
from .large import LargeDepth

DETAIL_SIZE, BROAD_SIZES = 448, (224, 288)  # long sides, pixels
TEACHER = 0.25  # its share of the broad shape: on stereo scenes it orders less of it right than the weights do


def ensembled(depth: DepthPrediction, image: Tensor, label: Tensor, large: LargeDepth | None = None) -> Tensor:
    """image (1, 3, H, W), its disparity as labelled (1, 1, h, w) -> disparity (1, 1, H, W) in [0, 1]."""
    both = torch.cat([image, image.flip(-1)])  # (2, 3, H, W)

    def looked(long_side: int) -> Tensor:
        straight, mirrored = look(depth, both, long_side)[0].split(1)
        return averaged(straight, mirrored.flip(-1))

    others = [] if large is None else [F.interpolate(large(image), image.shape[-2:], mode="bilinear")]
    fine, coarse = looked(DETAIL_SIZE), averaged(*map(looked, BROAD_SIZES), *others)
    label = standardise(F.interpolate(label, image.shape[-2:], mode="bilinear"))
    return normalise_disparity(fine + broad(coarse + TEACHER * (label - coarse) - fine))


class EnsembledLabels:
    """A labelled photo -> its disparity as a picture of bytes, kept in `cache` so that it is looked at only once.

    Where people have drawn the mask of a person, `people.grounded` has put the person right.
    """

    def __init__(self, depth: DepthPrediction, cache: Path, large: LargeDepth | None = None):
        self.depth, self.cache, self.large = depth.eval(), cache, large
        weights = hashlib.sha256(repr((DETAIL_SIZE, BROAD_SIZES, TEACHER)).encode())
        for value in (*depth.state_dict().values(), *(large.state_dict().values() if large else ())):
            weights.update(value.cpu().numpy().tobytes())
        self.name = weights.hexdigest()[:8]
        rules = Path(people.__file__).read_bytes()
        self.grounded = f"{self.name}-{hashlib.sha256(rules).hexdigest()[:8]}"
        cache.mkdir(parents=True, exist_ok=True)

    def __call__(self, record: PhotoRecord) -> Image.Image:
        if record.group in PEOPLE and record.foreground:
            return self._kept(self.grounded, record, self._grounded)
        return self._kept(self.name, record, self._looked)

    def _kept(self, name: str, record: PhotoRecord, make: Callable[[PhotoRecord], Tensor]) -> Image.Image:
        file = self.cache / f"label-{name}-{record.photo.stem}.png"
        if not file.exists():
            disparity = make(record)[0, 0]  # (H, W)
            with kept_whole(file) as part:
                Image.fromarray((disparity.numpy() * 255).round().astype(np.uint8)).save(part)
        return Image.open(file)

    def _looked(self, record: PhotoRecord) -> Tensor:
        image = to_tensor(Image.open(record.photo).convert("RGB"))[None]
        label = to_tensor(Image.open(record.disparity).convert("L"))[None]
        with torch.inference_mode():
            return ensembled(self.depth, image, label, self.large)

    def _grounded(self, record: PhotoRecord) -> Tensor:
        looked = self._kept(self.name, record, self._looked)
        disparity, mask = to_tensor(looked)[None], to_tensor(Image.open(record.foreground).convert("L"))[None]
        with torch.inference_mode():
            mask = F.interpolate(mask, disparity.shape[-2:], mode="bilinear")
            return normalise_disparity(people.grounded(disparity, mask))
