"""Weights from a folder or the Hub, and to it: strict, safetensors only, one commit at a time, with a card."""

import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import torch
from huggingface_hub import HfApi, ModelCard, PyTorchModelHubMixin
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..inputs import usable_device
from .card import EVALUATIONS, edited_by_hand, make_card, told_by
from .release import CARD, card_there, check_release, licence_of, open_repo, own_names, published
from .repository import (
    RECORD,
    WEIGHTS,
    WeightsError,
    check_weights,
    find_in_folder,
    find_on_hub,
    plain_errors,
    read_config,
    read_record,
    write_record,
)
from .weights import CHECKOUT_WEIGHTS, HUB_ID, HUB_NAME

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class HubMixin(PyTorchModelHubMixin):
    """Loading, saving and sharing of a model whose only argument is a flat dataclass, `config_class`.

    Attributes:
        source: the folder or Hub id that the weights came from; None for those of a new model.
        record_file: how they were trained, training.json beside them; None where that is not told.
    """

    config_class: type
    source: str | None = None
    record_file: Path | None = None

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
                network, while light, and the look for which way is up, stay in float32.
            map_location: the device that the model goes to.

        Raises:
            HubError: the Hub cannot be reached and the cache lacks the files; no such repository or revision, or no
                right to read it.
            WeightsError: no deeplens_hf model, tensors of another configuration, another format than safetensors, a
                damaged file, a format newer than this package.
            ValueError: dtype is none of the four, map_location no device of this machine, or a revision of a folder.
        """
        dtype = _check_dtype(dtype)
        source = str(pretrained_model_name_or_path)
        device = usable_device(map_location)
        if os.path.isdir(source):
            if revision is not None:
                raise ValueError(f"revision is of repositories on the Hub, and {source} is a folder: leave it out")
            config_file, weights_file, record_file = find_in_folder(Path(source))
        else:
            cache = {"cache_dir": cache_dir, "force_download": force_download, "local_files_only": local_files_only}
            config_file, weights_file, record_file = find_on_hub(source, revision, token, **cache)
        model = cls(read_config(config_file, cls.config_class, source))
        try:
            weights = load_file(weights_file)
        except SafetensorError as error:
            raise WeightsError(f"{weights_file} is not a complete safetensors file: {error}") from error
        check_weights(weights, model.state_dict(), source)
        model.load_state_dict(weights)  # half-precision files are widened to the model's float32
        model.to(device, dtype if dtype.itemsize >= 4 else None)
        if dtype.itemsize < 4:
            model.depth.to(dtype)
        model.source = str(Path(source).resolve()) if os.path.isdir(source) else source
        model.record_file = record_file and record_file.absolute()
        return model.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write model.safetensors; in half precision where that loses nothing, as with weights that came so.

        The training record that came with the weights goes with them.
        """
        # torch.compile puts a prefix before the names of what it wraps
        weights = {name.replace("_orig_mod.", ""): value.contiguous() for name, value in self.state_dict().items()}
        halves = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
        if all(torch.equal(halves[name].to(value.dtype), value) for name, value in weights.items()):
            weights = halves
        save_file(weights, save_directory / WEIGHTS, metadata={"format": "pt"})
        if self.record_file and self.record_file.is_file() and not self.record_file.parent.samefile(save_directory):
            shutil.copyfile(self.record_file, save_directory / RECORD)

    def generate_model_card(self, **known: Any) -> ModelCard:
        """The card that `save_pretrained` and `push_to_hub` write; `known` as of `card.make_card`."""
        return make_card(self.config, sum(each.numel() for each in self.parameters()), **known)

    def save_release(
        self,
        folder: Path,
        repo_id: str,
        *,
        record: Sequence[dict] | None = None,
        evaluation: Path | None = None,
        previews: Sequence[Path] = (),
        base_model: str | None = None,
        datasets: Sequence[str] = (),
        license: str | None = None,
    ) -> None:
        """Write into the empty folder all that `push_to_hub` would push, card included; arguments, errors as there."""
        check_release(repo_id, evaluation, self)  # before anything is written
        pictures = dict(zip(own_names(previews), map(Path, previews), strict=True))
        record = self._record(record)
        base_model = base_model or self._base_model(record, repo_id)
        record = [published(entry) for entry in record]
        known = {
            "repo_id": repo_id,
            "record": record,
            "evaluation": evaluation,
            "previews": list(pictures),
            "base_model": base_model,
            "datasets": list(datasets),
            "license": license,
        }
        self.save_pretrained(folder, model_card_kwargs=known)
        (folder / RECORD).unlink(missing_ok=True)
        if record:
            write_record(folder / RECORD, record)
        files = {Path("previews", name): file for name, file in pictures.items()}
        if evaluation is not None:
            names = [f"{name}.{kind}" for name in EVALUATIONS for kind in ("json", "md")]
            files |= {Path("evaluation", name): Path(evaluation, name) for name in names}
        for target, file in files.items():
            if file.is_file():
                (folder / target).parent.mkdir(exist_ok=True)
                shutil.copyfile(file, folder / target)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        commit_message: str = "Push weights of deeplens_hf",
        overwrite_card: bool = False,
        config: Any = None,
        model_card_kwargs: dict[str, Any] | None = None,
        **release: Any,
    ) -> str:
        """Share the model: configuration, weights, card, evaluation, training record and previews in one commit.

        Args:
            repo_id: "owner/name"; made if there is none.
            private: True or False for a new repository; one that is there must be so already. None: as it is, a new
                one as its owner's settings have it.
            token: of the Hub, with the right to write; that of `hf auth login` or HF_TOKEN if not given.
            branch: pushed to; made if there is none. Main if not given.
            create_pr: open a pull request on the branch instead of pushing to it.
            commit_message: the commit's first line.
            overwrite_card: replace the card on the Hub even if it was edited by hand, and take over nothing of it;
                such a card is kept, with a warning, otherwise.
            config: what `save_pretrained(push_to_hub=True)` hands on: the model's own, as a dataclass or a dict.
            model_card_kwargs: likewise, more of **release; what is given in both is taken from that.
            **release: what goes along and what the card says, all optional. record: the stages of training
                (training.json beside the weights if not given). evaluation: the folder that `deeplens evaluate --out`
                wrote. previews: files of pictures. base_model: the Hub id that the weights were fine-tuned from (where
                they were loaded from, or trained from, if that was another repository of the Hub). datasets: Hub ids
                of the data. license: the Hub's name of it. What of these two is not given is what the card there says;
                else there are none, and the licence is that of base_model (not without a network), or apache-2.0.

        Returns:
            The address of the commit, or of the pull request.

        Raises:
            HubError: no network, no right to write there, not the visibility wanted.
            ValueError: `evaluation` holds no result, a preview is missing, or `config` is another than the weights'.
        """
        if config is not None and (asdict(config) if is_dataclass(config) else dict(config)) != asdict(self.config):
            raise ValueError("config must be the model's own: its weights fit no other; leave it out")
        release = (model_card_kwargs or {}) | release
        if release.pop("repo_id", repo_id) != repo_id:
            raise ValueError(f"model_card_kwargs must name {repo_id}, the repository pushed to, or none")
        if missing := [str(each) for each in release.get("previews", ()) if not Path(each).is_file()]:
            raise ValueError(f"previews must be files of pictures; there is no {', '.join(missing)}")
        api = HfApi(token=token)
        with TemporaryDirectory() as folder, plain_errors(repo_id, branch, token):
            check_release(repo_id, release.get("evaluation"), self)
            said = {} if overwrite_card else told_by(card_there(api, repo_id, branch))
            release |= {name: value for name, value in said.items() if not release.get(name)}
            release["record"] = self._record(release.get("record"))
            base = release["base_model"] = release.get("base_model") or self._base_model(release["record"], repo_id)
            if not release.get("license") and base != HUB_ID and HUB_NAME.fullmatch(base or ""):
                release["license"] = licence_of(api, base)  # what is made of it inherits
            self.save_release(Path(folder), repo_id, **release)
            open_repo(api, repo_id, private)
            if branch and not create_pr:
                api.create_branch(repo_id, branch=branch, exist_ok=True)
            head = api.model_info(repo_id, revision=branch)
            card = card_there(api, repo_id, head.sha)
            kept = not overwrite_card and card is not None and edited_by_hand(card)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message,
                revision=branch,
                create_pr=create_pr,
                parent_commit=head.sha,  # lest a card be overwritten that somebody edits this very moment
                ignore_patterns=[CARD] if kept else [],
                # those of the weights before; the record of these, if they are from there, may not be in the cache
                delete_patterns=["evaluation/*", "previews/*", *([RECORD] if self.source != repo_id else [])],
            )
        if kept:
            warnings.warn(
                f"the card of {repo_id} was edited by hand and is kept; overwrite_card replaces it", stacklevel=2
            )
        return str(commit.pr_url or commit.commit_url)

    def _record(self, given: Sequence[dict] | None) -> Sequence[dict]:
        """The stages that made these weights: as given, else as recorded beside them; a new model has none."""
        if given is not None:
            return given
        return read_record(self.record_file) if self.record_file else []

    def _base_model(self, record: Sequence[dict], repo_id: str) -> str | None:
        """What the weights were loaded from, or last trained from, that is another repository of the Hub."""
        for origin in (self.source, *(entry.get("from") for entry in reversed(record))):
            if not isinstance(origin, str):
                continue
            if Path(origin).resolve() == CHECKOUT_WEIGHTS:
                origin = HUB_ID
            if origin != repo_id and HUB_NAME.fullmatch(origin) and not os.path.exists(origin):
                return origin
        return None


def _check_dtype(dtype: torch.dtype | str) -> torch.dtype:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found not in DTYPES:
        names = ", ".join(str(each).removeprefix("torch.") for each in DTYPES)
        raise ValueError(f"dtype must be one of {names}; got {dtype!r}")
    return found
