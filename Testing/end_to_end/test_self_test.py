"""The module's own test, which Slicer runs from its Self Tests module and in CTest."""

from __future__ import annotations

import importlib.util
import unittest
from typing import Any

from .cases import MODULE


def test_self_test_of_the_module_passes(application: Any, caplog: Any) -> None:
    import slicer

    application.load_module(MODULE)
    with caplog.at_level("INFO"):
        slicer.selfTests["DeepLargeDeformReg"](msec=1)
    assert "self-test passed" in caplog.text


def test_the_test_for_a_running_slicer_passes_here_too(application: Any) -> None:
    application.load_module(MODULE)
    path = MODULE.parents[1] / "Testing" / "Python" / "DeepLargeDeformRegPanelTest.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromModule(module).run(result)
    assert result.testsRun == 1
    assert not result.skipped, result.skipped
    assert result.wasSuccessful(), result.errors + result.failures
