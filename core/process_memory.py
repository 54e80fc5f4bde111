"""Keeps memory that was freed, for what allocates the same large blocks again and again."""

import ctypes
import platform
from functools import cache

# <malloc.h>; mallopt(3)
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8


@cache
def keep_freed_memory() -> bool:
    """Lets this process reuse large blocks instead of giving them back; call it before threads start.

    glibc gives blocks of some megabytes back to the kernel as soon as they are freed, and the kernel hands
    them out again page by page, zeroed: a network's activations on a CPU pay that at every layer. The process
    keeps its peak of memory from then on. Nothing happens, and the answer is False, where the C library is
    not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Threads' own arenas end at 64 MB, so that all share the one that grows.
    return all([mallopt(_M_ARENA_MAX, 1), mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, -1)])
