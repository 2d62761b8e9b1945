"""Fixtures shared by all tests: the sample case that ships, and the larger data beside the repository."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from DeepLargeDeformRegLib.resources import SAMPLE_CASE

REPOSITORY = Path(__file__).resolve().parents[1]

# Threads that wait for each other use their cores in full meanwhile: beside other processes on two cores,
# test_a_known_motion_is_found took 19.5 s of processor time with two threads and 1.7 s with one. Processes that tests
# start inherit the variable.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Commands set the number of threads of their process; the tests after them have one again."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def sample_case() -> Path:
    """Folder with fixed.nii.gz, moving.nii.gz, their masks and landmarks_lps.csv: one lung, two visits."""
    return SAMPLE_CASE


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The development data beside the repository; a user's clone does not have it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the development data in ../shared/data, which is not beside this repository")
    return folder
