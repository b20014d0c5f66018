"""Weights from the Hub and to it, over real HTTP, in processes of their own: what is asked, kept, refused and told."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hub_double import OWNER, READER, ROOT, Client, HubDouble, Repo
from PIL import Image
from safetensors.torch import load_file

from deeplens_hf import DeepLens, DeepLensConfig

SMALL = DeepLensConfig(depth_width=32, blur_width=8, upsampling_width=8, blur_size=96)
SUM = "answer = sum(float(each.detach().double().sum()) for each in model.state_dict().values())"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Two small models, `a` and `b`, in folders."""
    folder = tmp_path_factory.mktemp("saved")
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        DeepLens(SMALL).save_pretrained(folder / name)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def total(folder: Path) -> float:
    """What SUM answers for the weights in the folder."""
    return pytest.approx(
        sum(float(value.double().sum()) for value in DeepLens.from_pretrained(folder).state_dict().values())
    )


@pytest.fixture(scope="module")
def double() -> Iterator[HubDouble]:
    with HubDouble() as double:
        yield double


@pytest.fixture
def hub(double, saved) -> HubDouble:
    """A Hub that holds a's weights as lab/lens, and as lab/secret, which is private."""
    for each in (double.repos, double.faults, double.requests, double.ranges):
        each.clear()
    for repo_id, private in (("lab/lens", False), ("lab/secret", True)):
        double.repos[repo_id] = Repo(private)
        double.repos[repo_id].commit("main", files(saved / "a"), parent=None)
    return double


@pytest.fixture(scope="module")
def client(double, tmp_path_factory) -> Iterator[Client]:
    """One process for most of the tests: torch takes seconds to start."""
    with Client(double.environment(tmp_path_factory.mktemp("home"))) as client:
        client.run("import warnings\nfrom deeplens_hf import DeepLens")
        yield client


def load(client: Client, cache: Path, repo_id: str = "lab/lens", **arguments) -> float | dict:
    """The sum over all weights loaded, or the error."""
    arguments["cache_dir"] = str(cache)
    return client.run(f"model = DeepLens.from_pretrained({repo_id!r}, **{arguments!r})\n{SUM}")


def push(client: Client, folder: Path, repo_id: str, **arguments) -> dict:
    """{"url": ..., "told": [warnings]}, or the error."""
    return client.run(
        f"""
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    url = DeepLens.from_pretrained({str(folder)!r}).push_to_hub({repo_id!r}, **{arguments!r})
answer = {{"url": url, "told": [str(each.message) for each in caught if each.category is UserWarning]}}
"""
    )


def program(code: str, environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=300)


def header(card: bytes) -> dict:
    return yaml.safe_load(card.decode().split("---\n")[1])


