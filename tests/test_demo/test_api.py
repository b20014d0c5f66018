"""The page for programs: README's examples against the running page, and nothing public besides."""

import json
import re
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

gradio_client = pytest.importorskip("gradio_client")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLES = dict(re.findall(r"^```(py|sh)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
LOCAL = "http://127.0.0.1:7860"
NAMES = ["refocus", "depth", "rack_focus"]
SERVERS_OWN = {"path": str(ROOT / "docs" / "page.jpg"), "orig_name": "page.jpg"}  # which does not say that it is a file
POINTS = ("start_x", "start_y", "end_x", "end_y")


@pytest.fixture
def desk(tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's folder, with a photo."""
    (tmp_path / "photo.jpg").write_bytes((examples / "chelsea.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sent(address: str, path: str) -> dict:
    """A file sent to the server, as calls name it."""
    handed = subprocess.run(
        ["curl", "-s", "-F", f"files=@{path}", f"{address}/gradio_api/upload"], check=True, capture_output=True
    )
    return {"path": json.loads(handed.stdout)[0], "orig_name": path, "meta": {"_type": "gradio.FileData"}}


def post(url: str, body: dict) -> tuple[int, dict]:
    """Status and answer of a call."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


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
    subprocess.run(["bash", "-euc", EXAMPLES["sh"].replace(LOCAL, address)], cwd=desk, check=True, timeout=300)
    with Image.open(desk / "result.jpg") as result:
        assert result.size == (451, 300)


def test_a_result_tells_of_the_edit_and_not_of_the_place(address, desk):
    with Image.open("photo.jpg") as photo:
        exif = photo.getexif()
        exif[ExifTags.Base.Model] = "Box"
        exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
        photo.save("placed.jpg", exif=exif)
    result = gradio_client.Client(address, verbose=False).predict(
        gradio_client.handle_file("placed.jpg"), api_name="/refocus"
    )
    with Image.open(result) as picture:
        told = picture.getexif()
    assert told[ExifTags.Base.Model] == "Box" and "synthetic" in told[ExifTags.Base.Software]
    assert ExifTags.IFD.GPSInfo not in told


@pytest.mark.parametrize(
    ("name", "values", "wrong", "sentence"),
    [
        ("/refocus", {"x": 9999, "y": 1}, "x", "0 <= x < 451 and 0 <= y < 300"),
        ("/refocus", {"x": 5}, "x", "0 <= x < 451 and 0 <= y < 300"),
        ("/refocus", {"aperture": 17}, "aperture", "aperture must be a number from 0 to 16, got 17"),
        ("/refocus", {"highlights": -1}, "highlights", "highlights must be a number from 0 to 2, got -1"),
        ("/rack_focus", dict.fromkeys(POINTS, 1) | {"seconds": 99}, "seconds", "must be a number from 0.5 to 10"),
        ("/rack_focus", dict.fromkeys(POINTS, 1) | {"end_x": -1}, "end_x", "0 <= x < 451"),
        (
            "/rack_focus",
            dict.fromkeys(POINTS, 1) | {"easing": "bounce"},
            "easing",
            "easing must be one of smooth, linear",
        ),
    ],
)
def test_bad_values_are_refused_with_a_sentence(address, desk, name, values, wrong, sentence):
    client = gradio_client.Client(address, verbose=False)
    with pytest.raises(gradio_client.exceptions.ValidationError) as caught:
        client.predict(gradio_client.handle_file("photo.jpg"), **values, api_name=name)
    assert sentence in str(caught.value) and f"{wrong}: " in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_bad_files_are_refused_before_they_join_the_queue(address, desk, name):
    (desk / "words.jpg").write_text("these are words")
    Image.new("1", (9000, 9000)).save(desk / "large.png")
    rest = {"refocus": [None, None, 8, 1], "depth": [], "rack_focus": [1, 1, 2, 2, 8, 1, "smooth"]}[name]
    for file, sentence in (("words.jpg", "photo must be a picture"), ("large.png", "at most 50 megapixels")):
        status, answer = post(f"{address}/gradio_api/call/{name}", {"data": [sent(address, file), *rest]})
        assert status == 422  # and no event to wait for
        told = answer["detail"][0]
        assert told["parameter_name"] == "photo" and sentence in told["message"]
        assert "/" not in told["message"]  # no path of the server


def test_half_a_file_is_told_by_the_arguments_name(address, desk):
    whole = (desk / "photo.jpg").read_bytes()
    (desk / "half.jpg").write_bytes(whole[: len(whole) // 2])
    client = gradio_client.Client(address, verbose=False)
    with pytest.raises(gradio_client.exceptions.AppError, match="^photo must be a whole, readable picture"):
        client.predict(gradio_client.handle_file("half.jpg"), api_name="/depth")


def test_the_pages_own_listener_refuses_large_files_too(address, desk):
    """Nothing but the page uses it, yet anybody can send to it."""
    Image.new("1", (9000, 9000)).save(desk / "large.png")
    with urllib.request.urlopen(f"{address}/config") as answer:
        config = json.load(answer)
    box = next(part["id"] for part in config["components"] if part["props"].get("elem_id") == "upload")
    opens = next(one for one in config["dependencies"] if one["inputs"][:1] == [box] and len(one["outputs"]) > 1)
    for file, told in ((sent(address, "large.png"), "at most 50 megapixels"), (SERVERS_OWN, "must be uploaded first")):
        call = {"data": [file, None], "fn_index": opens["id"], "session_hash": "somebody"}
        status, answer = post(f"{address}/gradio_api/queue/join", call)
        assert status == 422 and told in answer["detail"][0]["message"]


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
