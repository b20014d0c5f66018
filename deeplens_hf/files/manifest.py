"""manifest.jsonl, which lists labelled photos: a line a photo, for training and for what is measured."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """A line: a photo's name, what kind it is, who made its mask (None: it has none), and where that stands."""

    id: str
    group: str
    foreground: str | None
    where: str  # for messages


def manifest_of(folder: Path) -> Path | None:
    """The manifest in a folder, or in its photos/; None where there is none."""
    return next((m for m in (folder / "manifest.jsonl", folder / "photos" / "manifest.jsonl") if m.is_file()), None)


def entries(manifest: Path, split: str) -> Iterator[Entry]:
    """The lines of this split. ValueError, with its number, for one that is no object of JSON or lacks a field."""
    for number, line in enumerate(manifest.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"data: {manifest}, line {number},"
        try:
            told = json.loads(line)
            entry, part = Entry(told["id"], told["group"], told["foreground"], where), told["split"]
        except KeyError as error:
            raise ValueError(f"{where} must have the field {error.args[0]}") from None
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where} must be an object of JSON: {error}") from None
        if part == split:
            yield entry
