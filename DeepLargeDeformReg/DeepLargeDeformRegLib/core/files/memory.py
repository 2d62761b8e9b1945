"""How much memory an image would take, asked before a byte is allocated: headers may promise anything."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from ..errors import MemoryExhaustedError
from ..sentences import marked as _

COPIES = 3
"""An image is held this many times at the most while it is read: as stored, as float32, and on the way between."""
_UNKNOWN = 4 << 30  # half of what the smallest machine of a radiologist has
_MEBIBYTE = 1 << 20


def available_bytes() -> int:
    """Memory of this machine that is free now."""
    if sys.platform == "win32":
        return _available_on_windows()
    status = Path("/proc/meminfo")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return _UNKNOWN


def check_memory(name: str, size: int, copies: int = COPIES) -> None:
    """Refuse an image that would not fit into this machine's memory.

    Args:
        name: of the file, for the message.
        size: bytes of one copy.
        copies: copies that are held at one time.

    Raises:
        MemoryExhaustedError: with both numbers.
    """
    needed = size * copies
    if needed < 64 * _MEBIBYTE:
        return
    available = available_bytes()
    if needed > available:
        raise MemoryExhaustedError(
            _(
                "{name} does not fit into this machine's memory: its header asks for {needed:.3g} GB, and "
                "{available:.3g} GB are free; crop or coarsen it, or close other programs."
            ).format(name=name, needed=needed / 2**30, available=available / 2**30)
        )


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of sysinfoapi.h."""

    _fields_ = (("length", ctypes.c_uint32), ("load", ctypes.c_uint32), ("bytes", ctypes.c_uint64 * 7))


def _available_on_windows() -> int:
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):  # type: ignore[attr-defined, unused-ignore]
        return _UNKNOWN
    return int(status.bytes[1])  # of physical memory: all of it, what is free
