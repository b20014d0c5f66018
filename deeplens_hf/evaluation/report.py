"""A benchmark's rows as files: JSON for programs, Markdown for people."""

import json
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path

from ..files.writing import replacing


def group(rows: Iterable[dict], key: Callable[[dict], Hashable]) -> dict:
    """Rows by key, in the order of first appearance."""
    groups: dict = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def mean(rows: Sequence[dict], figure: str) -> float | None:
    """Mean of one figure over the rows that have it; None if none has."""
    values = [row[figure] for row in rows if row[figure] is not None]
    return sum(values) / len(values) if values else None


def figure(value: float) -> float | None:
    """A figure that JSON can hold: None for one that is not finite (the edges of a scene without edges)."""
    return value if math.isfinite(value) else None


def cell(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column text and the others figures."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])


def write(content: dict, markdown: str, out: Path, name: str) -> None:
    """Write `out`/name.json and `out`/name.md, each whole or not at all."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for file, text in (
        (f"{name}.json", json.dumps(content, indent=1, allow_nan=False) + "\n"),
        (f"{name}.md", markdown),
    ):
        with replacing(out / file) as whole:
            whole.write(text.encode())
