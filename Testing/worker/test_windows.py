"""What the worker asks of Windows, against a stand-in for its kernel32: none of it has run on Windows itself."""

from __future__ import annotations

import ctypes
import struct
from typing import Any

import pytest
from DeepLargeDeformRegLib.core.files import memory
from DeepLargeDeformRegLib.engine import device
from DeepLargeDeformRegLib.worker import process, server, windows

JOB, SELF, PARENT = 71, -1, 72


class Kernel:
    """Notes the calls of kernel32 and the bytes that they were given."""

    def __init__(self, refused: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.limits = b""
        self._refused = refused

    def _answer(self, name: str, answer: int, *arguments: Any) -> int:
        self.calls.append((name, *arguments))
        return 0 if name == self._refused else answer

    def CreateJobObjectW(self, security: Any, name: Any) -> int:  # noqa: N802
        return self._answer("create", JOB, security, name)

    def SetInformationJobObject(self, job: int, kind: int, limits: Any, size: int) -> int:  # noqa: N802
        self.limits = ctypes.string_at(ctypes.cast(limits, ctypes.c_void_p), size)
        return self._answer("limit", 1, job, kind, size)

    def GetCurrentProcess(self) -> int:  # noqa: N802
        return SELF

    def AssignProcessToJobObject(self, job: int, given: int) -> int:  # noqa: N802
        return self._answer("assign", 1, job, given)

    def OpenProcess(self, access: int, inherit: bool, identifier: int) -> int:  # noqa: N802
        return self._answer("open", PARENT, access, inherit, identifier)

    def WaitForSingleObject(self, handle: int, milliseconds: int) -> int:  # noqa: N802
        return self._answer("wait", 0, handle, milliseconds)

    def CloseHandle(self, handle: int) -> int:  # noqa: N802
        return self._answer("close", 1, handle)


def test_children_end_with_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    monkeypatch.setattr(windows, "_kernel32", lambda: kernel)
    assert windows.end_children_with_this_process()
    assert kernel.calls == [("create", None, None), ("limit", JOB, 9, len(kernel.limits)), ("assign", JOB, SELF)]
    # winnt.h on 64 bits: 144 bytes, LimitFlags behind two LARGE_INTEGER; 0x2000: JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE.
    assert len(kernel.limits) == 144
    assert struct.unpack_from("<I", kernel.limits, 16) == (0x2000,)
    assert kernel.limits.replace(struct.pack("<I", 0x2000), b"", 1).strip(b"\0") == b""


@pytest.mark.parametrize("refused", ["create", "limit", "assign"])
def test_a_refusal_is_told(refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(refused)
    monkeypatch.setattr(windows, "_kernel32", lambda: kernel)
    assert not windows.end_children_with_this_process()
    assert kernel.calls[-1][0] == refused
    assert "close" not in [call[0] for call in kernel.calls]  # closing would end this process


def test_the_end_of_the_parent_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    monkeypatch.setattr(windows, "_kernel32", lambda: kernel)
    assert windows.wait_for_end(4711)
    assert kernel.calls == [("open", 0x00100000, False, 4711), ("wait", PARENT, 0xFFFFFFFF), ("close", PARENT)]
    monkeypatch.setattr(windows, "_kernel32", lambda: Kernel("open"))
    assert not windows.wait_for_end(4711)


class Left:
    """A server that notes that it is to leave."""

    times = 0

    def leave(self) -> None:
        self.times += 1


@pytest.mark.parametrize(("parent", "ended", "times"), [(4711, True, 1), (4711, False, 0), (0, True, 0)])
def test_the_worker_leaves_when_its_parent_has_ended(
    parent: int, ended: bool, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.sys, "platform", "win32")
    monkeypatch.setattr(windows, "wait_for_end", lambda identifier: ended and identifier == 4711)
    left = Left()
    server._watch_parent(left, parent)  # type: ignore[arg-type]
    assert left.times == times


def test_groups_are_left_to_posix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is killed by an identifier that may mean another process by now."""

    def forbidden(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(process.sys, "platform", "win32")
    monkeypatch.setattr(process.os, "killpg", forbidden)
    process.kill_left_behind(4711)


class Memory:
    """``ctypes.windll`` with 3 GB free."""

    class kernel32:  # noqa: N801
        @staticmethod
        def GlobalMemoryStatusEx(pointer: Any) -> int:  # noqa: N802
            status = ctypes.cast(pointer, ctypes.POINTER(memory._MemoryStatus)).contents
            assert status.length == ctypes.sizeof(status) == 64  # sysinfoapi.h
            status.bytes[0], status.bytes[1] = 16 * 2**30, 3 * 2**30
            return 1


def test_free_memory_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "windll", Memory, raising=False)
    assert device.free_bytes(device.torch.device("cpu")) == 3 * 2**30
