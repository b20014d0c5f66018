"""Weights to the Hub, over real HTTP: what goes there, what the card says, what is kept and what is refused."""

import json
import os
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hub_client import Client
from hub_double import OWNER, READER, ROOT, files_in
from PIL import Image
from safetensors.torch import load_file

from deeplens_hf import DeepLens


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


def test_a_second_push_of_ones_own_weights_forgets_nothing(hub, client, saved, tmp_path):
    """As one does to add an evaluation: weights from the Hub, to the same repository."""
    shutil.copytree(saved / "a", tmp_path / "weights")
    record = [{"stage": "render", "steps": 9, "from": "lab/base"}, {"stage": "depth", "steps": 7, "from": "lab/mine"}]
    (tmp_path / "weights" / "training.json").write_text(json.dumps(record))
    first = push(client, tmp_path / "weights", "lab/mine", token=OWNER, license="mit", datasets=["lab/photos"])
    again = push(client, "lab/mine", "lab/mine", token=OWNER)
    assert "url" in first and "url" in again
    there = hub.repos["lab/mine"].files()
    told = header(there["README.md"])
    assert told["license"] == "mit" and told["datasets"] == ["lab/photos"] and told["base_model"] == "lab/base"
    assert "| depth | 7 |" in there["README.md"].decode() and json.loads(there["training.json"]) == record
    other = push(client, "lab/mine", "lab/other", token=OWNER)
    assert "url" in other and header(hub.repos["lab/other"].files()["README.md"])["base_model"] == "lab/mine"


def test_weights_without_a_record_leave_none_of_those_before(hub, client, saved, tmp_path):
    shutil.copytree(saved / "a", tmp_path / "weights")
    (tmp_path / "weights" / "training.json").write_text(json.dumps([{"stage": "depth", "steps": 7}]))
    push(client, tmp_path / "weights", "lab/mine", token=OWNER)
    assert "training.json" in hub.repos["lab/mine"].files()
    push(client, saved / "b", "lab/mine", token=OWNER)
    assert "training.json" not in hub.repos["lab/mine"].files()


def test_pushed_by_one_command_used_by_the_card_and_offline_afterwards(hub, client, saved, measured, tmp_path):
    """The whole way: a command pushes; the card's own snippet runs in a fresh process, and again without a network."""
    shutil.copytree(saved / "a", tmp_path / "weights")
    record = [{"stage": "depth", "steps": 7, "batch_size": 2, "lr": 1e-3, "seed": 5, "photos": 20, "minutes": 0.5}]
    (tmp_path / "weights" / "training.json").write_text(json.dumps(record))
    photo = tmp_path / "photo.jpg"
    shutil.copy(ROOT / "examples" / "chelsea.jpg", photo)
    command = ["push", "lab/new", "--private", "--model", str(tmp_path / "weights"), "--photos", str(photo)]
    command += ["--dataset", "lab/twenty-photos", "--license", "cc-by-4.0", "--evaluation", str(measured)]
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
    assert repo.files()["model.safetensors"] == files_in(saved / "a")["model.safetensors"]

    assert push(client, saved / "a", "lab/cards", token=OWNER, overwrite_card=True)["told"] == []
    assert repo.files()["README.md"] == made


def test_a_card_edited_this_very_moment_is_not_overwritten(hub, client, saved):
    push(client, saved / "a", "lab/cards", token=OWNER)
    repo, looks = hub.repos["lab/cards"], []

    def edited(name: str) -> None:
        looks.append(name)
        if looks.count("README.md") == 2:  # what it says is known, and that nobody has edited it
            repo.commit("main", repo.files() | {"README.md": b"# Mine"}, repo.refs["main"])

    hub.after = edited
    try:
        told = push(client, saved / "b", "lab/cards", token=OWNER)
    finally:
        hub.after = None
    assert told.get("error") == "HubError", told
    assert repo.files()["README.md"] == b"# Mine"
    assert repo.files()["model.safetensors"] == files_in(saved / "a")["model.safetensors"]


