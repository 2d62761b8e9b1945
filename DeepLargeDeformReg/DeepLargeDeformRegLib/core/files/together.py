"""The outputs of a run appear together or not at all, whatever ends the run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ..errors import OutputError
from ..sentences import marked as _
from .reasons import reason_of

_WATCHER = """
import json, os, sys
left, renames = [], []
for line in sys.stdin.buffer:
    message = json.loads(line)
    left += message.get("left", [])
    renames = message.get("renames", renames)
for temporary, path in renames:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.replace(temporary, path)
    except OSError:
        pass
for folder, prefix in left:
    try:
        for name in os.listdir(folder):
            if name.startswith(prefix):
                os.unlink(os.path.join(folder, name))
    except OSError:
        pass
"""


class Together:
    """Files that are written beside their places and renamed all at once, in the order in which they were written.

    A child process learns of each temporary file before it is made, and of all renames before the first: if this
    process is killed it removes the former, or completes the latter.
    """

    def __init__(self) -> None:
        self._renames: list[tuple[Path, Path]] = []
        self._watcher: subprocess.Popen[bytes] | None = None

    def announce(self, folder: Path, prefix: str) -> None:
        """Tell that files of this prefix are about to be made in a folder."""
        if self._watcher is None:
            self._watcher = _watcher()
        self._tell({"left": [[str(folder.absolute()), prefix]]})

    def add(self, temporary: Path, path: Path) -> None:
        """Take over a finished file."""
        self._renames = [one for one in self._renames if one[1] != path]
        self._renames.append((temporary.absolute(), path.absolute()))

    def commit(self) -> None:
        """Rename all; what was there before is replaced.

        Raises:
            OutputError: if a file cannot be renamed.
        """
        self._tell({"renames": [[str(one) for one in pair] for pair in self._renames]})
        for temporary, path in self._renames:
            try:
                path.parent.mkdir(exist_ok=True)
                temporary.replace(path)
            except OSError as error:
                raise OutputError(
                    _("{file} could not be written: {reason}.").format(file=path.name, reason=reason_of(error)),
                    str(error),
                ) from error
        self._renames = []

    def close(self) -> None:
        """Remove what was not renamed, and let the child process end."""
        self._tell({"renames": []})
        for temporary, _path in self._renames:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        if self._watcher is not None and self._watcher.stdin is not None:
            with contextlib.suppress(OSError):
                self._watcher.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._watcher.wait(10)

    def _tell(self, message: dict[str, object]) -> None:
        if self._watcher is not None and self._watcher.stdin is not None:
            with contextlib.suppress(OSError):
                self._watcher.stdin.write(json.dumps(message).encode() + b"\n")
                self._watcher.stdin.flush()


_together: ContextVar[Together | None] = ContextVar("together", default=None)


def current_run() -> Together | None:
    """The run whose outputs are to appear together, if one is being written."""
    return _together.get()


@contextmanager
def written_together() -> Iterator[None]:
    """All files that are written in the block appear when it ends without an error; none if it does not.

    Raises:
        OutputError: if a finished file cannot be put into its place.
    """
    run = Together()
    token = _together.set(run)
    try:
        yield
        run.commit()
    finally:
        _together.reset(token)
        run.close()


def _watcher() -> subprocess.Popen[bytes] | None:
    """The child process; None where none can be started: then only this process removes its temporary files."""
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            creationflags=flags,
        )
    except OSError:
        return None
