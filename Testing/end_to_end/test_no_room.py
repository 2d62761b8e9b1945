"""A temporary folder without room, or that cannot be used: told in the panel, and the next run succeeds."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Small


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """File systems of so many kB."""
    mounted: list[Path] = []

    def make(kilobytes: int) -> Path:
        place = tmp_path / f"disk of {kilobytes} kB"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(place)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("needs the right to mount a small file system (root on Linux)")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def temporary_folder() -> Iterator[Callable[[Path | str], None]]:
    """Sets the application's temporary folder."""
    import slicer

    before = slicer.app.temporaryPath

    def choose(place: Path | str) -> None:
        slicer.app.temporaryPath = str(place)

    yield choose
    choose(before)


def refused(small: Small) -> str:
    """What the panel says after a click on Register that starts nothing."""
    widget = small.widget
    widget.ui.registerButton.click()
    assert widget.run is None, "the registration started"
    assert widget.ui.registerButton.enabled
    assert widget.ui.registerButton.text == "Register"
    assert not widget.ui.progressBar.visible
    return str(widget.ui.statusLabel.text)


def test_too_little_room_is_told_before_anything_is_written(
    small: Small,
    temporary_folder: Callable[[Path | str], None],
    small_disk: Callable[[int], Path],
    tmp_path: Path,
) -> None:
    place = small_disk(1024)
    temporary_folder(place)
    text = refused(small)
    assert "MB free" in text
    assert "needs" in text
    assert list(place.iterdir()) == []
    temporary_folder(tmp_path)
    assert small.register().error is None


def test_a_disk_that_fills_up_while_the_scans_are_written_is_told(
    small: Small,
    temporary_folder: Callable[[Path | str], None],
    small_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if another program took the space between the check and the writing."""
    from DeepLargeDeformRegLib.scene import exchange

    place = small_disk(64)
    temporary_folder(place)
    monkeypatch.setattr(exchange, "needed_bytes", lambda *_: 0)
    assert "could not be written into the temporary folder" in refused(small)
    assert list(place.iterdir()) == []


def test_an_unusable_folder_is_told(
    small: Small, temporary_folder: Callable[[Path | str], None], tmp_path: Path
) -> None:
    for place, reason in ((tmp_path / "nowhere", "does not exist"), (Path("/proc/sys"), "cannot be used")):
        temporary_folder(place)
        assert reason in refused(small)
