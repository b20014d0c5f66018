"""What the tests of the Hub share: a Hub with weights on it, and a client."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_client import Client
from hub_double import HubDouble, Repo, files_in

from deeplens_hf import DeepLens, DeepLensConfig

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SMALL = DeepLensConfig(depth_width=32, blur_width=8, upsampling_width=8, blur_size=96)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Two small models, `a` and `b`, in folders."""
    folder = tmp_path_factory.mktemp("saved")
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        DeepLens(SMALL).save_pretrained(folder / name)
    return folder


@pytest.fixture
def measured(tmp_path) -> Path:
    """The checkout's benchmarks, without a word of whose weights they are."""
    folder = tmp_path / "measured"
    folder.mkdir()
    for name in ("render", "depth"):
        content = json.loads((BENCHMARKS / f"{name}.json").read_text())
        content.pop("weights", None)
        (folder / f"{name}.json").write_text(json.dumps(content))
        shutil.copy(BENCHMARKS / f"{name}.md", folder)
    return folder


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
        double.repos[repo_id].commit("main", files_in(saved / "a"), parent=None)
    return double


@pytest.fixture(scope="module")
def client(double, tmp_path_factory) -> Iterator[Client]:
    """One process for most of the tests: torch takes seconds to start."""
    with Client(double.environment(tmp_path_factory.mktemp("home"))) as client:
        client.run("import warnings\nfrom deeplens_hf import DeepLens")
        yield client
