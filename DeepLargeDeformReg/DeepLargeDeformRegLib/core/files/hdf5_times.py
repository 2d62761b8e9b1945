"""HDF5 files without the time at which they were written: the same transform gives the same bytes.

Object headers of version 2 hold four times of access and change, and a checksum (HDF5 file format specification 3.0,
section IV.A.1.b); ITK has no switch for them. The checksum is Jenkins' lookup3.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_SIGNATURE = b"OHDR"
_HAS_TIMES, _HAS_PHASES = 0x20, 0x10
_WORD = 0xFFFFFFFF


def clear_times(path: Path) -> None:
    """Set all times of object headers to zero, in place; bytes that only look like a header are left alone."""
    with path.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as data:
        at = data.find(_SIGNATURE)
        while at >= 0:
            _clear(data, at)
            at = data.find(_SIGNATURE, at + 4)


def _clear(data: mmap.mmap, at: int) -> None:
    version, flags = data[at + 4 : at + 6]
    if version != 2 or not flags & _HAS_TIMES:
        return
    size_at = at + 22 + (4 if flags & _HAS_PHASES else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(data[size_at : size_at + width], "little")
    end = size_at + width + size
    if end + 4 > len(data) or data[end : end + 4] != _checksum(data[at:end]):
        return
    data[at + 6 : at + 22] = bytes(16)
    data[end : end + 4] = _checksum(data[at:end])


def _checksum(data: bytes) -> bytes:
    """Jenkins' lookup3 hash (hashlittle, http://burtleburtle.net/bob/c/lookup3.c) of bytes, little endian."""
    a = b = c = (0xDEADBEEF + len(data)) & _WORD
    padded = data + bytes(-len(data) % 12)
    blocks = [struct.unpack_from("<3I", padded, start) for start in range(0, len(padded), 12)]
    for number, (x, y, z) in enumerate(blocks, start=1):
        a, b, c = (a + x) & _WORD, (b + y) & _WORD, (c + z) & _WORD
        if number < len(blocks):
            for turn in (4, 6, 8, 16, 19, 4):
                a = ((a - c) & _WORD) ^ _rotated(c, turn)
                c = (c + b) & _WORD
                a, b, c = b, c, a
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, turn)) & _WORD
        a, b, c = b, c, a
    return struct.pack("<I", b)


def _rotated(value: int, turn: int) -> int:
    return ((value << turn) | (value >> (32 - turn))) & _WORD
