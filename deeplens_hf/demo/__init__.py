"""The page in the browser: `build_demo(model)` makes it, `LOOK` goes to its `launch`."""

from .page import LOOK, build_demo

__all__ = ["LOOK", "build_demo"]
