"""What a folder, or a repository on the Hub, must hold to be a deeplens_hf model, and plain words where it does not."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_token, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from torch import Tensor

FORMAT_VERSION = 8  # of config.json and of the tensors' names; raised when an older deeplens_hf could not read them
CONFIG, WEIGHTS = constants.CONFIG_NAME, constants.SAFETENSORS_SINGLE_FILE
RECORD = "training.json"  # an entry a run of training, the first one first
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class WeightsError(ValueError):
    """Weights that do not fit the model: a missing, unknown or misshapen tensor, a broken, foreign or missing file."""


class HubError(ValueError):
    """The Hub does not give, or take, what was asked: no network, no such repository or revision, no right to it."""


def read_config(file: Path, config_class: type, source: str) -> Any:
    """config.json as the dataclass; what an older one lacks has its default. WeightsError if it is another's."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{source}: {CONFIG} is no JSON: {error}") from None
    defaults = {field.name: field.default for field in fields(config_class)}
    if not isinstance(found, dict) or "lens_blur" not in found:
        raise WeightsError(f"{source} is no deeplens_hf model: its {CONFIG} describes another kind")
    for name in defaults.keys() & found.keys():
        if type(found[name]) is not type(defaults[name]):
            kind = type(defaults[name]).__name__
            raise WeightsError(f"{source}: {name} in {CONFIG} must be of type {kind}; got {found[name]!r}")
    try:
        config = config_class(**{name: value for name, value in found.items() if name in defaults})
    except ValueError as error:
        raise WeightsError(f"{source}: {CONFIG}: {error}") from None
    if unknown := found.keys() - defaults.keys():
        raise WeightsError(f"{source}: {CONFIG} has fields that this deeplens_hf does not know: {sorted(unknown)}")
    return config


def read_record(file: Path) -> list[dict]:
    """The training record; empty where there is none. WeightsError if it is no list of entries."""
    if not file.is_file():
        return []
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{file} is no JSON: {error}") from None
    if not isinstance(record, list) or not all(isinstance(entry, dict) for entry in record):
        raise WeightsError(f"{file} must be a list of entries, an object for each run of training")
    return record


def write_record(file: Path, record: list[dict]) -> None:
    """The training record, as `read_record` reads it."""
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def check_weights(weights: dict[str, Tensor], wanted: dict[str, Tensor], source: str) -> None:
    """Raise WeightsError naming the first tensors that are missing, unknown or of another shape."""
    faults = {
        "missing": [name for name in wanted if name not in weights],
        "unknown": [name for name in weights if name not in wanted],
        "misshapen": [
            f"{name} {tuple(weights[name].shape)} for {tuple(like.shape)}"
            for name, like in wanted.items()
            if name in weights and weights[name].shape != like.shape
        ],
    }
    told = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in faults.items()
        if names
    ]
    if told:
        raise WeightsError(f"{source}: {WEIGHTS} does not fit {CONFIG}: {'; '.join(told)}")


def find_in_folder(folder: Path) -> tuple[Path, Path, Path | None]:
    """config.json, model.safetensors and, if there, training.json; WeightsError if one of the others is missing."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise WeightsError(_lacks(str(folder), name, os.listdir(folder)))
    record = folder / RECORD
    return folder / CONFIG, folder / WEIGHTS, record if record.is_file() else None


def find_on_hub(
    repo_id: str, revision: str | None, token: str | bool | None, **cache: Any
) -> tuple[Path, Path, Path | None]:
    """The same three files of one and the same commit, as they were pushed; `cache` as of hf_hub_download."""
    commit = revision
    with plain_errors(repo_id, revision, token):
        try:
            config = Path(hf_hub_download(repo_id, CONFIG, revision=revision, token=token, **cache))
            commit = config.parent.name  # so that a push in between cannot mix two models
            weights = Path(hf_hub_download(repo_id, WEIGHTS, revision=commit, token=token, **cache))
        except RemoteEntryNotFoundError as error:
            names = HfApi(token=token).list_repo_files(repo_id, revision=commit)
            missing = WEIGHTS if CONFIG in names else CONFIG
            raise WeightsError(_lacks(repo_id, missing, names)) from error
        try:
            record = Path(hf_hub_download(repo_id, RECORD, revision=commit, token=token, **cache))
        except EntryNotFoundError:  # nor is it in the cache, and there is no network: the model works without
            record = None
    # the cache names a large file by the hash that the Hub announced for it; nobody has compared them yet
    announced = os.path.basename(os.path.realpath(weights))
    if re.fullmatch("[0-9a-f]{64}", announced) and _hash(weights) != announced:
        raise WeightsError(f"{weights} was damaged on its way or on the disk: load it again with force_download=True")
    return config, weights, record


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _lacks(source: str, name: str, others: list[str]) -> str:
    pickles = [other for other in others if other.endswith(PICKLES)]
    if name == WEIGHTS and pickles:
        return f"{source} holds no {name} but {pickles[0]}, a pickle, which can run code when read: it is refused"
    if name == CONFIG and Path(source, "weights", CONFIG).is_file():  # where a run writes them
        return f"{source} is no deeplens_hf model; do you mean {Path(source, 'weights')}?"
    return f"{source} is no deeplens_hf model: it holds no {name}"


@contextmanager
def plain_errors(repo_id: str, revision: str | None = None, token: str | bool | None = None) -> Iterator[None]:
    """What the Hub's library raises, as a HubError that says what to do."""
    used = token if isinstance(token, str) else None if token is False else get_token()
    known = "without a token" if used is None else "with the token given" if token else "with the token of this machine"
    try:
        yield
    except HFValidationError as error:
        raise HubError(f"{repo_id!r} is neither a folder here nor of the Hub's form owner/name") from error
    except GatedRepoError as error:
        raise HubError(
            f"{repo_id} is gated: accept its terms on its page, then pass a token of that account as token=..., "
            "or log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"no folder {repo_id!r} here, and no repository of that name on the Hub that may be seen {known}: "
            "if it is private, pass token=..., or log in with `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(f"{repo_id} has no revision {revision!r}: no such branch, tag or commit") from error
    except LocalEntryNotFoundError as error:
        at = f" at revision {revision!r}" if revision else ""
        raise HubError(
            f"no folder {repo_id!r} here, and the Hub's {repo_id}{at} is not in the cache: connect to the network once "
            "(without local_files_only and HF_HUB_OFFLINE), and it will be"
        ) from error
    except LocalTokenNotFoundError as error:
        raise HubError("the Hub wants a token: pass token=..., or log in with `hf auth login`") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401 and used is None:
            raise HubError(
                f"the Hub does not do this with {repo_id} {known}: pass token=..., or log in with `hf auth login`"
            ) from error
        if status == 401:
            raise HubError(f"the Hub knows nobody {known}: it has expired, or was mistyped") from error
        if status == 403:
            raise HubError(
                f"no right {known} to write to {repo_id}: ask its owner, or make a token that may write"
            ) from error
        raise HubError(f"the Hub answered {status} for {repo_id}: {error.server_message or error}") from error
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise HubError(f"the connection to the Hub failed on {repo_id}: {error or type(error).__name__}") from error
