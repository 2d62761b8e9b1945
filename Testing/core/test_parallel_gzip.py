"""What several threads compress is one gzip stream, the same each time."""

from __future__ import annotations

import gzip
import os

import pytest
from DeepLargeDeformRegLib.core.parallel_gzip import write_gzip


@pytest.mark.parametrize("sizes", [[], [1], [0, 5], [1 << 20] * 12 + [77]])
def test_any_number_of_blocks_is_read_back(sizes: list[int]) -> None:
    blocks = [os.urandom(size // 2) + bytes(size - size // 2) for size in sizes]
    written = []
    for _run in range(2):
        parts: list[bytes] = []
        write_gzip(lambda data, parts=parts: parts.append(bytes(data)), iter(blocks))
        written.append(b"".join(parts))
    assert gzip.decompress(written[0]) == b"".join(blocks)
    assert written[0] == written[1]


def test_what_cannot_be_written_is_an_error() -> None:
    def full(_data: memoryview) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        write_gzip(full, iter([b"1"] * 40))
