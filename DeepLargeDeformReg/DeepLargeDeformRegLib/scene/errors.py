"""Errors of the scene, with messages for the person at the screen."""

from __future__ import annotations

from ..core.errors import BadInputError


class SceneError(BadInputError):
    """A node cannot be used; the message says which, why, and what to do."""
