"""Who is told of results: the panel, of those that scripts made too. Light, as the panel's opening imports it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RESULT_LISTENERS: list[Callable[[Any], None]] = []
"""Called with each :class:`~.registration.Run` that put a result into the scene, whoever started it."""
