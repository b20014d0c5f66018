"""Files that visitors take away: named after the upload, forgotten after a while; and what to tell of a bad one."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from .words import plain


def file_to_take(name: str, ending: str) -> Path:
    """Where to write a file to be downloaded: in a folder of its own, below the one that gradio empties."""
    folder = Path(get_upload_folder()) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    stem = re.sub(r"[^\w.-]+", "_", name).strip("._").encode()[:150].decode(errors="ignore")  # disks allow 255 bytes
    return folder / f"{stem or 'photo'}{ending}"


def sentence(error: Exception, path: str = "", name: str = "the file") -> str:
    """What went wrong, for people: the server's path of their file replaced by its name, `source` called photo."""
    text = str(error)
    text = "photo" + text.removeprefix("source") if text.startswith("source ") else text
    for form in (path, repr(path)):
        text = text.replace(form, name) if path else text
    return text


def warn(error: Exception | str) -> None:
    """Say on the page what is wrong; what was going on ends well."""
    if isinstance(error, gr.Error):  # of ZeroGPU: with a title, and sometimes a link
        gr.Warning(error.message, error.duration, title=error.title)
        return
    gr.Warning(escape(plain(str(error)), quote=False))  # it is HTML


def refusal(error: Exception | str) -> gr.Error:
    """The same where what was going on cannot end well."""
    if isinstance(error, gr.Error):
        return error
    return gr.Error(escape(plain(str(error)), quote=False), print_exception=False)


@contextmanager
def told(path: str) -> Iterator[None]:
    """A fault of the caller's ends a call of the API with a sentence."""
    try:
        yield
    except gr.Error:  # a ValueError too
        raise
    except ValueError as error:
        raise gr.Error(sentence(error, path), print_exception=False) from None
