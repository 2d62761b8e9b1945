"""All errors that are raised on purpose, one tree: each carries one sentence that a radiologist can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from .sentences import Sentence
from .sentences import marked as _
from .subjects import the
from .text import printable


class RegistrationError(Exception):
    """Root of all errors that are raised on purpose.

    Args:
        message: one sentence for people: what happened, what it means, what to do.
        detail: what a developer needs from the log; never shown first.

    Attributes:
        kind: what sort of error it is, the same word in the worker's protocol.
        side: ``"fixed"`` or ``"moving"`` if it speaks of one of the two scans; see :func:`reading`.
        file_kind: ``"scan"``, ``"segmentation"``, ``"landmarks"``, ``"transform"`` or another word for what was read.
        file: name of that file, as the message has it.
    """

    kind: str = "failed"
    side: str | None = None
    file_kind: str | None = None
    file: str | None = None
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, detail: str = "") -> None:
        # Names of files and labels are part of messages: a terminal must not obey what they hold.
        self.message = message if isinstance(message, Sentence) else printable(message)
        super().__init__(self.message)
        self.detail = detail

    @property
    def subject(self) -> str | None:
        """What the error speaks of, such as "fixed scan" or "transform"; None if it speaks of no input."""
        return self.file_kind and " ".join(filter(None, (self.side, self.file_kind)))

    @property
    def message_without_file(self) -> str:
        """The sentence for people who chose scans and no files: "The fixed scan" in the place of its file's name."""
        if self.subject is None or self.file is None:
            return self.message
        return _with_subject(self.message, self.file, self.subject)


def _with_subject(text: str, file: str, subject: str) -> str:
    """A text with the input's name, "the fixed scan", in the place of its file's."""
    if not isinstance(text, Sentence):
        start = text.removeprefix(file)
        said = text if start == text else f"{the(subject, first=True)}{start}"
        return said.replace(file, the(subject))
    named = dict(text.values)
    for place, value in text.values.items():
        first = text.template.startswith(f"{{{place}}}")
        named[place] = the(subject, first) if value == file else _with_subject(value, file, subject)
    return text.with_values(named)


@contextmanager
def reading(file_kind: str, path: str | Path, side: str | None = None) -> Iterator[None]:
    """Errors that are raised within the block speak of this file, unless they speak of one already."""
    try:
        yield
    except RegistrationError as error:
        if error.file_kind is None:
            error.side, error.file_kind, error.file = side, file_kind, printable(Path(path).name)
        raise


class BadInputError(RegistrationError):
    """The scans, masks, landmarks or settings cannot be used as they are."""

    kind = "bad_input"
    exit_code = 2


class CancelledError(RegistrationError):
    """The user cancelled; nothing was written."""

    kind = "cancelled"
    exit_code = 3

    def __init__(self, message: str = _("The registration was cancelled."), detail: str = "") -> None:
        super().__init__(message, detail)


class MemoryExhaustedError(RegistrationError):
    """No plan fits into the memory of the device or of the machine."""

    kind = "out_of_memory"
    exit_code = 4


class ModelMissingError(RegistrationError):
    """A model was asked for that is not installed."""

    kind = "model_missing"
    exit_code = 2


class ModelInvalidError(RegistrationError):
    """A model card or its weights are damaged, incomplete or of a newer version."""

    kind = "model_invalid"
    exit_code = 2


class OutputError(RegistrationError):
    """A result could not be written (disk full, folder not writable)."""

    kind = "output"
    exit_code = 1


_OUT_OF_MEMORY = (
    *("out of memory", "allocate memory", "not enough memory", "bad_alloc", "ALLOC_FAILED"),
    "failed to map segment",
)


def is_out_of_memory(error: BaseException) -> bool:
    """True if memory ran out, of the GPU or of the machine.

    torch has an exception of its own for a GPU alone; on a CPU it raises a RuntimeError, as SimpleITK always does.
    A library that finds no memory while it is imported ends in an ImportError or an OSError.
    """
    if isinstance(error, MemoryError | MemoryExhaustedError):
        return True
    kinds = (RuntimeError, ImportError, OSError)
    return isinstance(error, kinds) and any(words in str(error) for words in _OUT_OF_MEMORY)
