"""The HTML report of a registration: one self-contained file with pictures, numbers and timings."""

from .html import write_report

__all__ = ["write_report"]
