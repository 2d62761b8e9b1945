"""Voxels as they lie in a file, decoded once from end to end before ITK reads them.

ITK hands on what a damaged compressed stream gives: noise or zeros, with a warning at best. All that a stream can say
of itself is asked here: its checksum, its end, and whether it holds as many bytes as the header promises.
"""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np

from ..errors import BadInputError
from ..sentences import marked as _
from .memory import check_memory

GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 22
_MOST_TRAILING_BYTES = 15  # a line end or padding; one row of the smallest image is longer
_ZLIB_RATIO = 1100  # deflate makes nothing smaller than by 1032 to 1


@dataclass(frozen=True, kw_only=True)
class VoxelData:
    """Where the voxels of an image lie and how.

    Args:
        path: the file that holds them.
        offset: first byte of the stream in the file.
        encoding: of the stream; ``zlib`` is read with either header, as MetaIO reads it; ``ascii`` is numbers.
        size: decoded bytes of the voxels (for ``ascii`` the count of numbers).
        skip: decoded bytes before the voxels: a header within the stream.
        length: bytes of the stream where the header states them.
        float_type: of the values, if those that are not finite shall be counted.
    """

    path: Path
    offset: int
    encoding: Literal["raw", "gzip", "zlib", "bzip2", "ascii"]
    size: int
    skip: int = 0
    length: int | None = None
    float_type: np.dtype | None = None


def check_voxels(name: str, data: VoxelData) -> None:
    """Refuse voxels that are missing, too many, damaged, not finite (if asked), or beyond this machine's memory.

    Raises:
        BadInputError: one line that names the file.
        MemoryExhaustedError: with the size that the header states.
    """
    present = data.path.stat().st_size - data.offset
    if data.length is not None:
        _check_size(name, present, data.length)
    expected = data.skip + data.size
    if data.encoding == "raw":
        _check_size(name, present, expected)
    elif data.encoding != "bzip2" and expected > _ZLIB_RATIO * max(present, 0) + _CHUNK_BYTES:
        raise damaged(name)
    check_memory(name, data.size)
    if data.encoding == "raw" and data.float_type is None:
        return
    try:
        with data.path.open("rb") as stream:
            stream.seek(data.offset)
            count, wrong = _count(_decoded(stream, data), data)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise damaged(name) from error
    _check_size(name, count, expected)
    if wrong:
        raise not_finite(name, wrong)


def damaged(name: str) -> BadInputError:
    """The refusal of a file that is cut, or whose bytes are not those that were written."""
    return BadInputError(
        _("{name} is incomplete or damaged (voxels are missing or wrong); copy or export it again.").format(name=name)
    )


def not_finite(name: str, count: int) -> BadInputError:
    """The refusal of an image with NaN or infinite voxels."""
    return BadInputError(
        _(
            "{name} contains {count} voxels that are not finite numbers (NaN or infinite); replace them "
            "first, for example with the background's value."
        ).format(name=name, count=count)
    )


def _check_size(name: str, present: int, expected: int) -> None:
    if present < expected:
        raise damaged(name)
    if present > expected + _MOST_TRAILING_BYTES:
        raise BadInputError(
            _("{name} is damaged: it holds {present} bytes more than its header states; export it again.").format(
                name=name, present=present - expected
            )
        )


def _decoded(stream: BinaryIO, data: VoxelData) -> Iterator[bytes]:
    if data.encoding == "zlib":
        yield from _inflated(stream, data.length)
    elif data.encoding == "ascii":
        rest = b""
        while chunk := stream.read(_CHUNK_BYTES):
            *words, rest = (rest + chunk).split(b" ") if b" " in chunk else (b"", rest + chunk)
            yield b"\0" * sum(len(word.split()) for word in words)
        yield b"\0" * len(rest.split())
    else:
        opened: BinaryIO = stream
        if data.encoding == "gzip":
            opened = cast(BinaryIO, gzip.GzipFile(fileobj=stream, mode="rb"))
        elif data.encoding == "bzip2":
            opened = cast(BinaryIO, bz2.BZ2File(stream))
        while chunk := opened.read(_CHUNK_BYTES):
            yield chunk


def _inflated(stream: BinaryIO, length: int | None) -> Iterator[bytes]:
    """A zlib or gzip stream that must end where its length says; its checksum is compared by zlib."""
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    left = length if length is not None else 1 << 62
    while left > 0 and not decoder.eof and (chunk := stream.read(min(left, _CHUNK_BYTES))):
        left -= len(chunk)
        yield decoder.decompress(chunk)
    yield decoder.flush()
    if not decoder.eof:
        raise EOFError("the compressed stream ends early")


def _count(chunks: Iterator[bytes], data: VoxelData) -> tuple[int, int]:
    """Bytes in all, and values that are not finite; stops once there are clearly too many bytes."""
    count, wrong, rest = 0, 0, b""
    for chunk in chunks:
        if data.float_type is not None:
            start = max(data.skip - count, 0)
            usable = rest + chunk[start : max(data.skip + data.size - count, 0)]
            whole = len(usable) // data.float_type.itemsize
            values = np.frombuffer(usable, data.float_type, count=whole)
            wrong += whole - int(np.count_nonzero(np.isfinite(values)))
            rest = usable[whole * data.float_type.itemsize :]
        count += len(chunk)
        if count > data.skip + data.size + _CHUNK_BYTES + _MOST_TRAILING_BYTES:
            break
    return count, wrong
