"""Private folders for the files of one job: seen by the user alone, removed in all cases, swept after a crash.

Beside each folder lies a lock file that its session holds locked. A lock ends with its process, whatever ended it, so
a folder whose lock can be taken belongs to nobody any more; process identifiers, which systems reuse, decide nothing.

**What lies in it.** Volumes pass as uncompressed NRRD, written and read by ``core/raw_nrrd.py`` as fast as
memory-mapped ``.npy``, which has no geometry; compression costs ten times what the whole way costs. ``python -m
Testing.benchmarks.benchmark_worker`` measures the way, and with ``--exchange`` the formats.

Standard library and the library's core only: Slicer loads this file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from ..core.errors import OutputError
from ..core.sentences import marked as _

PREFIX = "DeepLargeDeformReg-"
LOCK_ENDING = ".lock"
_DEATH_SECONDS = 0.5  # a dying process closes its pipes a moment before its locks


class JobFolderError(OutputError):
    """A job folder cannot be made or has no space."""


class JobFolder:
    """A folder of mode 0700 that is gone when its ``with`` block, its owner or its session ends.

    Args:
        root: where it is made; the system's temporary folder by default.
        space: bytes that the job will need there.

    Raises:
        JobFolderError: if the place is not writable or has not so much space.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None, space: int = 0) -> None:
        parent = Path(root) if root is not None else Path(tempfile.gettempdir())
        self._lock: int | None = None
        try:
            _require_space(parent, space)
            self._lock_path, self._lock = _new_lock(parent)
            self.path = self._lock_path.with_suffix("")
            try:
                self.path.mkdir(mode=0o700)
            except OSError:
                self._unlock()
                raise
        except OSError as error:
            raise _explained(error) from error

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def __enter__(self) -> JobFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.remove()

    def require_space(self, space: int) -> None:
        """Raise :class:`JobFolderError` if there are not so many bytes free."""
        _require_space(self.path, space)

    def remove(self) -> None:
        """Remove the folder and all in it; a second call does nothing.

        What another process still holds open on Windows stays, and is swept by a later session.
        """
        if getattr(self, "_lock", None) is None:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self._unlock(keep=self.path.exists())

    def _unlock(self, keep: bool = False) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            _release(self._lock_path, lock, keep)


def sweep(root: str | os.PathLike[str] | None = None) -> int:
    """Remove the folders of sessions that are dead, and return how many; those of living ones are left alone."""
    parent = Path(root) if root is not None else Path(tempfile.gettempdir())
    removed = 0
    try:
        locks = list(parent.glob(f"{PREFIX}*{LOCK_ENDING}"))
    except OSError:
        return 0
    for lock_path in locks:
        folder = lock_path.with_suffix("")
        try:
            if not _is_own(lock_path):
                continue
            lock = os.open(lock_path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            continue
        if not _take(lock):
            os.close(lock)
            continue
        if _is_own(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed += not folder.exists()
        _release(lock_path, lock, keep=folder.exists())
    return removed


def remove_abandoned(folder: str) -> None:
    """Remove a job folder whose owner has died, as its worker does; anything else is left alone.

    A folder of a living session is not removed, whichever client named it in a job.
    """
    path = Path(folder)
    lock_path = path.with_name(path.name + LOCK_ENDING) if path.name.startswith(PREFIX) else None
    if lock_path is None or not _is_own(path) or not _is_own(lock_path):
        return
    try:
        lock = os.open(lock_path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return
    deadline = time.monotonic() + _DEATH_SECONDS
    while not _take(lock):
        if time.monotonic() > deadline:
            os.close(lock)
            return
        time.sleep(0.05)
    shutil.rmtree(path, ignore_errors=True)
    _release(lock_path, lock, keep=path.exists())


def _new_lock(parent: Path) -> tuple[Path, int]:
    while True:
        path = parent / f"{PREFIX}{os.getpid()}-{secrets.token_hex(6)}{LOCK_ENDING}"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        # A sweep may have taken the lock, and removed the file, between these two lines: then take another name.
        if _take(lock) and path.exists():
            return path, lock
        os.close(lock)


def _take(lock: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _release(path: Path, lock: int, keep: bool) -> None:
    if sys.platform == "win32":
        os.close(lock)  # Windows removes no open file
    if not keep:
        with contextlib.suppress(OSError):
            path.unlink()
    if sys.platform != "win32":
        os.close(lock)


def _is_own(path: Path) -> bool:
    """True for a real file or folder (no link) of this user."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return not path.is_symlink() and (sys.platform == "win32" or status.st_uid == os.getuid())


def _require_space(place: Path, space: int) -> None:
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise _explained(error) from error
    if free < space:
        raise JobFolderError(
            _(
                "The disk of the temporary folder has {free:.0f} MB free, and this registration needs "
                "{space:.0f} MB; free some space, or choose another temporary folder in Slicer's settings."
            ).format(free=free / 2**20, space=space / 2**20)
        )


def _explained(error: OSError) -> JobFolderError:
    reason = {
        errno.ENOSPC: _("the disk is full; free some space"),
        errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC: _("the disk quota is used up; free some space"),
        errno.ENOENT: _("it does not exist"),
        errno.ENOTDIR: _("it is no folder"),
        errno.EROFS: _("its disk is read only"),
    }.get(error.errno or 0, _("it is not writable"))
    return JobFolderError(
        _("The temporary folder cannot be used: {reason}. You can choose another one in Slicer's settings.").format(
            reason=reason
        ),
        str(error),
    )
