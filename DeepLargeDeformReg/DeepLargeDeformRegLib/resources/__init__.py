"""The files that the library ships: models, limits, colors and the sample case, where they lie in every installation.

They are inside the package, so that a clone, a wheel and Slicer's copy of the module find them in the same place.
Standard library only.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
MODELS = FOLDER / "models"
"""Model cards (``NAME.json``) and their weights."""
VERDICT_LIMITS = FOLDER / "verdict_limits.json"
"""The limits of the verdict."""
JACOBIAN_COLORS = FOLDER / "jacobian_colormap.json"
"""The color map of det J."""
SAMPLE_CASE = FOLDER / "sample_case"
"""Two CT scans of one lung, their masks and landmarks; its README.md says where they are from."""
