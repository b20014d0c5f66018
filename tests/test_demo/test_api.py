"""The page for programs: README's examples against the running page, and nothing public besides."""

import json
import re
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

gradio_client = pytest.importorskip("gradio_client")

pytestmark = pytest.mark.slow

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
EXAMPLES = dict(re.findall(r"^```(py|sh)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
LOCAL = "http://127.0.0.1:7860"
NAMES = ["refocus", "depth", "rack_focus"]


@pytest.fixture
def desk(tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's folder, with a photo."""
    (tmp_path / "photo.jpg").write_bytes((examples / "chelsea.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_example(address, desk):
    code = EXAMPLES["py"].replace(LOCAL, address)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    photo, depth, film = (Path(names[name]) for name in ("photo", "depth", "film"))
    with Image.open(photo) as result, Image.open("photo.jpg") as original:
        assert result.size == original.size
        assert np.abs(np.asarray(result).astype(float) - np.asarray(original)).mean() > 1
    with Image.open(depth) as levels:
        assert levels.mode == "I;16" and levels.size == original.size
    assert b"ftyp" in film.read_bytes()[:16]


def test_curl_example(address, desk):
    subprocess.run(["bash", "-euc", EXAMPLES["sh"].replace(LOCAL, address)], cwd=desk, check=True, timeout=120)
    with Image.open(desk / "result.jpg") as result:
        assert result.size == (451, 300)


def test_errors_are_sentences(address, desk):
    client = gradio_client.Client(address, verbose=False)
    with pytest.raises(gradio_client.exceptions.AppError, match="0 <= x < 451"):
        client.predict(gradio_client.handle_file("photo.jpg"), x=9999, y=1, api_name="/refocus")
    (desk / "words.jpg").write_text("these are words")
    with pytest.raises(gradio_client.exceptions.AppError, match="must be a picture") as caught:
        client.predict(gradio_client.handle_file("words.jpg"), api_name="/depth")
    assert "/" not in str(caught.value)  # no path of the server


def test_three_functions_are_public_typed_and_told(address):
    with urllib.request.urlopen(f"{address}/gradio_api/info") as answer:
        info = json.load(answer)
    assert list(info["named_endpoints"]) == [f"/{name}" for name in NAMES] and not info["unnamed_endpoints"]
    with urllib.request.urlopen(f"{address}/gradio_api/mcp/schema") as answer:
        tools = json.load(answer)
    assert [tool["name"] for tool in tools] == NAMES
    for tool in tools:
        assert len(tool["description"]) > 40
        for name, told in tool["inputSchema"]["properties"].items():
            assert told["type"] in ("string", "number") and len(told["description"]) > 15, name
