"""The application for the tests of this folder."""

from .fixtures import application

__all__ = ["application"]
