"""Weights from a folder or the Hub, and back: strict, safetensors only, one commit at a time, errors that help."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import HfApi, PyTorchModelHubMixin, constants, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

FORMAT_VERSION = 1  # of config.json and of the tensors' names; raised when an older deeplens_hf could not read them
CONFIG, WEIGHTS = constants.CONFIG_NAME, constants.SAFETENSORS_SINGLE_FILE
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class WeightsError(ValueError):
    """Weights that do not fit the model: a missing, unknown or misshapen tensor, a broken, foreign or missing file."""


class HubError(ValueError):
    """The Hub does not give, or take, what was asked: no network, no such repository or revision, no right to it."""


class HubMixin(PyTorchModelHubMixin):
    """`from_pretrained` and `save_pretrained` of a model whose only argument is a flat dataclass, `config_class`."""

    config_class: type

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        dtype: torch.dtype | str = torch.float32,
        map_location: str | torch.device = "cpu",
    ) -> Self:
        """The model that a folder or a repository on the Hub holds, in evaluation mode.

        Args:
            pretrained_model_name_or_path: a folder with config.json and model.safetensors, or "owner/name" on the Hub.
            revision: branch, tag, commit or "refs/pr/N" on the Hub; its main branch if not given.
            token: of the Hub, for what is not public; True or None: that of `hf auth login` or HF_TOKEN; False: none.
            cache_dir: where downloads are kept; the Hub library's cache if not given.
            force_download: load again what the cache holds.
            local_files_only: the cache alone, without a look at the network. It is asked, too, if there is no network.
            dtype: float32 or float64 for the whole model; bfloat16 or float16, by name or as torch's, for the depth
                network, which is most of it, while light stays in float32.
            map_location: the device that the model goes to.

        Raises:
            HubError: the Hub cannot be reached and the cache lacks the files; no such repository or revision, or no
                right to read it.
            WeightsError: no deeplens_hf model, tensors of another configuration, another format than safetensors, a
                damaged file, a format newer than this package.
            ValueError: dtype is none of the four.
        """
        dtype = _check_dtype(dtype)
        source = str(pretrained_model_name_or_path)
        if os.path.isdir(source):
            config_file, weights_file = _find_in_folder(Path(source))
        else:
            download = partial(
                hf_hub_download,
                token=token,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
            )
            config_file, weights_file = _find_on_hub(source, revision, token, download)
        model = cls(read_config(config_file, cls.config_class, source))
        try:
            weights = load_file(weights_file)
        except SafetensorError as error:
            raise WeightsError(f"{weights_file} is not a complete safetensors file: {error}") from error
        check_weights(weights, model.state_dict(), source)
        model.load_state_dict(weights)  # half-precision files are widened to the model's float32
        model.to(map_location, dtype if dtype.itemsize >= 4 else None)
        if dtype.itemsize < 4:
            model.depth.to(dtype)
        return model.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write model.safetensors; in half precision where that loses nothing, as with weights that came so."""
        # torch.compile puts a prefix before the names of what it wraps
        weights = {name.replace("_orig_mod.", ""): value.contiguous() for name, value in self.state_dict().items()}
        halves = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
        if all(torch.equal(halves[name].to(value.dtype), value) for name, value in weights.items()):
            weights = halves
        save_file(weights, save_directory / WEIGHTS, metadata={"format": "pt"})


def read_config(file: Path, config_class: type, source: str) -> Any:
    """config.json as the dataclass; what an older one lacks has its default. WeightsError if it is another's."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
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


def _find_in_folder(folder: Path) -> tuple[Path, Path]:
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise WeightsError(_lacks(str(folder), name, os.listdir(folder)))
    return folder / CONFIG, folder / WEIGHTS


def _find_on_hub(repo_id: str, revision: str | None, token: str | bool | None, download: Any) -> tuple[Path, Path]:
    """Both files, of one and the same commit, as they were pushed."""
    commit = revision
    with plain_errors(repo_id, revision, token):
        try:
            config = Path(download(repo_id, CONFIG, revision=revision))
            commit = config.parent.name  # so that a push in between cannot mix two models
            weights = Path(download(repo_id, WEIGHTS, revision=commit))
        except RemoteEntryNotFoundError as error:
            names = HfApi(token=token).list_repo_files(repo_id, revision=commit)
            missing = WEIGHTS if CONFIG in names else CONFIG
            raise WeightsError(_lacks(repo_id, missing, names)) from error
    # the cache names a large file by the hash that the Hub announced for it; nobody has compared them yet
    announced = os.path.basename(os.path.realpath(weights))
    if re.fullmatch("[0-9a-f]{64}", announced) and sha256(weights.read_bytes()).hexdigest() != announced:
        raise WeightsError(f"{weights} was damaged on its way or on the disk: load it again with force_download=True")
    return config, weights


def _lacks(source: str, name: str, others: list[str]) -> str:
    pickles = [other for other in others if other.endswith(PICKLES)]
    if name == WEIGHTS and pickles:
        return f"{source} holds no {name} but {pickles[0]}, a pickle, which can run code when read: it is refused"
    return f"{source} is no deeplens_hf model: it holds no {name}"


@contextmanager
def plain_errors(repo_id: str, revision: str | None = None, token: str | bool | None = None) -> Iterator[None]:
    """What the Hub's library raises, as a HubError that says what to do."""
    known = "the token given" if token else "no token" if token is False else "the token of `hf auth login`, if any"
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
            f"no folder {repo_id!r} here, and no repository of that name on the Hub that may be seen with {known}: "
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
        if status == 401:
            raise HubError(f"the Hub does not accept {known}: make a new one in its settings") from error
        if status == 403:
            raise HubError(f"{known} has no right to do this with {repo_id}: it needs one to write") from error
        raise HubError(f"the Hub answered {status} for {repo_id}: {error.server_message or error}") from error
    except HTTPError as error:
        raise HubError(f"the connection to the Hub failed on {repo_id}: {error or type(error).__name__}") from error


def _check_dtype(dtype: torch.dtype | str) -> torch.dtype:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found not in DTYPES:
        names = ", ".join(str(each).removeprefix("torch.") for each in DTYPES)
        raise ValueError(f"dtype must be one of {names}; got {dtype!r}")
    return found
