"""A model's process keeps the memory of freed tensors, so that the next ones cost no page faults."""

import os
import subprocess
import sys

import pytest

from deeplens_hf.heap import SETTINGS

REPEATED = """
import resource
import torch
from deeplens_hf import DeepLens, DeepLensConfig
from deeplens_hf.heap import keep_freed_memory

DeepLens(DeepLensConfig(depth_width=32, blur_width=8))
def maps():  # 60 MB, all freed again
    return len([torch.ones(2_500_000) for _ in range(6)])
maps()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    maps()
print(keep_freed_memory(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> tuple[str, int]:
    """Whether memory is kept, and the page faults of 300 MB in tensors after the first 60."""
    own = {name: value for name, value in os.environ.items() if name not in SETTINGS} | environment
    done = subprocess.run([sys.executable, "-c", REPEATED], capture_output=True, text=True, check=True, env=own)
    kept, count = done.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_freed_memory_is_kept_unless_the_environment_says_otherwise():
    kept, count = faults()
    assert kept == "True" and count < 5000
    kept, count = faults(MALLOC_TRIM_THRESHOLD_="1000000")
    assert kept == "False" and count > 10_000
