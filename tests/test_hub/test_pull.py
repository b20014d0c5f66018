"""Weights from the Hub, over real HTTP: revisions, tokens, the cache, what breaks on the way, what is refused."""

import json
import re
from pathlib import Path

import pytest
from hub_client import Client
from hub_double import READER, Repo, files_in

from deeplens_hf import DeepLens, DeepLensConfig

SUM = "answer = sum(float(each.detach().double().sum()) for each in model.state_dict().values())"


def total(folder: Path) -> float:
    """What SUM answers for the weights in the folder."""
    return pytest.approx(
        sum(float(value.double().sum()) for value in DeepLens.from_pretrained(folder).state_dict().values())
    )


def load(client: Client, cache: Path, repo_id: str = "lab/lens", **arguments) -> float | dict:
    """The sum over all weights loaded, or the error."""
    arguments["cache_dir"] = str(cache)
    return client.run(f"model = DeepLens.from_pretrained({repo_id!r}, **{arguments!r})\n{SUM}")


def test_two_processes_pull_at_once(hub, client, saved, tmp_path):
    client.run(
        f"""
import os
children = [os.fork() for _ in range(2) if os.getpid() == {client.process.pid}]
if os.getpid() != {client.process.pid}:
    model = DeepLens.from_pretrained("lab/lens", cache_dir={str(tmp_path / "cache")!r})
    {SUM}
    with open({str(tmp_path)!r} + f"/{{os.getpid()}}.txt", "w") as file:
        file.write(str(answer))
    os._exit(0)
for child in children:
    os.waitpid(child, 0)
"""
    )
    assert [float(file.read_text()) for file in tmp_path.glob("*.txt")] == [total(saved / "a")] * 2
    assert not list(tmp_path.rglob("*.incomplete"))


def test_revisions(hub, client, saved, tmp_path):
    repo = hub.repos["lab/lens"]
    old = repo.refs["main"]
    repo.commit("main", files_in(saved / "b"), old)
    repo.commit("refs/pr/1", files_in(saved / "a"), old)
    assert load(client, tmp_path) == total(saved / "b")
    assert load(client, tmp_path, revision=old) == total(saved / "a")
    assert load(client, tmp_path, revision="refs/pr/1") == total(saved / "a")
    assert load(client, tmp_path, revision=old[:-1] + "x") == {
        "error": "HubError",
        "message": f"lab/lens has no revision '{old[:-1]}x': no such branch, tag or commit",
    }


def test_both_files_are_of_one_commit_though_a_push_comes_between(hub, client, saved, tmp_path):
    """config.json of the old model, then a push of one of another shape, then the weights."""
    repo = hub.repos["lab/lens"]
    DeepLens(DeepLensConfig(depth_width=32, blur_width=16)).save_pretrained(tmp_path / "other")
    commits = iter([files_in(tmp_path / "other")])

    def pushed_after_config(name: str) -> None:
        if name == "config.json":
            repo.commit("main", next(commits), repo.refs["main"])

    hub.after = pushed_after_config
    try:
        assert load(client, tmp_path / "cache") == total(saved / "a")
    finally:
        hub.after = None
    assert next(commits, None) is None, "the push happened"


def test_private_repositories(hub, client, saved, tmp_path):
    told = load(client, tmp_path, "lab/secret")
    assert told["error"] == "HubError" and "pass token=" in told["message"] and "lab/secret" in told["message"]
    told = load(client, tmp_path, "lab/secret", token="hf_wrong")
    assert told["error"] == "HubError" and "knows nobody with the token given" in told["message"]
    assert load(client, tmp_path, "lab/secret", token=READER) == total(saved / "a")
    assert load(client, tmp_path, "lab/secret", token=READER, local_files_only=True) == total(saved / "a")


@pytest.mark.parametrize(
    ("repo_id", "error", "words"),
    [
        ("lab/nothing", "HubError", "no repository of that name"),
        ("weights/of/mine", "HubError", "neither a folder here nor of the Hub's form owner/name"),
        ("lab/empty", "WeightsError", "is no deeplens_hf model: it holds no config.json"),
        ("lab/config-only", "WeightsError", "is no deeplens_hf model: it holds no model.safetensors"),
        ("lab/bert", "WeightsError", "is no deeplens_hf model: its config.json describes another kind"),
        ("lab/pickle", "WeightsError", "pytorch_model.bin, a pickle, which can run code when read: it is refused"),
        ("lab/other", "WeightsError", "does not fit config.json"),
        ("lab/newer", "WeightsError", "format_version 99 is newer"),
    ],
)
def test_what_is_no_model_is_refused_in_plain_words(hub, client, saved, tmp_path, repo_id, error, words):
    a = files_in(saved / "a")
    config = json.loads(a["config.json"])
    trees = {
        "lab/empty": {"README.md": b"# Nothing"},
        "lab/config-only": {"config.json": a["config.json"]},
        "lab/bert": a | {"config.json": b'{"model_type": "bert", "hidden_size": 768}'},
        "lab/pickle": {"config.json": a["config.json"], "pytorch_model.bin": b"\x80\x04"},
        "lab/other": a | {"config.json": json.dumps(config | {"depth_width": 64}).encode()},
        "lab/newer": a | {"config.json": json.dumps(config | {"format_version": 99, "lenses": 2}).encode()},
    }
    if repo_id in trees:
        hub.repos[repo_id] = Repo()
        hub.repos[repo_id].commit("main", trees[repo_id], None)
    told = load(client, tmp_path, repo_id)
    assert told["error"] == error and words in told["message"] and repo_id in told["message"], told
    assert "\n" not in told["message"]
    assert not any("resolve" in request and ".bin" in request for request in hub.requests), "the pickle was not fetched"


def test_not_cached_and_no_network_allowed(hub, client, tmp_path):
    told = load(client, tmp_path, local_files_only=True)
    assert told["error"] == "HubError" and "lab/lens is not in the cache" in told["message"]
    assert not hub.requests


def test_an_interrupted_download_is_resumed(hub, client, saved, tmp_path):
    client.run(
        "from huggingface_hub import constants\nconstants.DOWNLOAD_CHUNK_SIZE = 65_536"
    )  # what a cut cannot lose
    hub.faults["model.safetensors"] = "cut once"
    assert load(client, tmp_path) == total(saved / "a")
    size = len(hub.repos["lab/lens"].files()["model.safetensors"])
    assert len(hub.ranges) == 1 and size // 4 < int(re.search(r"\d+", hub.ranges[0])[0]) <= size // 2


@pytest.mark.slow
def test_a_download_that_keeps_breaking_fails_cleanly(hub, client, saved, tmp_path):
    hub.faults["model.safetensors"] = "cut"
    told = load(client, tmp_path)
    assert told["error"] == "HubError" and "the connection to the Hub failed on lab/lens" in told["message"]
    hub.faults.clear()
    assert load(client, tmp_path) == total(saved / "a"), "what was half there does no harm"


def test_a_damaged_file_is_found_out(hub, client, saved, tmp_path):
    hub.faults["model.safetensors"] = "damage"
    told = load(client, tmp_path)
    assert told["error"] == "WeightsError" and "damaged" in told["message"] and "force_download=True" in told["message"]
    hub.faults.clear()
    assert load(client, tmp_path)["error"] == "WeightsError", "the damage is still in the cache"
    assert load(client, tmp_path, force_download=True) == total(saved / "a")
