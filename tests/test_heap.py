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


HOLES = """
import os
from deeplens_hf import heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

heap.keep_freed_memory()
pieces = [bytearray(b"x" * 900_000) for _ in range(300)]  # 270 MB
pieces = pieces[::30] + [pieces[-1]]  # the last keeps the end of the heap where it is
before = resident()
for _ in range(heap.EVERY):
    heap.give_back()
print(before, resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_what_lies_free_between_pieces_in_use_is_given_back():
    own = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True, env=own)
    before, after = map(int, done.stdout.split())
    assert before > 200 and after < 120


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_freed_memory_is_kept_unless_the_environment_says_otherwise():
    kept, count = faults()
    assert kept == "True" and count < 5000
    kept, count = faults(MALLOC_TRIM_THRESHOLD_="1000000")
    assert kept == "False" and count > 10_000
