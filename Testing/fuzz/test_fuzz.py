"""Short runs of ``python -m Testing.fuzz`` and ``python -m Testing.fuzz.signals``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from Testing.fuzz.files import fuzz
from Testing.fuzz.signals import make_case, try_moments


def test_changed_files_are_read_or_refused_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    found = fuzz(tmp_path, seconds=5, seed=20)
    assert found.violations == []
    assert sum(found.cases.values()) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="forks a program with threads, which other systems end")
def test_a_run_that_is_killed_leaves_all_or_nothing(tmp_path: Path) -> None:
    count = try_moments(make_case(tmp_path / "inputs"), tmp_path, moments=3, seed=7)
    assert count.violations == ()
    assert count.whole + count.absent == 3
