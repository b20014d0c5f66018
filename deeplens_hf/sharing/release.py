"""What goes to the Hub beside the weights: what is refused, what is told of them, what is there already."""

import hashlib
import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from torch import nn

from .card import measured_weights, told_by
from .repository import HubError
from .weights import HUB_NAME

CARD = "README.md"


def check_release(repo_id: str, evaluation: Path | None, model: nn.Module) -> None:
    """What `save_release` refuses, told before the work on a release.

    Raises:
        HubError: `repo_id` is not "owner/name"; ValueError: `evaluation` holds no result, or is of other weights.
    """
    if not HUB_NAME.fullmatch(repo_id):
        raise HubError(f"repo_id must be owner/name, got {repo_id!r}")
    if evaluation is not None:
        others = measured_weights(evaluation) - {fingerprint(model)}
        if others:
            raise ValueError(f"evaluation must be of these weights; what {evaluation} holds was measured of others")


def published(entry: dict) -> dict:
    """An entry of the training record as others see it: of a folder it tells no more than that it was one."""
    origin = entry.get("from")
    return entry if not isinstance(origin, str) or HUB_NAME.fullmatch(origin) else entry | {"from": "a folder"}


def fingerprint(model: nn.Module) -> str:
    """What tells these weights from others, in float32 as in the half precision that they are shared in."""
    told = hashlib.sha256()
    named = {name.replace("_orig_mod.", ""): value for name, value in model.state_dict().items()}  # of compiled parts
    for name, value in sorted(named.items()):
        told.update(name.encode() + (value.half() if value.is_floating_point() else value).cpu().numpy().tobytes())
    return told.hexdigest()


def own_names(files: Sequence[Path]) -> list[str]:
    """A name for each in one folder: its own, numbered where another of them has it (some disks tell no capitals)."""
    names: dict[str, str] = {}
    for file in map(Path, files):
        numbered = (file.with_stem(f"{file.stem}-{number}").name for number in itertools.count(2))
        name = next(name for name in itertools.chain([file.name], numbered) if name.lower() not in names)
        names[name.lower()] = name
    return list(names.values())


def open_repo(api: HfApi, repo_id: str, private: bool | None) -> None:
    """Make the repository, or see that the one there is as private as wanted."""
    try:
        there = api.model_info(repo_id)
    except RepositoryNotFoundError:
        api.create_repo(repo_id, private=private)
        return
    if private is not None and there.private != private:
        is_, wanted = ("private", "public") if there.private else ("public", "private")
        raise HubError(f"{repo_id} is {is_} already; make it {wanted} in its settings on the Hub, then push again")


def card_there(api: HfApi, repo_id: str, revision: str | None) -> str | None:
    """The text of the card that is there; None where there is none, or no such repository or branch yet."""
    try:
        with TemporaryDirectory() as cache:
            file = api.hf_hub_download(repo_id, CARD, revision=revision, cache_dir=cache)
            return Path(file).read_text(encoding="utf-8")
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
        return None


def licence_of(api: HfApi, base: str) -> str | None:
    """What the card of a model says of its licence; None, with a warning, where it cannot be read or says nothing."""
    licence = told_by(card_there(api, base, None)).get("license")
    if licence is None:
        warnings.warn(f"the licence of {base} is not known; license tells that of what was made of it", stacklevel=3)
    return licence
