"""Large tensors that reuse the memory of earlier ones, where Linux' usual C library (glibc) manages it.

The library asks the system for each block of more than 32 MB anew, and gives it back when it is freed. The system
clears each page that it hands out: a fifth of a network's time on a processor, and a twentieth of a registration's.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Numbers of parameters in malloc.h, and what they are where nobody changes them.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_USUAL_MMAP_MAX = 65536
_LARGEST_USUAL_THRESHOLD = 32 << 20  # glibc raises its threshold as far by itself, which it no longer does afterwards
_NEVER = (1 << 31) - 1

_lock = threading.Lock()
_users = 0


@contextmanager
def reused_memory() -> Iterator[None]:
    """Within the block freed memory is kept for the next tensor; behind it, it goes back to the system.

    It does nothing where the C library is another one. Several threads may be in such blocks.
    """
    global _users
    library = _glibc()
    if library is None:
        yield
        return
    with _lock:
        _users += 1
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                library.mallopt(_MMAP_MAX, _USUAL_MMAP_MAX)
                library.mallopt(_MMAP_THRESHOLD, _LARGEST_USUAL_THRESHOLD)
                library.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_USUAL_THRESHOLD)
        give_back()


def give_back() -> None:
    """Give freed memory that is kept back to the system, for other programs, and to count what is free."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it is glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None
