"""Too little memory, a full disk, a folder that may not be written to: told, and nothing half written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from DeepLargeDeformRegLib.worker import protocol

from .conftest import Desk
from .pairs import write_pair

MakeDesk = Callable[..., Desk]
LIMITED = "Testing.worker.limited_jobs"
SETTINGS = {"preset": "any", "prealign": "none", "iterations": 2}
ENDINGS = {"output_volume": ("nrrd", "nii", "mha"), "output_transform": ("nrrd", "mha", "nii.gz", "h5")}


def run(one: Desk, **payload: object) -> protocol.Result:
    job = one.submit("register", **payload)
    one.wait(lambda: job in one.results or job in one.errors, 120)
    assert job in one.results, one.errors[job]
    return one.results[job]


def test_a_plan_that_does_not_fit_into_memory_is_followed_by_a_smaller_one(desk: MakeDesk, tmp_path: Path) -> None:
    """Allocations fail for real. The first plan takes what the engine takes: less and less is allowed until it fails;
    the smaller plans, of 45 % and a fifth of the voxels, then fit."""
    entries = write_pair(tmp_path)
    for megabytes in (360, 300, 250, 200):
        one = desk(jobs=LIMITED, DLDR_TEST_MEMORY_MB=str(megabytes), OMP_NUM_THREADS="1", MALLOC_ARENA_MAX="1")
        result = run(one, **entries, settings=SETTINGS, output_volume=str(tmp_path / "warped.nrrd"))
        if result.metrics["warnings"]:
            break
    assert any("to save memory" in warning for warning in result.metrics["warnings"])
    assert any("smaller plan" in event.message for event in one.progress)
    fractions = [event.fraction for event in one.progress]
    assert fractions == sorted(fractions)


def test_memory_that_no_plan_fits_into_is_told_and_the_worker_lives_on(desk: MakeDesk, tmp_path: Path) -> None:
    one = desk(jobs=LIMITED, DLDR_TEST_MEMORY_MB="120", OMP_NUM_THREADS="1", MALLOC_ARENA_MAX="1")
    output = tmp_path / "warped.nrrd"
    error = one.error(
        one.submit("register", **write_pair(tmp_path), settings=SETTINGS, output_volume=str(output)), 120
    )
    assert error.kind == "out_of_memory"
    assert "region of interest" in error.message
    assert not output.exists()
    small = tmp_path / "small"
    small.mkdir()
    run(one, **write_pair(small, size=10), settings=SETTINGS, output_volume=str(output))
    assert len(one.transports) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, whose memory is then limited for real")
def test_gpu_memory_that_is_not_enough_leads_to_the_cpu(tmp_path: Path) -> None:
    from DeepLargeDeformRegLib.engine.job import RegistrationJob, run_job

    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        entries = write_pair(tmp_path) | {"settings": SETTINGS | {"device": "cuda"}}
        found = run_job(RegistrationJob.from_json(entries))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert found.device.startswith("CPU")
    assert any("was not enough" in warning for warning in found.warnings)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system (root on Linux)")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_runs_full_leaves_nothing_half_written(desk: MakeDesk, tmp_path: Path, small_disk: Path) -> None:
    """The warped scan (131 kB) fits, the field (393 kB) does not; an older result is untouched."""
    one = desk(jobs="DeepLargeDeformRegLib.worker.jobs")
    entries = write_pair(tmp_path, size=32)
    older = small_disk / "transform.nrrd"
    older.write_bytes(b"an older result")
    for number in range(2):
        job = one.submit(
            "register",
            **entries,
            settings=SETTINGS,
            output_transform=str(older),
            output_volume=str(small_disk / "warped.nrrd"),
        )
        error = one.error(job, 120)
        assert error.kind == "output", number
        assert "disk is full" in error.message
        assert older.read_bytes() == b"an older result"
        assert [path.name for path in small_disk.iterdir()] == ["transform.nrrd"]
    run(one, **entries, settings=SETTINGS, output_volume=str(small_disk / "warped.nrrd"))
    assert len(one.transports) == 1


def test_a_write_that_ends_early_is_told_for_every_format(desk: MakeDesk, tmp_path: Path) -> None:
    one = desk(jobs=LIMITED, DLDR_TEST_FILE_BYTES="20000")
    entries = write_pair(tmp_path, size=20)
    before = sorted(tmp_path.iterdir())
    for name, endings in ENDINGS.items():
        for ending in endings:
            output = str(tmp_path / f"result.{ending}")
            error = one.error(one.submit("register", **entries, settings=SETTINGS, **{name: output}), 120)
            assert error.kind == "output", (ending, error)
            assert sorted(tmp_path.iterdir()) == before, ending
    assert len(one.transports) == 1


def test_a_folder_that_may_not_be_written_to_is_told_before_the_work(desk: MakeDesk, tmp_path: Path) -> None:
    one = desk(jobs="DeepLargeDeformRegLib.worker.jobs")
    if os.getuid() == 0:
        place = Path("/proc/sys")  # not even root may write there
    else:
        place = tmp_path / "closed"
        place.mkdir(mode=0o500)
    error = one.error(one.submit("register", **write_pair(tmp_path), output_volume=str(place / "warped.nrrd")), 60)
    assert error.kind == "output"
    assert "read-only" in error.message
    assert not any(event.stage == "prealign" for event in one.progress)
