"""Runs the tests of this folder in Slicer and ends it: ``Slicer --testing --python-script run_self_tests.py``."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

import slicer

sys.path.insert(0, str(Path(__file__).resolve().parent))
tests = unittest.defaultTestLoader.loadTestsFromName("DeepLargeDeformRegPanelTest")
result = unittest.TextTestRunner(verbosity=2).run(tests)
slicer.app.exit(0 if result.wasSuccessful() else 1)