def test_pushed_by_one_command_used_by_the_card_and_offline_afterwards(hub, client, saved, tmp_path):
    """The whole way: a command pushes; the card's own snippet runs in a fresh process, and again without a network."""
    shutil.copytree(saved / "a", tmp_path / "weights")
    record = [{"stage": "depth", "steps": 7, "batch_size": 2, "lr": 1e-3, "seed": 5, "photos": 20, "minutes": 0.5}]
    (tmp_path / "weights" / "training.json").write_text(json.dumps(record))
    photo = tmp_path / "photo.jpg"
    shutil.copy(ROOT / "examples" / "chelsea.jpg", photo)
    command = ["push", "lab/new", "--private", "--model", str(tmp_path / "weights"), "--photos", str(photo)]
    command += ["--dataset", "lab/twenty-photos", "--license", "cc-by-4.0", "--evaluation", str(ROOT / "benchmarks")]
    status, told = client.run(
        f"""
import contextlib, io, os
from deeplens_hf import cli
os.environ["HF_TOKEN"] = {OWNER!r}
with contextlib.redirect_stdout(io.StringIO()) as told:
    status = cli.main({command!r})
del os.environ["HF_TOKEN"]
answer = status, told.getvalue()
"""
    )
    assert status == 0 and re.fullmatch(rf"{hub.url}/lab/new/commit/[0-9a-f]{{40}}\n", told)
    assert hub.repos["lab/new"].private
    there = hub.repos["lab/new"].files()
    assert sorted(there) == [
        "README.md", "config.json", "evaluation/depth.json", "evaluation/depth.md", "evaluation/render.json",
        "evaluation/render.md", "model.safetensors", "previews/photo.jpg", "training.json",
    ]  # fmt: skip
    card = there["README.md"].decode()
    told = header(there["README.md"])
    assert told["license"] == "cc-by-4.0" and told["datasets"] == ["lab/twenty-photos"]
    assert told["library_name"] == "deeplens_hf" and told["pipeline_tag"] == "image-to-image"
    assert "| depth | 7 | 2 | 0.001 | 5 | 20 |" in card and "previews/photo.jpg" in card
    width, height = Image.open(BytesIO(there["previews/photo.jpg"])).size
    assert width > 3 * height  # three pictures side by side

    snippet = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    assert 'from_pretrained("lab/new")' in snippet
    reader = hub.environment(tmp_path / "home", READER)
    done = program(snippet, reader, tmp_path)
    assert done.returncode == 0, done.stderr
    first = np.asarray(Image.open(tmp_path / "refocused.jpg")).astype(int)
    DeepLens.from_pretrained(saved / "a").open(photo).refocus((310, 140), 8).save(tmp_path / "expected.jpg")
    assert np.abs(first - np.asarray(Image.open(tmp_path / "expected.jpg"))).mean() < 0.5

    (tmp_path / "refocused.jpg").unlink()
    not_cached = "\ntry:\n    DeepLens.from_pretrained('lab/other')\nexcept ValueError as error:\n    print(error)"
    done = program(snippet + not_cached, reader | {"HF_ENDPOINT": "http://127.0.0.1:9"}, tmp_path)  # nobody is there
    assert done.returncode == 0, done.stderr
    assert np.array_equal(first, np.asarray(Image.open(tmp_path / "refocused.jpg")))
    assert "lab/other is not in the cache: connect to the network" in done.stdout


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
    repo.commit("main", files(saved / "b"), old)
    repo.commit("refs/pr/1", files(saved / "a"), old)
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
    commits = iter([files(tmp_path / "other")])

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
    a = files(saved / "a")
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


def test_a_card_edited_by_hand_is_kept(hub, client, saved):
    push(client, saved / "a", "lab/cards", token=OWNER)
    repo = hub.repos["lab/cards"]
    made = repo.files()["README.md"]

    assert push(client, saved / "b", "lab/cards", token=OWNER, datasets=["lab/more"])["told"] == []
    again = repo.files()["README.md"]
    assert made != again and header(again)["datasets"] == ["lab/more"], "nobody has edited it: made anew"

    edited = again.replace(b"# cards", b"# Cards of the lab")
    assert edited != again
    repo.commit("main", repo.files() | {"README.md": edited}, repo.refs["main"])
    told = push(client, saved / "a", "lab/cards", token=OWNER)["told"]
    assert len(told) == 1 and "edited by hand and is kept" in told[0]
    assert repo.files()["README.md"] == edited
    assert repo.files()["model.safetensors"] == files(saved / "a")["model.safetensors"]

    assert push(client, saved / "a", "lab/cards", token=OWNER, overwrite_card=True)["told"] == []
    assert repo.files()["README.md"] == made


def test_branches_and_pull_requests(hub, client, saved):
    repo = hub.repos["lab/lens"]
    main = repo.refs["main"]
    told = push(client, saved / "b", "lab/lens", token=OWNER, branch="trial")
    assert told["url"] == f"{hub.url}/lab/lens/commit/{repo.refs['trial']}"
    told = push(client, saved / "b", "lab/lens", token=OWNER, create_pr=True)
    assert told["url"] == f"{hub.url}/lab/lens/discussions/1"
    assert repo.refs["main"] == main
    for ref in ("trial", "refs/pr/1"):
        assert repo.files(ref)["model.safetensors"] == files(saved / "b")["model.safetensors"]


