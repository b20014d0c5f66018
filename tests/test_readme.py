"""README.md is true: each example in it runs, each link leads somewhere, the Space's header fits the package."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from deeplens_hf.cli import build_parser
from deeplens_hf.sharing.weights import CHECKOUT_WEIGHTS, HUB_ID
from deeplens_hf.training.arguments import DEFAULTS, check

ROOT = Path(__file__).resolve().parent.parent
HEADER, TEXT = (ROOT / "README.md").read_text().removeprefix("---\n").split("\n---\n", 1)
EXAMPLES = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PROGRAMS = [code for language, code in EXAMPLES if language == "python"]
COMMANDS = [line for language, code in EXAMPLES if language == "bash" for line in code.splitlines()]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def desk(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the reader has it: a photo and the weights."""
    desk = tmp_path_factory.mktemp("desk")
    shutil.copy(ROOT / "examples" / "chelsea.jpg", desk / "photo.jpg")
    shutil.copytree(model_folder, desk / "weights")
    return desk


def run(command: list[str], desk: Path) -> str:
    settings = {"PYTHONPATH": str(ROOT), "DEEPLENS_MODEL": str(desk / "weights")}
    done = subprocess.run(command, cwd=desk, env=os.environ | settings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_python_example_runs(program: str, desk: Path):
    run([sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", program], desk)


@pytest.mark.slow
def test_commands_run_in_order_and_write_what_they_name(desk: Path):
    commands = [shlex.split(line, comments=True) for line in COMMANDS]
    commands = [command for command in commands if command[:2] != ["deeplens", "train"]]
    assert len(commands) >= 4
    for program, *arguments in commands:
        assert program == "deeplens"
        out = desk / arguments[arguments.index("-o") + 1]
        out.unlink(missing_ok=True)
        run([sys.executable, "-m", "deeplens_hf", *arguments], desk)
        assert out.stat().st_size > 1000


def test_training_commands_are_understood():
    commands = [shlex.split(line, comments=True)[1:] for line in COMMANDS if line.startswith("deeplens train")]
    assert {command[1] for command in commands} == set(DEFAULTS)
    runs = (ROOT / "docs" / "history" / "training.md").read_text().replace("\\\n", "")
    commands += [shlex.split(line)[1:] for line in runs.splitlines() if line.startswith("deeplens train")]
    assert len(commands) > 50
    for command in commands:  # hours each: their own tests run them
        check(build_parser(command).parse_args(command))


def test_make_has_the_targets():
    makefile = (ROOT / "Makefile").read_text()
    promised = set(re.findall(r"\bmake (demo|refocus|test)\b", TEXT))
    assert promised == {"demo", "refocus", "test"} == promised & set(re.findall(r"^(\w+):", makefile, re.MULTILINE))


def test_files_it_names_are_there():
    named = re.findall(r"\]\(([^)#:]+)\)", TEXT) + re.findall(r"`([\w./]+\.(?:py|md)|LICENSE)`", TEXT)
    assert len(named) >= 6
    made_by_weights = set() if CHECKOUT_WEIGHTS.exists() else {"docs/refocus.jpg"}
    assert [name for name in named if name not in made_by_weights and not (ROOT / name).exists()] == []


def test_header_makes_a_space_of_the_checkout():
    header = yaml.safe_load(HEADER)
    needs = {
        need.name: need for need in map(Requirement, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["demo"])
    }
    assert header["sdk"] == "gradio" and header["sdk_version"] in needs["gradio"].specifier
    assert header["python_version"] == "3.12"  # quoted: 3.10 would be read as the number 3.1
    assert (ROOT / header["app_file"]).is_file()
    assert header["models"] == [HUB_ID]
    assert header["license"].lower() == PROJECT["license"].lower()
    assert len(header["short_description"]) <= 60  # the Hub refuses longer ones


def test_space_installs_what_the_package_needs():
    listed = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert sorted(listed) == sorted(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["demo"])