def test_branches_and_pull_requests(hub, client, saved):
    repo = hub.repos["lab/lens"]
    main = repo.refs["main"]
    told = push(client, saved / "b", "lab/lens", token=OWNER, branch="trial", datasets=["lab/photos"])
    assert told["url"] == f"{hub.url}/lab/lens/commit/{repo.refs['trial']}"
    push(client, saved / "b", "lab/lens", token=OWNER, branch="trial")
    assert header(repo.files("trial")["README.md"])["datasets"] == ["lab/photos"], "what the branch's card says"
    told = push(client, saved / "b", "lab/lens", token=OWNER, create_pr=True)
    assert told["url"] == f"{hub.url}/lab/lens/discussions/1"
    assert repo.refs["main"] == main
    for ref in ("trial", "refs/pr/1"):
        assert repo.files(ref)["model.safetensors"] == files_in(saved / "b")["model.safetensors"]


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
    client.run(f'model = DeepLens.from_pretrained("lab/lens", cache_dir={str(tmp_path)!r})')
    told = client.run(f'answer = model.push_to_hub("lab/tuned", token={OWNER!r})')
    assert hub.url in told
    card = hub.repos["lab/tuned"].files()["README.md"]
    assert header(card)["base_model"] == "lab/lens" and b"[lab/lens](" in card

    shutil.copytree(saved / "b", tmp_path / "run")
    (tmp_path / "run" / "training.json").write_text(
        json.dumps([{"stage": "depth", "from": "lab/older"}, {"stage": "all", "from": "lab/base"}])
    )
    push(client, tmp_path / "run", "lab/staged", token=OWNER)
    assert header(hub.repos["lab/staged"].files()["README.md"])["base_model"] == "lab/base"


def test_what_is_made_of_a_model_has_its_licence(hub, client, saved, tmp_path):
    push(client, saved / "a", "lab/base", token=OWNER, license="cc-by-nc-4.0")
    push(client, saved / "b", "lab/tuned", token=OWNER, base_model="lab/base")
    assert header(hub.repos["lab/tuned"].files()["README.md"])["license"] == "cc-by-nc-4.0"
    push(client, saved / "b", "lab/told", token=OWNER, base_model="lab/base", license="mit")
    assert header(hub.repos["lab/told"].files()["README.md"])["license"] == "mit"
    told = push(client, saved / "b", "lab/orphan", token=OWNER, base_model="lab/nowhere")["told"]
    assert any("the licence of lab/nowhere is not known" in each for each in told)


def test_figures_and_pictures_of_older_weights_leave_with_them(hub, client, saved, measured, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "moth.jpg")
    more = {"evaluation": str(measured), "previews": [str(tmp_path / "moth.jpg")]}
    push(client, saved / "a", "lab/figures", token=OWNER, **more)
    assert {"evaluation/render.json", "previews/moth.jpg"} <= set(hub.repos["lab/figures"].files())
    push(client, saved / "b", "lab/figures", token=OWNER)
    assert not any(name.startswith(("evaluation/", "previews/")) for name in hub.repos["lab/figures"].files())


def test_saved_and_pushed_in_one_call(hub, client, saved, tmp_path):
    """As any model with the Hub library's mixin: it hands the configuration and the card's arguments on."""

    def save(repo_id: str, **arguments) -> dict | str:
        arguments = {"push_to_hub": True, "repo_id": repo_id, "token": OWNER} | arguments
        load = f"model = DeepLens.from_pretrained({str(saved / 'a')!r})"
        return client.run(f"{load}\nanswer = model.save_pretrained({str(tmp_path / 'out')!r}, **{arguments!r})")

    url = save("lab/saved", model_card_kwargs={"license": "mit", "repo_id": "lab/saved"}, private=True)
    repo = hub.repos["lab/saved"]
    assert url == f"{hub.url}/lab/saved/commit/{repo.refs['main']}" and repo.private
    assert header(repo.files()["README.md"])["license"] == "mit"
    config = repo.files()["config.json"]
    assert config == (saved / "a" / "config.json").read_bytes() == (tmp_path / "out" / "config.json").read_bytes()
    assert save("lab/saved", config=json.loads(config)).startswith(hub.url)
    assert save("lab/saved", datasets=["lab/photos"]).startswith(hub.url)
    assert header(repo.files()["README.md"])["datasets"] == ["lab/photos"]

    head = repo.refs["main"]
    for arguments, says in (
        ({"config": json.loads(config) | {"blur_size": 64}}, "config must be the model's own"),
        ({"model_card_kwargs": {"repo_id": "lab/other"}}, "must name lab/saved, the repository pushed to"),
        ({"model_card_kwargs": {"previews": ["x.jpg"]}}, "there is no x.jpg"),
    ):
        shutil.rmtree(tmp_path / "out")
        told = save("lab/saved", **arguments)
        assert told["error"] == "ValueError" and says in told["message"], told
    assert repo.refs["main"] == head


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
        assert offline.config == loaded.config
    finally:
        api.delete_repo(repo_id, missing_ok=True)
