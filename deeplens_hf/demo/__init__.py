"""The page in the browser: `own_page(model)` is what is served here, `LAUNCH` goes to its `launch`."""

import os
from typing import Any

import gradio as gr

from ..model import DeepLens
from ..sharing.weights import CHECKOUT_WEIGHTS
from .look import LOOK
from .page import build_demo
from .sweep import keep_tidy

# gradio keeps all that was sent to each of so many visitors, callers of the API included; photos are on a `shelf`
LAUNCH = {**LOOK, "mcp_server": True, "max_file_size": "100mb", "state_session_capacity": 500}

__all__ = ["LAUNCH", "build_demo", "offered", "own_page"]


def offered() -> dict[str, Any]:
    """What `build_demo` offers here: the checkout's example photos, where there is one, with their credits, and the
    depth models that DEEPLENS_DEPTH_MODELS names, with commas between.
    """
    folder = CHECKOUT_WEIGHTS.with_name("examples")
    examples = sorted(folder.glob("*.jpg"))
    named = (name.strip() for name in os.environ.get("DEEPLENS_DEPTH_MODELS", "").split(","))
    return {
        "examples": examples,
        "credits": (folder / "CREDITS.md").read_text(encoding="utf-8") if examples else "",
        "depth_models": [name for name in named if name],
    }


def own_page(model: DeepLens) -> gr.Blocks:
    """`build_demo` with what is offered here, for a program of its own: no file of a visitor stays behind."""
    there = offered()
    keep_tidy(photo.name for photo in there["examples"])
    return build_demo(model, **there)
