"""Ctrl-C, noted: torch, while it reads weights, takes the KeyboardInterrupt for a ValueError of its own."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def noting_ctrl_c(pressed: list[int]) -> Iterator[None]:
    """Within it, Ctrl-C raises KeyboardInterrupt as ever, and puts its signal's number into `pressed`."""

    def interrupt(number: int, frame: object) -> NoReturn:
        pressed.append(number)
        raise KeyboardInterrupt

    usual = signal.getsignal(signal.SIGINT)
    if usual is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield  # somebody else's to handle
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
