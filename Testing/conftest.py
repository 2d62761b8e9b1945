"""Fixtures shared by all tests: the sample case that ships, and the larger data beside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from DeepLargeDeformRegLib.resources import SAMPLE_CASE

REPOSITORY = Path(__file__).resolve().parents[1]


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
