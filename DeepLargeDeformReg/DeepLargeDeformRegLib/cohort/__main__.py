"""The process that registers a cohort for Slicer: ``python -m DeepLargeDeformRegLib.cohort``, progress as JSON Lines.

``deeplargedeformreg batch`` is the same for a terminal; it needs packages that Slicer does not have. Each line on
standard output is an object: ``{"process": 4711}`` first, then any of ``{"say": "..."}`` and
``{"done": 3, "total": 9, "failed": 0, "seconds_left": 42.0}``, at the end ``{"finished": 9, "failed": 1}`` or
``{"error": "..."}``. The process ends with its standard input, and can be killed at any moment: the next one goes on
where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from ..core.errors import RegistrationError
from ..core.files.reasons import reason_of
from ..core.sentences import as_json
from ..core.sentences import marked as _
from ..core.settings import RegistrationSettings
from .local import JOBS
from .pairs import pair_folders, read_pairs
from .run import DEFAULT_OUTPUTS, CohortProgress, CohortRequest, run_cohort

INPUT_GONE = 3


def main(arguments: list[str] | None = None) -> int:
    """Register the pairs of a table or of two folders; the exit code is 0, that of the error, or 1."""
    parser = argparse.ArgumentParser(prog="python -m DeepLargeDeformRegLib.cohort", description=main.__doc__)
    parser.add_argument("pairs", type=Path, help="table of pairs, or folder of fixed scans")
    parser.add_argument("--moving", type=Path, help="folder of moving scans, matched to the fixed ones by file name")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--outputs", default=",".join(DEFAULT_OUTPUTS))
    parser.add_argument("--settings", default="{}", help="JSON, as of core/settings.py")
    parser.add_argument("--retry-failed", action="store_true")
    parser.add_argument("--jobs", default=JOBS, help="module with the kinds of jobs of the workers")
    given = parser.parse_args(arguments)
    _lead_own_group()
    _write(process=os.getpid())
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        request = CohortRequest(
            pairs=pair_folders(given.pairs, given.moving) if given.moving else read_pairs(given.pairs),
            output=given.output,
            outputs=given.outputs.split(","),
            settings=RegistrationSettings.from_json(json.loads(given.settings)),
            retry_failed=given.retry_failed,
            jobs=given.jobs,
        )
        rows = run_cohort(request, _tell_progress, lambda text: _write(say=as_json(text)))
    except RegistrationError as error:
        _write(error=as_json(error.message))
        return error.exit_code
    except (OSError, MemoryError) as error:
        problem = _("The cohort could not be finished ({reason}); free some room, and start it again.")
        _write(error=as_json(problem.format(reason=reason_of(error))))
        return 1
    _write(finished=len(rows), failed=sum(row.error is not None for row in rows))
    return 0


def _lead_own_group() -> None:
    """Lead a process group, by which whoever started this process can end it with all that it starts."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with_input() -> None:
    """End at once when whoever started this process is gone; the workers end with their input in turn."""
    with contextlib.suppress(OSError, ValueError):
        while os.read(0, 1 << 12):
            pass
    os._exit(INPUT_GONE)


def _tell_progress(now: CohortProgress) -> None:
    done = now.resumed + now.done
    _write(done=done, total=now.total, failed=now.failed, seconds_left=now.seconds_left)


def _write(**values: Any) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
