"""The module's own test, which Slicer runs from its Self Tests module and in CTest."""

from __future__ import annotations

from typing import Any

from .cases import MODULE


def test_self_test_of_the_module_passes(application: Any, caplog: Any) -> None:
    import slicer

    application.load_module(MODULE)
    with caplog.at_level("INFO"):
        slicer.selfTests["DeepLargeDeformReg"](msec=1)
    assert "self-test passed" in caplog.text
