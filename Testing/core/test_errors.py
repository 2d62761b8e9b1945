"""Errors know which input they speak of, so that no layer has to rewrite the sentence of another."""

from __future__ import annotations

from pathlib import Path

import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError, RegistrationError, reading
from DeepLargeDeformRegLib.engine.job import RegistrationJob, run_job
from DeepLargeDeformRegLib.scene.errors import SceneError
from DeepLargeDeformRegLib.worker.job_folder import JobFolderError


def test_all_have_one_root() -> None:
    assert issubclass(SceneError, RegistrationError)
    assert issubclass(JobFolderError, RegistrationError)


def test_an_error_speaks_of_the_file_that_was_read() -> None:
    with pytest.raises(BadInputError) as caught, reading("scan", Path("folder") / "fixed.nrrd", "fixed"):
        raise BadInputError("fixed.nrrd is damaged; export fixed.nrrd again.")
    assert (caught.value.side, caught.value.file_kind, caught.value.file) == ("fixed", "scan", "fixed.nrrd")
    assert caught.value.subject == "fixed scan"
    assert str(caught.value) == "fixed.nrrd is damaged; export fixed.nrrd again."
    assert caught.value.message_without_file == "The fixed scan is damaged; export the fixed scan again."


def test_the_innermost_file_is_the_one() -> None:
    with pytest.raises(BadInputError) as caught, reading("scan", "a.nrrd", "fixed"), reading("transform", "b.h5"):
        raise BadInputError("b.h5 is damaged.")
    assert caught.value.subject == "transform"


def test_an_error_of_no_file_stays_as_it_is() -> None:
    error = BadInputError("The two scans do not overlap.")
    assert error.subject is None
    assert error.message_without_file == str(error)


def test_a_job_says_which_scan_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "fixed.nrrd").write_bytes(b"no scan")
    with pytest.raises(BadInputError) as caught:
        run_job(RegistrationJob(fixed=str(tmp_path / "fixed.nrrd"), moving=str(tmp_path / "moving.nrrd")))
    assert caught.value.subject == "fixed scan"
    assert "fixed.nrrd" in str(caught.value)
    assert caught.value.message_without_file.startswith("The fixed scan ")
