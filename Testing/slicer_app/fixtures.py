"""The fixture of every test that needs the application; import it in a conftest.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from . import missing_packages, start


@contextmanager
def clean_application() -> Iterator[Any]:
    """The stand-in application with an empty scene; afterwards no handler of Qt or VTK may have raised."""
    missing = missing_packages()
    if missing:
        reason = f"The stand-in application needs {', '.join(missing)} (pip install '.[test]')."
        # Where they cannot be installed a person may go on without; CI may not.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    running = start()
    running.reset()
    yield running
    running.quit_modules()
    errors, messages = list(running.errors), list(running.qt_messages)
    unanswered = len(running.dialogs.answers)
    running.reset()
    assert not errors, "A handler of Qt or VTK raised:\n" + "\n".join(errors)
    assert not messages, "Qt warned: " + "; ".join(messages)
    assert not unanswered, f"{unanswered} prepared answers to dialogs were never asked for."


@pytest.fixture
def application() -> Iterator[Any]:
    """``clean_application`` for one test."""
    with clean_application() as running:
        yield running
