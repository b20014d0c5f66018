"""Memory that freed tensors leave is kept for the next ones: getting it anew takes up to a fifteenth of a photo's time.

A photo is rendered through a thousand maps of some megabytes. glibc hands many back as they are freed, and the kernel
clears each page again for the next: up to 25,000 pages a picture of 768 x 512.
"""

import ctypes
import itertools
import os
import sys
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGEST = 32 << 20  # bytes: what is larger goes back at once, as before; the most that glibc takes here
KEPT = 256 << 20  # bytes
EVERY = 5  # photos: it takes up to a tenth of a second
SETTINGS = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")

_calls = itertools.count(1)


@cache
def keep_freed_memory() -> bool:
    """Have this process keep up to 256 MB of what it frees, and say whether it will: on Linux with glibc.

    Not where the environment has settings of its own for that (SETTINGS).
    """
    if sys.platform != "linux" or any(name in os.environ for name in SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))


def give_back() -> None:
    """Give back what lies free between pieces in use, where `keep_freed_memory` keeps memory: every EVERY calls.

    glibc gives back the end of its heap alone: photos of different sizes leave holes, more with each.
    """
    if keep_freed_memory() and next(_calls) % EVERY == 0:
        ctypes.CDLL(None).malloc_trim(0)
