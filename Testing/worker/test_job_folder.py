"""Job folders: private, gone in all cases, swept after a crash and only then."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from DeepLargeDeformRegLib.worker import job_folder
from DeepLargeDeformRegLib.worker.job_folder import JobFolder, JobFolderError, sweep

from .conftest import REPOSITORY

SESSION = f"""
import sys
sys.path.insert(0, {str(REPOSITORY / "DeepLargeDeformReg")!r})
from DeepLargeDeformRegLib.worker.job_folder import JobFolder
folder = JobFolder(sys.argv[1])
(folder / "fixed.nrrd").write_bytes(b"scan")
print(folder.path, flush=True)
sys.stdin.read()
"""


def start_session(root: Path) -> tuple[subprocess.Popen[str], Path]:
    session = subprocess.Popen(
        [sys.executable, "-c", SESSION, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert session.stdout is not None
    return session, Path(session.stdout.readline().strip())


def test_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with JobFolder(tmp_path) as folder:
            assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
            assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.lock")] == [0o600]
            (folder / "deep").mkdir()
            (folder / "deep" / "fixed.nrrd").write_bytes(b"scan")
    finally:
        os.umask(old)
    assert list(tmp_path.iterdir()) == []


def test_is_gone_after_an_error_and_when_forgotten(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), JobFolder(tmp_path):
        raise RuntimeError
    forgotten = JobFolder(tmp_path)
    del forgotten
    assert list(tmp_path.iterdir()) == []


def test_two_folders_of_one_session_do_not_meet(tmp_path: Path) -> None:
    with JobFolder(tmp_path) as first, JobFolder(tmp_path) as second:
        assert first.path != second.path
        first.remove()
        first.remove()
        assert second.path.is_dir()


def test_a_worker_removes_no_folder_of_a_living_client(tmp_path: Path) -> None:
    """Two clients may name one folder in their jobs; the end of the one must not take it from the other."""
    owner, folder = start_session(tmp_path)
    try:
        job_folder.remove_abandoned(str(folder))
        assert (folder / "fixed.nrrd").read_bytes() == b"scan"
    finally:
        owner.kill()
        owner.communicate()
    job_folder.remove_abandoned(str(folder))
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_dead_sessions_are_swept_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    dead, left = start_session(tmp_path)
    living, kept = start_session(tmp_path)
    dead.kill()
    dead.communicate()
    try:
        with JobFolder(tmp_path) as own:
            assert left.is_dir()
            assert sweep(tmp_path) == 1
            assert not left.exists()
            assert (kept / "fixed.nrrd").is_file()
            assert own.path.is_dir()
    finally:
        living.communicate("")
    assert list(tmp_path.iterdir()) == []


def test_sweep_leaves_everything_else_alone(tmp_path: Path) -> None:
    precious = tmp_path / "scans"
    precious.mkdir()
    (precious / "fixed.nrrd").write_bytes(b"scan")
    (tmp_path / f"{job_folder.PREFIX}1-abc").symlink_to(precious)
    (tmp_path / f"{job_folder.PREFIX}1-abc.lock").touch()
    (tmp_path / f"{job_folder.PREFIX}notes.txt").touch()
    assert sweep(tmp_path) == 0
    assert (precious / "fixed.nrrd").is_file()
    assert (tmp_path / f"{job_folder.PREFIX}notes.txt").exists()
    assert sweep(tmp_path / "nowhere") == 0


def test_only_job_folders_are_removed_as_abandoned(tmp_path: Path) -> None:
    job_folder.remove_abandoned(str(tmp_path))
    assert tmp_path.is_dir()
    named_like_one = tmp_path / f"{job_folder.PREFIX}without-a-lock"
    named_like_one.mkdir()
    job_folder.remove_abandoned(str(named_like_one))
    assert named_like_one.is_dir()


def test_an_unusable_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place, word in ((tmp_path / "nowhere", "does not exist"), (tmp_path / "file", "no folder")):
        with pytest.raises(JobFolderError, match=word) as caught:
            JobFolder(place)
        assert caught.value.kind == "output"
        assert str(tmp_path) not in caught.value.message


def test_a_read_only_place_is_told() -> None:
    """Not even root may write there."""
    with pytest.raises(JobFolderError, match="temporary folder"):
        JobFolder("/proc/sys")


def test_too_little_space_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(JobFolderError, match="MB free"):
        JobFolder(tmp_path, space=2**60)
    assert list(tmp_path.iterdir()) == []
    with JobFolder(tmp_path) as folder, pytest.raises(JobFolderError):
        folder.require_space(2**60)
