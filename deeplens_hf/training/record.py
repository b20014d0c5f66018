"""What a run of training starts from, and what it leaves: weights, and the record of every stage that made them."""

import argparse
import copy
import hashlib
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError
from torch import Tensor, nn

from ..model import DeepLens
from ..sharing import repository
from ..sharing.repository import FORMAT_VERSION, RECORD
from ..sharing.weights import CHECKOUT_WEIGHTS, HUB_ID
from .data import PhotoRecord, labels_mark, mark

OPTIONS = (  # that a run must go on with as it began, beside `loop.SHAPING`, photos and weights
    "stage", "size", "scenes", "tabletops", "lit", "sources", "ensemble", "large", "outline_weight", "encoder",
    "lens_blur", "split", "columns", "depth_is", "labels", "streaming", "precision",
)  # fmt: skip


def of_format(model: DeepLens, version: int = FORMAT_VERSION) -> DeepLens:
    """The same weights, with the modules that an older format lacks: untrained, but for what orientation sees with.

    At 8 two networks of the surfaces become one, which knows what the first knew, and has to learn the rest.
    """
    newer = DeepLens(replace(model.config, format_version=version))
    own, state = newer.state_dict(), {}
    for name, value in model.state_dict().items():
        name = name.replace("surfaces.hidden_colour.", "surfaces.unmixing.")
        if name in own and value.shape != own[name].shape:
            if any(old > new for old, new in zip(value.shape, own[name].shape, strict=True)):
                continue  # hidden colour had always 24 channels
            grown = torch.zeros_like(own[name])  # is shown more, and says more: what it knows comes first
            grown[tuple(slice(0, length) for length in value.shape)] = value
            value = grown
        state[name] = value
    newer.load_state_dict(state, strict=False)
    if model.config.format_version < 6:
        newer.orientation.encoder.load_state_dict(model.depth.encoder.state_dict())
    return newer


@torch.no_grad()
def keep(model: DeepLens, start: dict[str, Tensor], share: float) -> None:
    """Go back this share of the way to the weights before training: most of what was learned, less that was forgotten.

    Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
    """
    for name, value in model.state_dict().items():
        if name in start and value.is_floating_point():
            value.lerp_(start[name], share)


def options(args: argparse.Namespace, records: list[PhotoRecord], start: nn.Module | None) -> dict[str, Any]:
    """What makes a run the one that it is, beside what `Run` has itself: its `options`.

    start: the network with the weights that were given to start from, if any were.
    """
    given = {name: str(getattr(args, name)) for name in OPTIONS}
    weights = hashlib.sha256()
    if start is not None:
        add_weights(weights, start)
    photos = mark(records) + (labels_mark(records) if args.stage in ("depth", "all") else "") or args.data
    return given | {"photos": photos, "weights to start from": weights.hexdigest()}


def add_weights(digest: "hashlib._Hash", network: nn.Module) -> None:
    """Take all that a network has learned into a digest of `hashlib`."""
    for value in network.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())


def read_record(source: str) -> list[dict]:
    """The training record beside weights, in a folder or on the Hub; empty where there is none.

    Training goes on without one that cannot be had, on a machine without network, and says so on stderr.
    """
    file = Path(source) / RECORD
    if not Path(source).is_dir():
        try:
            file = Path(hf_hub_download(source, RECORD))
        except LocalEntryNotFoundError:
            if try_to_load_from_cache(source, RECORD) is not _CACHED_NO_EXIST:
                print(
                    f"deeplens: {source}: {RECORD} is not in the cache, so the new record will lack the stages before; "
                    f"where there is a network, `hf download {source}` fetches it",
                    file=sys.stderr,
                )
            return []
        except RemoteEntryNotFoundError:
            return []
    return repository.read_record(file)


def origin(source: str, record: list[dict]) -> str:
    """Where weights come from in the end: the Hub id that those in a folder were trained from, if they were.

    A folder that says nothing of it is named by its path, "./" before a relative one: owner/name may be a folder, too.
    """
    if not Path(source).is_dir():
        return source
    if Path(source).resolve() == CHECKOUT_WEIGHTS:
        return HUB_ID
    told = [entry["from"] for entry in record if "from" in entry]
    return told[-1] if told else os.path.join(os.curdir, source)


def save_weights(model: DeepLens, folder: Path, record: list[dict]) -> None:
    """Write config.json, model.safetensors (fp16) and the training record; each file is complete or the old one."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "part"
    part.mkdir(exist_ok=True)
    copy.deepcopy(model).cpu().half()._save_pretrained(part)
    (part / "config.json").write_text(json.dumps(asdict(model.config), indent=2) + "\n")
    repository.write_record(part / RECORD, record)
    for file in part.iterdir():
        os.replace(file, folder / file.name)
    part.rmdir()
