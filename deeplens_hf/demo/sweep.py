"""Files that gradio forgets: of calls that were cancelled, uploads that broke off, a program that was stopped.

gradio deletes what it remembers having handed out. Here all goes that lies in the page's own folder, once nobody has
touched it for long.
"""

import contextlib
import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from threading import Thread

from gradio.utils import get_upload_folder

from .page import IDLE

FOLDER = "deeplens_hf"  # below gradio's, where other programs may have their files


def keep_tidy(kept: Iterable[str] = ()) -> None:
    """Give the page a folder of its own and empty it from now on; to be called before the page is built.

    kept: names of files that stay, such as those of the examples.
    """
    folder = Path(get_upload_folder())
    if folder.name != FOLDER:
        folder = folder / FOLDER
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
    Thread(target=_sweep_for_ever, args=(folder, frozenset(kept)), name="sweep", daemon=True).start()


def sweep(folder: Path, older: float, kept: Collection[str] = (), now: float | None = None) -> None:
    """Delete the files below a folder that were last touched so many seconds ago, and folders left empty as long."""
    before = (time.time() if now is None else now) - older
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            file = Path(place, name)
            with contextlib.suppress(OSError):  # gone already
                if name not in kept and file.stat().st_ctime < before:  # of a copy, the mtime is the original's
                    file.unlink()
        with contextlib.suppress(OSError):  # not empty
            if Path(place) != folder and os.stat(place).st_ctime < before:
                os.rmdir(place)


def _sweep_for_ever(folder: Path, kept: frozenset[str]) -> None:
    while True:
        sweep(folder, 2 * IDLE, kept)
        time.sleep(IDLE)
