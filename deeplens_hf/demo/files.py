"""Files that visitors bring and take away: checked before any work, named after the upload, forgotten after a while."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from ..pictures import PhotoError, open_header

MOST = 50_000_000  # pixels of an upload


def check_upload(path: str) -> None:
    """PhotoError for a picture of more than MOST pixels, before they are read; what is no picture shows later."""
    try:
        with open(path, "rb") as file:
            size = open_header(file, "photo").size
    except OSError:
        return
    if size[0] * size[1] > MOST:
        raise PhotoError(f"photo must have at most {MOST // 10**6} megapixels, this one has {size[0]} x {size[1]}")


def file_to_take(name: str, ending: str) -> Path:
    """Where to write a file to be downloaded: in a folder of its own, below the one that gradio empties."""
    folder = Path(get_upload_folder()) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    stem = re.sub(r"[^\w.-]+", "_", name).strip("._")[:80]
    return folder / f"{stem or 'photo'}{ending}"


def sentence(error: Exception, path: str = "", name: str = "the file") -> str:
    """What went wrong, for people: the server's path of their file replaced by its name."""
    text = str(error)
    for form in (path, repr(path)):
        text = text.replace(form, name) if path else text
    return text


def warn(text: str) -> None:
    """Say it on the page, which would take it for HTML."""
    gr.Warning(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


@contextmanager
def told(path: str = "") -> Iterator[None]:
    """A fault of the visitor's ends the listener with a sentence, on the page and to callers of the API."""
    try:
        yield
    except ValueError as error:
        raise gr.Error(sentence(error, path), print_exception=False) from None
