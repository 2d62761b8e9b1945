"""SimpleITK, imported when it is first used: Slicer starts and the panel opens without waiting for it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import SimpleITK as sitk
else:

    class _LazySimpleITK:
        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module("SimpleITK"), name)

    sitk = _LazySimpleITK()

__all__ = ["sitk"]
