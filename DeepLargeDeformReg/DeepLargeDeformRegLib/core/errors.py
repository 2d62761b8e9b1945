"""The errors of the engine: each carries one sentence that a radiologist can act on."""

from __future__ import annotations

from typing import ClassVar

from .text import printable


class RegistrationError(Exception):
    """Base of all errors that the engine raises on purpose.

    Args:
        message: one sentence for people: what happened, what it means, what to do.
        detail: what a developer needs from the log; never shown first.
    """

    kind: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, detail: str = "") -> None:
        # Names of files and labels are part of messages: a terminal must not obey what they hold.
        self.message = printable(message)
        super().__init__(self.message)
        self.detail = detail


class BadInputError(RegistrationError):
    """The scans, masks, landmarks or settings cannot be used as they are."""

    kind = "bad_input"
    exit_code = 2


class CancelledError(RegistrationError):
    """The user cancelled; nothing was written."""

    kind = "cancelled"
    exit_code = 3

    def __init__(self, message: str = "The registration was cancelled.", detail: str = "") -> None:
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


_OUT_OF_MEMORY = ("out of memory", "allocate memory", "not enough memory", "bad_alloc", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """True if memory ran out, of the GPU or of the machine.

    torch has an exception of its own for a GPU alone; on a CPU it raises a RuntimeError, as SimpleITK always does.
    """
    if isinstance(error, MemoryError | MemoryExhaustedError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
