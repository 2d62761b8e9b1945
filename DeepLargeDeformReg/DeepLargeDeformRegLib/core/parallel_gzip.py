"""gzip made by several threads, and the same bytes by any number of them.

As in pigz (Adler), the data are cut into blocks that are compressed each by itself and end at a whole byte, so that
they make one stream when they are laid end to end (RFC 1951, 1952). Writing a large field waits for nothing else.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

LEVEL = 2  # as ITK writes .nrrd; more takes longer and saves little of numbers that are noise in their lower bits
_MOST_THREADS = 4
_HEADER = b"\x1f\x8b\x08" + bytes(6) + b"\xff"  # no name, no time, any system
_LAST_BLOCK = b"\x03\x00"


def write_gzip(write: Callable[[memoryview], object], blocks: Iterable[bytes | memoryview]) -> None:
    """Write blocks of data, compressed.

    Args:
        write: writes all of what it is given.
        blocks: the data, of about a megabyte each; a block may be changed once the next one is asked for.
    """
    write(memoryview(_HEADER))
    check, length = 0, 0
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as threads:
        waiting: deque[Future[bytes]] = deque()
        for block in blocks:
            data = bytes(block)
            check, length = zlib.crc32(data, check), length + len(data)
            waiting.append(threads.submit(_compressed, data))
            if len(waiting) > 2 * _MOST_THREADS:
                write(memoryview(waiting.popleft().result()))
        for one in waiting:
            write(memoryview(one.result()))
    write(memoryview(_LAST_BLOCK + struct.pack("<II", check, length & 0xFFFFFFFF)))


def _compressed(data: bytes) -> bytes:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
