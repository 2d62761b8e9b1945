"""Outputs of a run: together or not at all, whoever ends it; never an input, never one file twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError, OutputError
from DeepLargeDeformRegLib.core.files import check_outputs, folder_to_make, written_together, written_whole
from DeepLargeDeformRegLib.core.files.common import write_text
from DeepLargeDeformRegLib.engine.fields import DisplacementField, write_transform

WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from DeepLargeDeformRegLib.core.files import written_together
from DeepLargeDeformRegLib.core.files.common import write_text
from DeepLargeDeformRegLib.core.files import together

class SlowCommit(type(Path())):
    def replace(self, target):
        result = super().replace(target)
        print("renamed", flush=True)
        time.sleep(60)
        return result

where = sys.argv[1]
with written_together():
    for name in ("a.json", "maps/b.json", "c.json"):
        write_text("{}", Path(name))
    if where == "before":
        print("written", flush=True)
        time.sleep(60)
    run = together.current_run()
    run._renames = [(SlowCommit(source), path) for source, path in run._renames]
"""


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_nothing_is_seen_before_the_end(tmp_path: Path) -> None:
    with written_together():
        write_text("1", tmp_path / "a.json")
        write_text("2", tmp_path / "maps" / "b.json")
        assert all(Path(name).name.startswith(".unfinished-") for name in names(tmp_path))
    assert names(tmp_path) == ["a.json", "maps", "maps/b.json"]
    assert (tmp_path / "maps" / "b.json").read_text() == "2"


def _write_and_fail(folder: Path, error: BaseException) -> None:
    with written_together():
        write_text("1", folder / "a.json")
        write_text("2", folder / "maps" / "b.json")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BadInputError("no"), ValueError("no")])
def test_error_leaves_nothing_and_makes_no_folder(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "a.json").write_text("older")
    with pytest.raises(type(error)):
        _write_and_fail(tmp_path, error)
    assert names(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "older"


@pytest.mark.skipif(sys.platform == "win32", reason="needs the signals of POSIX systems")
@pytest.mark.parametrize("kind", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("where", ["before", "within"])
def test_killed_run_leaves_all_or_nothing(tmp_path: Path, repository: Path, kind: str, where: str) -> None:
    """Killed before the end nothing is left; killed between two renames, the watcher completes the others."""
    environment = {**os.environ, "PYTHONPATH": str(repository / "DeepLargeDeformReg")}
    command = [sys.executable, "-c", WRITE_AND_WAIT, where]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline()  # all is written, or one of three is renamed
        child.send_signal(getattr(signal, kind))
        child.wait(60)
    expected = [] if where == "before" else ["a.json", "c.json", "maps", "maps/b.json"]
    end = time.monotonic() + 30  # the watcher needs milliseconds, a loaded machine more
    while names(tmp_path) != expected and time.monotonic() < end:
        time.sleep(0.02)
    assert names(tmp_path) == expected


def test_output_that_is_an_input_by_any_route_is_refused(tmp_path: Path) -> None:
    scan, other = tmp_path / "scan.nrrd", tmp_path / "other"
    scan.write_text("x")
    other.mkdir()
    (other / "link.nrrd").symlink_to(scan)
    os.link(scan, other / "hard.nrrd")
    (tmp_path / "folder").symlink_to(tmp_path)
    for output in (
        scan,
        other / "link.nrrd",
        other / "hard.nrrd",
        other / ".." / "scan.nrrd",
        tmp_path / "folder" / "scan.nrrd",
        tmp_path / "SCAN.nrrd",
        Path(os.path.relpath(scan)),
    ):
        with pytest.raises(BadInputError, match="would overwrite an input"):
            check_outputs([(output, (".nrrd",))], [scan])
    check_outputs([(tmp_path / "new.nrrd", (".nrrd",)), (tmp_path / "new.json", (".json",))], [scan])
    assert scan.read_text() == "x"


def test_file_of_an_input_folder_or_header_is_an_input(tmp_path: Path) -> None:
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "1.nrrd").write_text("x")
    for folder in (tmp_path / "dicom", tmp_path / "dicom#2"):
        with pytest.raises(BadInputError, match="would overwrite an input"):
            check_outputs([(tmp_path / "dicom" / "1.nrrd", (".nrrd",))], [folder])
    (tmp_path / "a.raw.nrrd").write_bytes(bytes(8))
    header = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: a.raw.nrrd\n"
    (tmp_path / "a.nhdr").write_text(header)
    with pytest.raises(BadInputError, match="would overwrite an input"):
        check_outputs([(tmp_path / "a.raw.nrrd", (".nrrd",))], [tmp_path / "a.nhdr"])


@pytest.mark.parametrize("second", ["a.nrrd", "A.nrrd", "./x/../a.nrrd"])
def test_two_outputs_of_one_name_are_refused(tmp_path: Path, second: str) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(BadInputError, match="Two outputs have the same name"):
        check_outputs([(tmp_path / "a.nrrd", (".nrrd",)), (tmp_path / second, (".nrrd",))], [])


def test_place_that_cannot_be_written_is_said_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="name is too long"):
        check_outputs([(tmp_path / ("n" * 300 + ".nrrd"), (".nrrd",))], [])
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "missing" / "maps"):
        with pytest.raises(OutputError, match="for the maps cannot be made"):
            folder_to_make(folder)
    assert folder_to_make(tmp_path / "maps") == tmp_path / "maps"
    assert not (tmp_path / "maps").exists()
    with pytest.raises(OutputError) as caught, written_whole(tmp_path / "a.nrrd"):
        raise RuntimeError("ITK gave no reason")
    assert "the disk is full" not in caught.value.message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_is_no_output(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.nrrd")
    with pytest.raises(BadInputError, match="device or a pipe"):
        check_outputs([(tmp_path / "a.nrrd", (".nrrd",))], [])


def test_longest_name_that_the_disk_takes_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".json")
    with written_together():
        write_text("{}", path)
    assert path.read_text() == "{}"


@pytest.mark.parametrize("name", ["f.h5", "f.nii.gz", "f.nrrd", "f.mha", "f.tfm"])
def test_same_field_gives_the_same_bytes(tmp_path: Path, smooth_field: DisplacementField, name: str) -> None:
    """HDF5 and gzip write down the second in which they work; the second file is written in another one."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_transform(smooth_field, tmp_path / folder / name)
        second = int(time.time())
        while name in ("f.h5", "f.nii.gz") and folder == "one" and int(time.time()) == second:
            time.sleep(0.05)
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
