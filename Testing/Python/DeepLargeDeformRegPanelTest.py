"""A registration through the panel: choose, click, wait, look. For a running Slicer (ctest) and the stand-in."""

from __future__ import annotations

import time
import unittest
from typing import Any

import numpy as np
import slicer

SECONDS = 300.0


def add_ball(name: str, shift: int) -> Any:
    """A soft ball in a volume of 40 x 40 x 40 voxels of 2 mm, shifted along x by a number of voxels."""
    index = np.indices((40, 40, 40))
    distance = np.sqrt(((index - np.array([20, 20, 20 + shift]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0))
    node = slicer.util.addVolumeFromArray((1000.0 / (1.0 + np.exp(distance - 8.0))).astype(np.float32), name=name)
    node.SetSpacing(2.0, 2.0, 2.0)
    return node


class DeepLargeDeformRegPanelTest(unittest.TestCase):
    """What a user does first."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def test_register_by_a_click(self) -> None:
        """A ball that lies 8 mm off is found, shown and judged."""
        from DeepLargeDeformRegLib.widgets import dependencies

        if dependencies.missing_packages():
            self.skipTest(f"Not installed: {', '.join(dependencies.missing_packages())}.")
        fixed, moving = add_ball("fixed", 0), add_ball("moving", 4)
        widget = slicer.util.getModuleWidget("DeepLargeDeformReg")
        widget.enter()
        widget.ui.fixedVolumeSelector.setCurrentNode(fixed)
        widget.ui.movingVolumeSelector.setCurrentNode(moving)
        assert widget.ui.registerButton.enabled, widget.ui.registerButton.toolTip
        widget.ui.registerButton.click()
        run = widget.run
        assert run is not None, widget.ui.statusLabel.text
        assert widget.ui.registerButton.text == "Cancel"
        end = time.monotonic() + SECONDS
        while not run.finished and time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.01)
        assert run.finished, "The registration did not end."
        assert run.error is None, str(run.error)
        moved = run.result.get("transform").GetTransformFromParent().TransformPoint((40.0, 40.0, 40.0))
        np.testing.assert_allclose(moved, (48.0, 40.0, 40.0), atol=1.0)
        assert widget.ui.resultBox.count == 1
        assert widget.ui.verdictLabel.text != "No result yet."
        for view in ("fade", "checkerboard", "difference", "jacobian", "grid"):
            getattr(widget.ui, f"{view}Button").click()
            assert widget.ui.viewLabel.text


if __name__ == "__main__":
    unittest.main()
