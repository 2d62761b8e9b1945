"""The metrics of one registration on the terminal."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from .terminal import Terminal

COLORS = {"accept": "green", "look": "yellow", "reject": "red"}
MARKS = {"accept": "+", "look": "?", "reject": "x"}  # for terminals without color


def summarize(numbers: dict[str, Any], terminal: Terminal, table: bool = True) -> None:
    """Show measures, verdict and notes; the notes alone without ``table``."""
    if table:
        terminal.show(_table(numbers))
        if "verdict" in numbers:
            _show_verdict(numbers["verdict"], terminal)
    for warning in numbers.get("warnings", []):
        terminal.note(warning)


def _table(numbers: dict[str, Any]) -> Table:
    table = Table("Measure", "Before", "After")
    for key, title in (("dice", "Dice"), ("asd_mm", "ASD, mm"), ("hd95_mm", "HD95, mm")):
        for name, values in numbers.get(key, {}).items():
            table.add_row(f"{title}, {escape(name)}", _text(values["before"]), _text(values["after"]))
    if "tre_mm" in numbers:
        for key in ("mean", "p75", "max"):
            before, after = (numbers["tre_mm"][when][key] for when in ("before", "after"))
            table.add_row(f"Landmark error {key}, mm", _text(before), _text(after))
    alike = numbers.get("similarity", {}).get("local_ncc")
    if alike is not None:
        table.add_row("Similarity (local NCC)", _text(alike["before"]), _text(alike["after"]))
    table.add_row("Folded voxels, %", "", _text(numbers["jacobian"]["fold_percent"]))
    for name, change in numbers.get("volume_change_percent", {}).items():
        table.add_row(f"Volume of moving against fixed {escape(name)}, %", "", _text(change))
    consistency = numbers["inverse_consistency_mm"]
    table.add_row(f"Inverse consistency p95, mm ({consistency['source']})", "", _text(consistency["p95"]))
    if "uncertainty_mm" in numbers:
        table.add_row("Expected error mean, mm", "", _text(numbers["uncertainty_mm"]["mean"]))
    return table


def _show_verdict(verdict: dict[str, Any], terminal: Terminal) -> None:
    """The verdict and its reasons; color repeats what the words say."""
    color = COLORS[verdict["level"]]
    terminal.show(f"[bold {color}]{escape(verdict['title'])}[/] (limits: {escape(verdict['limits'])})")
    for reason in verdict["reasons"]:
        mark = MARKS[reason["severity"]]
        limit = "" if reason["limit"] is None else f" [dim](limit {reason['limit']:g})[/]"
        terminal.show(f"  [{COLORS[reason['severity']]}]{mark}[/] {escape(reason['text'])}{limit}")


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
