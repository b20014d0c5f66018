"""What is typed on the command line, as values; argparse.ArgumentTypeError says what is accepted."""

import argparse
import re


def aperture(text: str) -> float | str:
    """A number, or f/N."""
    try:
        return float(text)
    except ValueError:
        from ..lens import read_f_number

        if read_f_number(text) is None:
            raise argparse.ArgumentTypeError(f"must be a number or such as f/1.8; got {text!r}") from None
        return text


def reference(text: str) -> tuple[tuple[float, float], float]:
    """X,Y,METRES."""
    try:
        x, y, metres = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be X,Y,METRES, such as 640,480,1.2; got {text!r}") from None
    return (x, y), metres


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT in pixels."""
    if not re.fullmatch(r"\d+x\d+", text):
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT in pixels, such as 512x384; got {text!r}")
    width, height = map(int, text.split("x"))
    return width, height


def point(text: str) -> tuple[float, float]:
    """X,Y in pixels."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be X,Y in pixels, such as 640,480; got {text!r}") from None
    return x, y


def interval(text: str) -> tuple[float, float]:
    """FAR,NEAR: disparities."""
    try:
        low, high = sorted(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be two disparities, such as 0.4,0.6; got {text!r}") from None
    return low, high
