"""A decoder that was learned on one encoder's features, set upon another encoder: a start, to be trained on.

Each feature of the old encoder is fitted by the new one's features of the same stride, linearly and by least squares,
and the decoder's convolutions, which read the old ones, are multiplied out with that fit.
"""

import random
from dataclasses import replace

import torch
from torch import Tensor

from ..depth import DepthPrediction, resized
from ..files.exif import upright_rgb
from ..layers.encoders import encode
from ..model import DeepLens
from .data import PhotoRecord, to_tensor
from .pretrained import load_imagenet

LONG_SIDES = (384, 352, 224)  # pixels, by turns: how large the photos are looked at
PIXELS = (16, 8, 2, 1)  # every how-many-th counts, at strides 2, 4, 8 and 16
RIDGE = 1e-3  # of the mean square of the new features


def with_encoder(model: DeepLens, encoder: str, records: list[PhotoRecord]) -> tuple[DeepLens, str]:
    """A copy of the model with another encoder, as ImageNet taught it, and where its weights came from.

    Which way is up has to be learned again: until then no photo is turned.
    """
    new = DeepLens(replace(model.config, encoder=encoder))
    source = load_imagenet(new.depth.encoder)
    transplant(model.depth, new.depth, records)
    kept = {
        name: value for name, value in model.state_dict().items() if not name.startswith(("depth.", "orientation."))
    }
    new.load_state_dict(kept, strict=False)
    return new, source


@torch.inference_mode()
def fits(old: DepthPrediction, new: DepthPrediction, records: list[PhotoRecord], photos: int = 250) -> list[Tensor]:
    """For each stride the matrix (channels of old, channels of new) that makes the old encoder's features of the new.

    A constant is fitted beside it, and dropped: the decoder's first convolutions have none, and normalise after them.
    """
    square: list[Tensor | float] = [0.0] * len(PIXELS)
    mixed: list[Tensor | float] = [0.0] * len(PIXELS)
    for i, record in enumerate(random.Random(0).sample(records, min(photos, len(records)))):
        image = resized(to_tensor(upright_rgb(record.photo))[None], LONG_SIDES[i % len(LONG_SIDES)])
        features = (encode(depth.encoder, image) for depth in (old, new))
        for level, (wanted, given) in enumerate(zip(*features, strict=True)):
            y, x = (each[0].flatten(1)[:, :: PIXELS[level]].double() for each in (wanted, given))  # (C, pixels)
            x = torch.cat([x, torch.ones_like(x[:1])])
            square[level], mixed[level] = square[level] + x @ x.T, mixed[level] + x @ y.T
    return [
        torch.linalg.solve(xx + RIDGE * xx.diagonal().mean() * torch.eye(len(xx)).double(), xy)[:-1].T.float()
        for xx, xy in zip(square, mixed, strict=True)
    ]


@torch.no_grad()
def transplant(old: DepthPrediction, new: DepthPrediction, records: list[PhotoRecord]) -> None:
    """Fill the decoder and the heads of `new` in place from those of `old`, which has the same width."""
    *skips, deepest = fits(old.eval(), new.eval(), records)
    state, known = new.state_dict(), old.state_dict()
    for name, value in known.items():
        if not name.startswith("encoder.") and state[name].shape == value.shape:
            state[name] = value
    for name, fit in zip(("up.2", "up.1", "up.0"), skips, strict=True):
        weight = known[f"{name}.mix.0.weight"]  # (c_out, c_in + c_skip, 3, 3)
        own = weight.shape[1] - len(fit)
        state[f"{name}.mix.0.weight"] = torch.cat([weight[:, :own], through(weight[:, own:], fit)], 1)
    for i in range(len(old.pyramid.sizes)):
        state[f"pyramid.reduce.{i}.weight"] = through(known[f"pyramid.reduce.{i}.weight"], deepest)
    weight = known["pyramid.merge.0.weight"]
    shown, pooled = weight[:, : len(deepest)], weight[:, len(deepest) :]
    state["pyramid.merge.0.weight"] = torch.cat([through(shown, deepest), pooled], 1)
    new.load_state_dict(state)


def through(weight: Tensor, fit: Tensor) -> Tensor:
    """A convolution (O, C, h, w) of features that `fit` (C, D) makes of others: (O, D, h, w)."""
    return torch.einsum("ochw,cd->odhw", weight, fit)
