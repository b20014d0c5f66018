"""What the benchmarks' own arithmetic says: a figure that nobody checks is nobody's."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_seconds_are_the_median_after_a_warm_up(monkeypatch):
    speed, clock, calls = program("speed"), [0.0], []

    def run() -> None:
        calls.append(None)
        clock[0] += (100, 3, 1, 50)[len(calls) - 1]  # the first, and one that something else slowed

    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    assert speed.median(run, 3) == pytest.approx(3) and len(calls) == 4
