"""The folder of a cohort: whose it is, what is finished in it, and how a pair's results get there as a whole.

``pairs/NAME/`` holds the results of a pair, ``job.json``: its scans and settings, and ``record.json``: how it ended,
and the fingerprint of all that the results depend on. A pair is written to ``pairs/.NAME.RUN.part/`` and renamed when
it is whole, so that a run that is killed at any moment leaves finished pairs and pairs that were not begun. Each run
has its own name there: the workers of one that was killed live for a moment, and find their folder gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.errors import BadInputError, OutputError
from ..core.files.common import write_text
from ..core.files.label_names import table_of_names
from ..core.files.reasons import reason_of
from ..core.sentences import as_json, from_json
from ..core.sentences import marked as _

RECORD = "record.json"
JOB = "job.json"
METRICS = "metrics.json"
REPORT = "report.html"


@dataclass(frozen=True, kw_only=True)
class Record:
    """How a pair ended.

    Args:
        fingerprint: of all that the results depend on.
        error: why there are no results; None where there are.
        kind: kind of the error, as in ``core/errors.py``.
        seconds: that the registration took, by the clock.
    """

    fingerprint: str
    error: str | None = None
    kind: str | None = None
    seconds: float = 0.0


class CohortFolder:
    """The results of a cohort on the disk.

    Args:
        path: made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._run = secrets.token_hex(4)
        try:
            (path / "pairs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                _("The folder {file} cannot be made: {reason}.").format(file=path.name, reason=reason_of(error)),
                str(error),
            ) from error

    def of(self, name: str) -> Path:
        """Folder of a finished pair."""
        return self.path / "pairs" / name

    def record(self, name: str) -> Record | None:
        """How a pair ended; None if it did not, or what was written about it cannot be read."""
        try:
            entries = json.loads((self.of(name) / RECORD).read_text(encoding="utf-8"))
            return Record(**entries | {"error": entries["error"] and from_json(entries["error"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def metrics(self, name: str) -> dict[str, Any] | None:
        """Metrics of a finished pair."""
        try:
            return json.loads((self.of(name) / METRICS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def begin(self, name: str) -> Path:
        """An empty folder for the results of a pair, which :meth:`finish` puts in their place."""
        part = self._part(name)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        return part

    def finish(self, name: str, record: Record, job: Mapping[str, Any]) -> None:
        """Put the results of a pair in their place, with how it ended and its job; older ones are replaced."""
        part, final = self._part(name), self.of(name)
        if record.error is not None:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(exist_ok=True)
        write_text(json.dumps(dict(job), indent=1) + "\n", part / JOB)
        write_text(
            json.dumps(asdict(record) | {"error": record.error and as_json(record.error)}, indent=1) + "\n",
            part / RECORD,
        )
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)

    def sweep(self) -> None:
        """Remove what runs that were killed left of pairs that they had begun."""
        for part in (self.path / "pairs").glob(".*.part"):
            shutil.rmtree(part, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one run; the system lets go of it when the process ends, however.

        Raises:
            BadInputError: if another run holds it.
        """
        lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _take(lock):
                raise BadInputError(
                    _("Another run works in {file}; wait for it, or choose another folder for this one.").format(
                        file=self.path.name
                    )
                )
            yield
        finally:
            os.close(lock)

    def _part(self, name: str) -> Path:
        return self.path / "pairs" / f".{name}.{self._run}.part"


class Fingerprints:
    """Fingerprints of pairs: SHA-256 of the contents of their files and of all else that results depend on.

    A file that several pairs name is read once.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, payload: dict[str, Any], files: dict[str, str], weights: str | None) -> str:
        """Fingerprint of a pair.

        Args:
            payload: its job without paths.
            files: path by what it is.
            weights: checksum of the model's weights.
        """
        contents = {name: self._content(path) for name, path in sorted(files.items())}
        text = json.dumps([__version__, payload, contents, weights], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _content(self, path: str) -> str:
        if path not in self._known:
            digest = hashlib.sha256()
            place, _, series = path.partition("#")
            root = Path(path) if Path(path).exists() else Path(place)
            for file in sorted(root.rglob("*")) if root.is_dir() else [root, table_of_names(root)]:
                if file.is_file():
                    digest.update(file.name.encode("utf-8", "surrogateescape") if root.is_dir() else b"")
                    with file.open("rb") as stream:
                        while block := stream.read(1 << 20):
                            digest.update(block)
            digest.update(series.encode())
            self._known[path] = digest.hexdigest()
        return self._known[path]


def _take(lock: int) -> bool:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