def test_pushing_without_the_right_to(hub, client, saved):
    before = dict(hub.repos["lab/lens"].refs)
    told = push(client, saved / "a", "lab/lens")
    assert told["error"] == "HubError" and "log in" in told["message"], told
    told = push(client, saved / "a", "lab/lens", token=READER)
    assert told["error"] == "HubError" and "no right with the token given to write to lab/lens" in told["message"], told
    told = push(client, saved / "a", "lens", token=OWNER)
    assert told["message"] == "repo_id must be owner/name, got 'lens'"
    assert hub.repos["lab/lens"].refs == before


def test_private_weights_never_go_to_a_public_repository(hub, client, saved):
    before = dict(hub.repos["lab/lens"].refs)
    told = push(client, saved / "a", "lab/lens", token=OWNER, private=True)
    assert told["error"] == "HubError" and "lab/lens is public already; make it private" in told["message"]
    told = push(client, saved / "a", "lab/secret", token=OWNER, private=False)
    assert told["error"] == "HubError" and "lab/secret is private already" in told["message"]
    assert hub.repos["lab/lens"].refs == before
    push(client, saved / "a", "lab/secret2", token=OWNER, private=True)
    assert hub.repos["lab/secret2"].private


def test_fine_tuned_weights_name_their_base(hub, client, saved, tmp_path):
    load(client, tmp_path / "cache")
    told = client.run(f'answer = model.push_to_hub("lab/tuned", token={OWNER!r})')
    assert hub.url in told
    card = hub.repos["lab/tuned"].files()["README.md"]
    assert header(card)["base_model"] == "lab/lens" and b"[lab/lens](" in card

    shutil.copytree(saved / "b", tmp_path / "run")
    (tmp_path / "run" / "training.json").write_text(
        json.dumps([{"stage": "depth"}, {"stage": "all", "from": "lab/base"}])
    )
    push(client, tmp_path / "run", "lab/staged", token=OWNER)
    assert header(hub.repos["lab/staged"].files()["README.md"])["base_model"] == "lab/base"


def test_figures_of_older_weights_leave_with_them(hub, client, saved):
    push(client, saved / "a", "lab/figures", token=OWNER, evaluation=str(ROOT / "benchmarks"))
    assert "evaluation/render.json" in hub.repos["lab/figures"].files()
    push(client, saved / "b", "lab/figures", token=OWNER)
    assert not any(name.startswith("evaluation/") for name in hub.repos["lab/figures"].files())


@pytest.mark.skipif(
    not (os.environ.get("HF_TOKEN") and os.environ.get("DEEPLENS_TEST_REPO")),
    reason="the real Hub: set HF_TOKEN, and DEEPLENS_TEST_REPO to an owner/name that may be made and deleted",
)
def test_the_real_hub(saved, tmp_path):
    from huggingface_hub import HfApi

    repo_id, api = os.environ["DEEPLENS_TEST_REPO"], HfApi()
    try:
        url = DeepLens.from_pretrained(saved / "a").push_to_hub(repo_id, private=True)
        assert repo_id in url
        loaded = DeepLens.from_pretrained(repo_id, cache_dir=tmp_path / "cache")
        wanted = load_file(saved / "a" / "model.safetensors")
        assert all(torch.equal(value, wanted[name].float()) for name, value in loaded.state_dict().items())
        card = Path(api.hf_hub_download(repo_id, "README.md", cache_dir=tmp_path / "card")).read_text()
        api.upload_file(path_or_fileobj=f"{card}\nMine.".encode(), path_in_repo="README.md", repo_id=repo_id)
        with pytest.warns(UserWarning, match="edited by hand and is kept"):
            loaded.push_to_hub(repo_id, private=True)
        offline = DeepLens.from_pretrained(repo_id, cache_dir=tmp_path / "cache", local_files_only=True)
        assert offline.config == SMALL
    finally:
        api.delete_repo(repo_id, missing_ok=True)
