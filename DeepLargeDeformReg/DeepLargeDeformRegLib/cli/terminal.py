"""What a command shows: progress, tables, notes and errors; rich is imported when the first of them is shown."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from ..cohort.run import CohortProgress
    from ..core.progress import Monitor, ProgressEvent

_log = logging.getLogger("DeepLargeDeformReg")
_log.addHandler(logging.NullHandler())  # without one Python itself would show what is logged


class Forgiving:
    """A stream whose reader may be gone, or whose disk full: what cannot be written is dropped.

    Without it rich ends the process where a pipe is closed, and a bar that cannot be drawn ends the work.

    Args:
        stream: standard output or error.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text if it can be written."""
        with _unbroken():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered if it can be written."""
        with _unbroken():
            self._stream.flush()


class Terminal:
    """Standard output for results, standard error for all else; nothing that fails to be shown ends the work.

    Args:
        quiet: show errors and notes only.
        verbose: show the traceback of an error.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self._consoles: tuple[Console, Console] | None = None

    def show(self, *items: RenderableType) -> None:
        """Show results, unless the terminal is quiet."""
        if not self.quiet:
            with _unbroken():
                self._both()[0].print(*items, soft_wrap=all(isinstance(item, str) for item in items), highlight=False)

    def note(self, text: str) -> None:
        """Show what the user should know, also on a quiet terminal."""
        _log.warning("%s", text)
        with _unbroken():
            self._both()[1].print(f"Note: {text}", markup=False)

    def fail(self, message: str, error: BaseException | None = None) -> None:
        """Show an error in one line, and its traceback if the terminal is verbose."""
        line = " ".join(message.split())
        _log.error("%s", line)
        with _unbroken():
            sys.stderr.write(f"Error: {line}\n")
            if self.verbose and error is not None:
                traceback.print_exception(error, file=sys.stderr)
            sys.stderr.flush()

    @contextmanager
    def progress(self, json_lines: bool = False) -> Iterator[Monitor]:
        """A monitor that shows a bar, or JSON Lines on standard output."""
        from ..core.progress import Monitor

        if json_lines:
            yield Monitor(_logged(_tell_as_json))
            return
        if self.quiet:
            yield Monitor(_logged(lambda _: None))
            return
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
        with Progress(*columns, TimeRemainingColumn(), console=self._both()[1]) as bar:
            task = bar.add_task("Starting", total=1.0)

            def show(event: ProgressEvent) -> None:
                with _unbroken():
                    bar.update(task, completed=event.fraction, description=event.message or event.stage)

            yield Monitor(_logged(show))

    @contextmanager
    def cohort(self) -> Iterator[tuple[Callable[[CohortProgress], None], Callable[[str], None]]]:
        """Listeners that show how a cohort goes: pairs done, their rate and the time left."""
        if self.quiet:
            yield (lambda now: _log.info("%s", _of_cohort(now))), (lambda text: _log.info("%s", text))
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=self._both()[1]) as bar:
            task = bar.add_task("", total=None)

            def listen(now: CohortProgress) -> None:
                _log.info("%s", _of_cohort(now))
                with _unbroken():
                    bar.update(task, total=now.total, completed=now.resumed + now.done, description=_of_cohort(now))

            def tell(text: str) -> None:
                _log.info("%s", text)
                with _unbroken():
                    bar.console.print(text, markup=False)

            yield listen, tell

    def _both(self) -> tuple[Console, Console]:
        if self._consoles is None:
            from rich.console import Console

            output, errors = (stream and Forgiving(stream) for stream in (sys.stdout, sys.stderr))
            self._consoles = (
                Console(file=cast("IO[str]", output)),
                Console(file=cast("IO[str]", errors), stderr=True, soft_wrap=True, highlight=False),
            )
        return self._consoles


@contextmanager
def session(quiet: bool = False, verbose: bool = False, log_file: str | None = None) -> Iterator[Terminal]:
    """A command from its start to its end; an error becomes one line and the exit code of its kind."""
    terminal = Terminal(quiet, verbose)
    try:
        with _logging_to(log_file):
            yield from _run(terminal)
    except OSError as error:
        terminal.fail(f"The log file cannot be written: {error.strerror}; choose another place for it.", error)
        raise typer.Exit(1) from None


def _run(terminal: Terminal) -> Iterator[Terminal]:
    from ..core.errors import RegistrationError, is_out_of_memory

    started = time.monotonic()
    try:
        yield terminal
    except typer.Exit:
        raise
    except RegistrationError as error:
        terminal.fail(error.message, error)
        raise typer.Exit(error.exit_code) from None
    except MemoryError as error:
        terminal.fail("The memory of this machine is not enough for these scans.", error)
        raise typer.Exit(4) from None
    except KeyboardInterrupt as error:
        terminal.fail("Cancelled.", error)
        raise typer.Exit(3) from None
    except Exception as error:
        if is_out_of_memory(error):
            terminal.fail("The memory of this machine is not enough for these scans.", error)
            raise typer.Exit(4) from None
        message = f"Unexpected error ({type(error).__name__}: {error}); please report it, with --verbose."
        terminal.fail(message, error)
        raise typer.Exit(1) from None
    else:
        _log.info("done after %.1f s", time.monotonic() - started)


@contextmanager
def _logging_to(path: str | None) -> Iterator[None]:
    """The library's log, appended to a file while a command runs."""
    if path is None:
        yield
        return
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    loggers = [_log, logging.getLogger(__name__.split(".")[0])]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
        handler.close()


def _logged(listener: Any) -> Any:
    """A listener of progress that also logs when a stage begins."""
    stage = ""

    def listen(event: ProgressEvent) -> None:
        nonlocal stage
        if event.stage != stage:
            stage = event.stage
            _log.info("%3.0f %% %s", 100 * event.fraction, event.message or stage)
        listener(event)

    return listen


def _of_cohort(now: CohortProgress) -> str:
    """A cohort's progress in words."""
    left = now.seconds_left or 0.0
    rate = 3600 * now.done / now.seconds if now.seconds else 0.0
    time_left = f"{left / 3600:.1f} h" if left > 5400 else f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
    return f"{now.resumed + now.done} of {now.total}, {now.failed} failed, {rate:.0f} an hour, {time_left} left"


def _tell_as_json(event: ProgressEvent) -> None:
    line = {"stage": event.stage, "fraction": round(event.fraction, 4), "message": event.message}
    with _unbroken():
        typer.echo(json.dumps(line))


def _unbroken() -> contextlib.suppress:
    """Go on where a terminal is gone or cannot show a text: results are worth more than lines."""
    return contextlib.suppress(OSError, ValueError)
