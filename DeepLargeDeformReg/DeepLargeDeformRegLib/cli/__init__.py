"""The command ``deeplargedeformreg``: one file a command.

Nothing heavy is imported before a command needs it, so that help and completion answer at once.
"""

from .app import main

__all__ = ["main"]
