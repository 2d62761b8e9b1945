"""What the worker and its client say to each other: JSON Lines, one message a line, over stdin and stdout.

A line is one JSON object with ``"type"`` and the fields of the message of that type, ASCII, ended by ``\\n``. Image
data never travels here: a job names files in its private job folder.

=============  =====================================================================================================
to the worker  :class:`Request`, :class:`Cancel`, :class:`Shutdown`
to the client  :class:`Hello`, :class:`EngineReady`, :class:`Accepted`, :class:`Progress`, :class:`Result`,
               :class:`Failure`, :class:`Cancelling`, :class:`Cancelled`, :class:`Heartbeat`, :class:`Released`
=============  =====================================================================================================

What people read, a sentence, is a text or an object that can be translated (``core/sentences.py``).

Standard library only: Slicer loads this file.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from ..core.sentences import as_json, from_json, is_sentence

PROTOCOL_VERSION = 3
"""Raised with every change that an older peer would misread."""

MAXIMUM_LINE_BYTES = 64 * 2**20
"""A longer line cannot be a message; it is dropped up to its end instead of filling the memory."""


class ProtocolError(ValueError):
    """A line is not a message of this protocol; the text says why, without the line itself."""


@dataclass(frozen=True)
class Message:
    """Base of all messages: frozen dataclasses whose fields are checked against a schema when they are read.

    Subclasses are registered by :attr:`tag`, the ``"type"`` on the wire. Each field's ``metadata["check"]`` is the
    name of a check of this file.
    """

    tag: ClassVar[str] = ""
    _types: ClassVar[dict[str, type[Message]]] = {}

    def __init_subclass__(cls) -> None:
        Message._types[cls.tag] = cls

    def to_json(self) -> dict[str, Any]:
        """The message as a JSON object."""
        return {"type": self.tag} | {item.name: as_json(getattr(self, item.name)) for item in fields(self)}

    @staticmethod
    def from_json(value: object) -> Message:
        """Message of a JSON object.

        Raises:
            ProtocolError: if type or fields are unknown, missing or of the wrong kind.
        """
        if not isinstance(value, dict):
            raise ProtocolError("not a JSON object")
        name = value.get("type")
        if not isinstance(name, str) or name not in Message._types:
            raise ProtocolError("a message of an unknown type")
        cls = Message._types[name]
        schema = {item.name: item for item in fields(cls)}
        if set(value) - {"type"} != set(schema):
            raise ProtocolError(f"a '{name}' message with missing or unknown fields")
        for key, item in schema.items():
            if not _CHECKS[item.metadata["check"]](value[key]):
                raise ProtocolError(f"a '{name}' message whose field '{key}' is not {item.metadata['check']}")
        said = {key: from_json(value[key]) for key, item in schema.items() if item.metadata["check"] == _SENTENCE}
        return cls(**{key: value[key] for key in schema} | said)

    def encode(self) -> bytes:
        """The message as one line. Numbers that JSON cannot write (nan, inf) become null."""
        try:
            text = json.dumps(self.to_json(), allow_nan=False, separators=(",", ":"))
        except ValueError:
            text = json.dumps(_finite(self.to_json()), allow_nan=False, separators=(",", ":"))
        return text.encode("ascii") + b"\n"


_SENTENCE = "a sentence"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_CHECKS = {
    "text": lambda value: isinstance(value, str),
    _SENTENCE: is_sentence,
    "text or null": lambda value: value is None or isinstance(value, str),
    "a count": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    "a fraction": lambda value: _is_number(value) and 0 <= value <= 1,
    "seconds or null": lambda value: value is None or (_is_number(value) and value >= 0),
    "an object": lambda value: isinstance(value, dict),
    "an object of texts": lambda value: isinstance(value, dict) and all(isinstance(v, str) for v in value.values()),
    "a list of texts": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "a list of devices": lambda value: isinstance(value, list) and all(_is_device(item) for item in value),
}


def _is_device(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and is_sentence(value.get("description"))
        and _is_number(value.get("free_bytes"))
    )


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check(name: str) -> dict[str, str]:
    return {"check": name}


@dataclass(frozen=True)
class Request(Message):
    """Do a job.

    Args:
        job: identifier of the job.
        kind: ``"register"``.
        payload: the job of ``engine/job.py`` as JSON; its files lie in ``folder``.
        folder: the private job folder, which the worker removes if its parent dies; empty if there is none.
    """

    tag: ClassVar[str] = "request"
    job: str = field(metadata=_check("text"))
    kind: str = field(metadata=_check("text"))
    payload: dict[str, Any] = field(metadata=_check("an object"))
    folder: str = field(metadata=_check("text"), default="")


@dataclass(frozen=True)
class Cancel(Message):
    """End a job; answered by :class:`Cancelling` at once and by :class:`Cancelled` when nothing of it is left."""

    tag: ClassVar[str] = "cancel"
    job: str = field(metadata=_check("text"))


@dataclass(frozen=True)
class Shutdown(Message):
    """End the worker; a running job is cancelled."""

    tag: ClassVar[str] = "shutdown"


@dataclass(frozen=True, kw_only=True)
class Hello(Message):
    """First message of a worker, sent before anything heavy is imported.

    ``process`` is the worker's own process identifier: a launcher may stand between it and the client.
    """

    tag: ClassVar[str] = "hello"
    protocol: int = field(metadata=_check("a count"))
    library: str = field(metadata=_check("text"))
    python: str = field(metadata=_check("text"))
    process: int = field(metadata=_check("a count"))
    kinds: list[str] = field(metadata=_check("a list of texts"), default_factory=list)


@dataclass(frozen=True)
class EngineReady(Message):
    """The engine is imported: torch's version, devices (``name``, ``description``, ``free_bytes``) and models."""

    tag: ClassVar[str] = "engine_ready"
    torch: str = field(metadata=_check("text"))
    devices: list[dict[str, Any]] = field(metadata=_check("a list of devices"))
    models: list[str] = field(metadata=_check("a list of texts"))


