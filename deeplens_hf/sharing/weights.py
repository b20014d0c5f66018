"""Which weights: what was asked for, else DEEPLENS_MODEL, else the checkout's own, else those on the Hub."""

import os
import re
from pathlib import Path

HUB_ID = "deeplens-hf/deeplens"
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")  # owner/name, of a model or a data set
CHECKOUT_WEIGHTS = Path(__file__).resolve().parents[2] / "weights"


def choose_weights(model: str | None = None) -> str:
    """The Hub id or folder to load, for `DeepLens.from_pretrained`."""
    return _choice(model)[0]


def describe_weights(model: str | None = None) -> str:
    """The same choice and its reason, in one line for people."""
    chosen, reason = _choice(model)
    return f"weights: {chosen} (from {reason})"


def _choice(model: str | None) -> tuple[str, str]:
    if model:
        return model, "the argument"
    if named := os.environ.get("DEEPLENS_MODEL"):
        return named, "DEEPLENS_MODEL"
    if (CHECKOUT_WEIGHTS / "config.json").is_file():
        return str(CHECKOUT_WEIGHTS), "the checkout"
    return HUB_ID, "the Hub"
