"""Functions that look at their data are kept out of compiled graphs: compiling them takes long, and gains nothing."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

Given = ParamSpec("Given")
Found = TypeVar("Found")


def uncompiled(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """`torch.compiler.disable`, but the compiler, a second to import, is imported only where something is compiled."""

    @wraps(function)
    def called(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        if torch.compiler.is_compiling():
            return torch.compiler.disable(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return called