@dataclass(frozen=True)
class Accepted(Message):
    """A job has arrived; until then a client may send it to another worker without doing it twice."""

    tag: ClassVar[str] = "accepted"
    job: str = field(metadata=_check("text"))


@dataclass(frozen=True, kw_only=True)
class Progress(Message):
    """Where a job stands: stage, fraction of the whole job (never decreases), a sentence, seconds to go if known."""

    tag: ClassVar[str] = "progress"
    job: str = field(metadata=_check("text"))
    stage: str = field(metadata=_check("text"))
    fraction: float = field(metadata=_check("a fraction"))
    message: str = field(metadata=_check(_SENTENCE), default="")
    eta_seconds: float | None = field(metadata=_check("seconds or null"), default=None)


@dataclass(frozen=True)
class Result(Message):
    """A job is done: its metrics, and the files that it wrote by the name of the payload's entry."""

    tag: ClassVar[str] = "result"
    job: str = field(metadata=_check("text"))
    metrics: dict[str, Any] = field(metadata=_check("an object"))
    files: dict[str, str] = field(metadata=_check("an object of texts"), default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failure(Message):
    """A job, or the worker itself (``job`` is None), failed.

    Args:
        job: identifier of the job.
        kind: kind of ``core/errors.py``, or one of the worker: ``engine_broken``, ``unknown_job``, ``failed``.
        message: a sentence for people.
        detail: for the log; holds no path or name of the job's files.
        subject: the input that the message speaks of, such as "fixed scan"; None if it speaks of none.
    """

    tag: ClassVar[str] = "error"
    job: str | None = field(metadata=_check("text or null"))
    kind: str = field(metadata=_check("text"))
    message: str = field(metadata=_check(_SENTENCE))
    detail: str = field(metadata=_check("text"), default="")
    subject: str | None = field(metadata=_check("text or null"), default=None)


@dataclass(frozen=True)
class Cancelling(Message):
    """The worker knows that a job is to end."""

    tag: ClassVar[str] = "cancelling"
    job: str = field(metadata=_check("text"))


@dataclass(frozen=True)
class Cancelled(Message):
    """A cancelled job has ended; it wrote nothing."""

    tag: ClassVar[str] = "cancelled"
    job: str = field(metadata=_check("text"))


@dataclass(frozen=True)
class Heartbeat(Message):
    """The worker lives; sent all the time, also while a job computes."""

    tag: ClassVar[str] = "heartbeat"
    count: int = field(metadata=_check("a count"))
    job: str | None = field(metadata=_check("text or null"), default=None)


@dataclass(frozen=True)
class Released(Message):
    """The worker was idle for long and gave models and GPU memory back; the next job loads them again."""

    tag: ClassVar[str] = "released"


@dataclass(frozen=True)
class Garbage:
    """A line that is no message: what a library printed, or half a message of a worker that died."""

    reason: str
    text: str = ""


class Decoder:
    """Cuts a stream of bytes into messages, however the bytes arrive.

    Lines are cut as bytes and decoded whole, so that a character split between two reads is no special case. What is
    no message comes out as :class:`Garbage`; the messages around it are not lost.
    """

    def __init__(self, maximum_line_bytes: int = MAXIMUM_LINE_BYTES) -> None:
        self._maximum = maximum_line_bytes
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Message | Garbage]:
        """Messages that these bytes complete, in order."""
        found: list[Message | Garbage] = []
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._keep(end)
            item = self._take()
            if item is not None:
                found.append(item)
        self._keep(rest)
        return found

    def close(self) -> list[Garbage]:
        """What was left when the stream ended: at most one truncated line."""
        if not self._size:
            return []
        text = b"".join(self._pieces)[:200].decode("utf-8", "replace")
        self._pieces, self._size = [], 0
        return [Garbage("the stream ended within a line", text)]

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._maximum:
            self._pieces = []
        elif piece:
            self._pieces.append(piece)

    def _take(self) -> Message | Garbage | None:
        line, size = b"".join(self._pieces).strip(), self._size
        self._pieces, self._size = [], 0
        if size > self._maximum:
            return Garbage(f"a line of {size} bytes")
        if not line:
            return None
        try:
            return Message.from_json(json.loads(line.decode("utf-8"), parse_constant=_refuse_constant))
        except ProtocolError as error:
            reason = str(error)
        except (ValueError, RecursionError):
            reason = "not JSON"
        return Garbage(reason, line[:200].decode("utf-8", "replace"))


def _refuse_constant(name: str) -> None:
    raise ProtocolError(f"{name} is not JSON")
