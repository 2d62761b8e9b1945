"""Registration of 3D scans that differ by a large deformation.

``register``, ``warp``, ``evaluate`` and ``models`` are the Python interface (docs/python.md); they are imported when
they are asked for, so that importing the library takes no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Registration, evaluate, models, register, warp

__version__ = "0.1.0"
__all__ = ["Registration", "__version__", "evaluate", "models", "register", "warp"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
