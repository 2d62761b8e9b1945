"""What Windows has in place of process groups and orphans: job objects, and handles that say when a process ends.

Standard library only.
"""

from __future__ import annotations

import ctypes
from typing import Any

_EXTENDED_LIMIT_INFORMATION = 9
_KILL_ON_JOB_CLOSE = 0x2000
_SYNCHRONIZE = 0x00100000
_INFINITE = 0xFFFFFFFF
_SIGNALED = 0


class _BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION of winnt.h."""

    _fields_ = (
        ("per_process_user_time", ctypes.c_int64),
        ("per_job_user_time", ctypes.c_int64),
        ("flags", ctypes.c_uint32),
        ("least_working_set", ctypes.c_size_t),
        ("most_working_set", ctypes.c_size_t),
        ("active_processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("priority_class", ctypes.c_uint32),
        ("scheduling_class", ctypes.c_uint32),
    )


class _ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION of winnt.h."""

    _fields_ = (
        ("basic", _BasicLimits),
        ("io_counters", ctypes.c_uint64 * 6),
        ("process_memory", ctypes.c_size_t),
        ("job_memory", ctypes.c_size_t),
        ("peak_process_memory", ctypes.c_size_t),
        ("peak_job_memory", ctypes.c_size_t),
    )


def end_children_with_this_process() -> bool:
    """Put this process into a job object that only it holds: Windows ends what it started when it ends, however.

    Returns:
        False if Windows refuses (before Windows 8 where another job holds this process already).
    """
    kernel = _kernel32()
    job = kernel.CreateJobObjectW(None, None)  # not inherited, and never closed but by the end of this process
    if not job:
        return False
    limits = _ExtendedLimits()
    limits.basic.flags = _KILL_ON_JOB_CLOSE
    size = ctypes.sizeof(limits)
    return bool(
        kernel.SetInformationJobObject(job, _EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), size)
        and kernel.AssignProcessToJobObject(job, kernel.GetCurrentProcess())
    )


def wait_for_end(process_id: int) -> bool:
    """Block until a process ends; False at once if it cannot be watched.

    A process that is gone already counts as one that cannot be watched: its pipe has ended too, which tells the same.
    """
    kernel = _kernel32()
    process = kernel.OpenProcess(_SYNCHRONIZE, False, process_id)
    if not process:
        return False
    try:
        return bool(kernel.WaitForSingleObject(process, _INFINITE) == _SIGNALED)
    finally:
        kernel.CloseHandle(process)


def _kernel32() -> Any:
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined, unused-ignore]
    handle, number, truth = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int
    for name, result, arguments in (
        ("CreateJobObjectW", handle, (handle, ctypes.c_wchar_p)),
        ("SetInformationJobObject", truth, (handle, truth, handle, number)),
        ("AssignProcessToJobObject", truth, (handle, handle)),
        ("GetCurrentProcess", handle, ()),
        ("OpenProcess", handle, (number, truth, number)),
        ("WaitForSingleObject", number, (handle, number)),
        ("CloseHandle", truth, (handle,)),
    ):
        function = getattr(kernel, name)
        function.restype, function.argtypes = result, arguments
    return kernel
