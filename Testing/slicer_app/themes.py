"""Slicer's light and dark themes, as far as letters, grounds and fields go."""

from __future__ import annotations

from PySide6 import QtGui

_Role = QtGui.QPalette.ColorRole
_DARK = {
    _Role.Window: "#323232",
    _Role.WindowText: "#ffffff",
    _Role.Base: "#1e1e1e",
    _Role.AlternateBase: "#323232",
    _Role.ToolTipBase: "#1e1e1e",
    _Role.ToolTipText: "#ffffff",
    _Role.Text: "#ffffff",
    _Role.Button: "#323232",
    _Role.ButtonText: "#ffffff",
    _Role.Light: "#5f5f5f",
    _Role.Midlight: "#515151",
    _Role.Mid: "#383838",
    _Role.Dark: "#2a2a2a",
    _Role.Highlight: "#308cc6",
    _Role.HighlightedText: "#ffffff",
    _Role.Link: "#5fb2ff",
    _Role.PlaceholderText: "#a0a0a0",
}


def dark_palette() -> QtGui.QPalette:
    """Light letters on dark grounds; what is not enabled is gray."""
    palette = QtGui.QPalette()
    for role, color in _DARK.items():
        palette.setColor(role, QtGui.QColor(color))
    for role in (_Role.WindowText, _Role.Text, _Role.ButtonText):
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, role, QtGui.QColor("#6d6d6d"))
    return palette
