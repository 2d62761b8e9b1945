"""The metrics of one registration on the terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from ..core.display import LEVELS
from ..core.metrics import Metrics, Verdict
from ..core.rows import SINGLE_PLACES, left_out_text, metric_rows, place_text, position_text
from .terminal import Terminal

# Rows of the metrics that the terminal shows; the file has all of them.
SHOWN = {
    *("dice", "asd_mm", "hd95_mm", "volume_change_percent"),
    *("tre_mm.mean", "tre_mm.p75", "tre_mm.max"),
    *("jacobian.fold_percent", "inverse_consistency_mm.p95", "uncertainty_mm.mean", "similarity.local_ncc"),
}


def summarize(metrics: Metrics, terminal: Terminal, table: bool = True) -> None:
    """Show measures, verdict, worst places and notes; the notes alone without ``table``."""
    if table:
        terminal.show(_table(metrics))
        if metrics.verdict is not None:
            _show_verdict(metrics.verdict, terminal)
            if metrics.worst_places:
                terminal.show(SINGLE_PLACES)
        for place in metrics.worst_places:
            terminal.show(f"  {escape(place_text(place))}, at {position_text(place.point_lps)}")
        if metrics.left_out_percent:
            terminal.show(f"  Left out by masks: {left_out_text(metrics)}")
    for warning in metrics.warnings:
        terminal.note(warning)


def _table(metrics: Metrics) -> Table:
    table = Table("Measure", "Structure", "Before", "After", "Unit")
    for row in metric_rows(metrics):
        if row.key in SHOWN:
            table.add_row(*(escape(cell) for cell in row.cells))
    return table


def _show_verdict(verdict: Verdict, terminal: Terminal) -> None:
    """The verdict and its reasons; color repeats what the words say."""
    color = LEVELS[verdict.level].terminal
    terminal.show(f"[bold {color}]{escape(verdict.title)}[/] (limits: {escape(verdict.limits)})")
    for reason in verdict.reasons:
        level = LEVELS[reason.severity]
        limit = "" if reason.limit is None else f" [dim](limit {reason.limit:g})[/]"
        terminal.show(f"  [{level.terminal}]{level.plain_mark}[/] {escape(reason.text)}{limit}")
