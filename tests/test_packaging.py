"""What `pip install` gives people: the code and the card's template, no weights, a command that works elsewhere."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from deeplens_hf import __version__

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the checkout, weights, tests and all."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md", "LICENSE", "model_card.md"):
        shutil.copy(ROOT / name, copy)
    for name in ("deeplens_hf", "weights", "tests", "examples", "docs"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", "dist", "."]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return next((copy / "dist").glob("*.whl"))


@pytest.mark.slow
def test_wheel_holds_the_code_and_no_weights(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"deeplens_hf", f"deeplens_hf-{__version__}.dist-info"}
    assert not [name for name in names if name.endswith((".safetensors", ".pt", ".onnx", ".jpg", ".png"))]
    assert wheel.stat().st_size < 1_000_000
    ours = [path for path in (ROOT / "deeplens_hf").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {str(path.relative_to(ROOT)) for path in ours} <= set(names), "code, the page's files, the card's template"
    assert zipfile.ZipFile(wheel).read("deeplens_hf/sharing/model_card.md") == (ROOT / "model_card.md").read_bytes()


@pytest.mark.slow
def test_installed_elsewhere_it_refocuses_and_shares(wheel: Path, model_folder: Path, tmp_path: Path):
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", site, wheel]
    subprocess.run(command, check=True, timeout=300)
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    environment.pop("DEEPLENS_MODEL", None)

    def deeplens(*arguments: object) -> str:
        program = [sys.executable, site / "bin" / "deeplens", *arguments]
        done = subprocess.run(map(str, program), cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert deeplens("--version") == f"deeplens {__version__}\n"
    photo = ROOT / "examples" / "chelsea.jpg"
    deeplens("push", "lab/lens", "--model", model_folder, "--photos", photo, "--dry-run", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "deeplens_hf"
    assert (tmp_path / "out" / "previews" / "chelsea.jpg").stat().st_size > 10_000
    assert json.loads((tmp_path / "out" / "config.json").read_text())["format_version"] >= 1


def test_what_the_weights_do_not_need_is_not_waited_for():
    slow = {"transformers", "scipy", "torch._dynamo", "gradio"}
    code = f"import sys; from deeplens_hf import DeepLens; print(sorted({slow} & sys.modules.keys()))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_one_version_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == citation["version"] == __version__
    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_citation_has_what_the_format_asks_for():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    paper = citation["preferred-citation"]
    assert paper["title"] in (ROOT / "README.md").read_text().replace("\n", " ")
    assert all({"family-names", "given-names"} <= author.keys() for author in paper["authors"])


def test_names_are_offered_and_types_are_told():
    import deeplens_hf

    assert set(deeplens_hf.__all__) <= set(dir(deeplens_hf))
    assert (Path(deeplens_hf.__file__).parent / "py.typed").is_file()
