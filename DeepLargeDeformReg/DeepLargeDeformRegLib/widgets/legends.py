"""What the views show, in words and colors, beside the views: there it covers nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from ..core.display import DIFFERENCE, FIXED_COLOR, MAPS, MOVING_COLOR
from ..scene import layouts
from ..scene.color_map import legend_steps
from ..scene.words import heading, say


def _rgb(color: Sequence[float]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in color))


def color_bar(steps: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Values under their colors, as a table in HTML."""
    colors = "".join(f"<td bgcolor='{_rgb(color)}'>&nbsp;</td>" for _value, color in steps)
    values = "".join(f"<td align='center'>{value}</td>" for value, _color in steps)
    return f"<table width='100%' cellspacing='0' cellpadding='1'><tr>{colors}</tr><tr>{values}</tr></table>"


def view_legend(view: str, beneath: str = "", volume: Any = None) -> str:
    """What the views show, in HTML with the colors that they use.

    Args:
        view: one of the views or maps, or ``"before"``.
        beneath: name of a run that is compared with.
        volume: what is shown in a color map, if anything.
    """
    fixed, moving = (f"<span style='color: {_rgb(color)}'>\u25a0</span>" for color in (FIXED_COLOR, MOVING_COLOR))
    first = beneath or _("Fixed scan")
    outlines = _("{fixed} fixed segments, {moving} propagated ones.")
    if beneath:
        outlines = _("{fixed} those of {run}, {moving} propagated ones.")
    difference = say(DIFFERENCE)
    if beneath:
        difference = _("Registered scan minus {first}: gray where they agree.").format(first=first)
    text = {
        "fade": _("{first}, and over it the registered one.").format(first=first),
        "outlines": outlines.format(fixed=fixed, moving=moving, run=beneath),
        "checkerboard": _("{first} and registered scan in turns: edges must go on across the squares.").format(
            first=first
        ),
        "difference": difference,
        "jacobian": _(
            "Volume change (det J): 1 keeps the volume, the moving scan is larger above 1 and smaller below; 0 and "
            "less are folds, which tissue cannot do."
        ),
        "grid": _("The registered scan, and how the transform bends a regular grid."),
        "arrows": _("The fixed scan, and from each point an arrow to its place in the moving one."),
        "contours": _("The fixed scan, and lines of equal displacement, one each {step} mm.").format(
            step=layouts.CONTOUR_STEP_MM
        ),
        "before": _("Fixed scan, and over it the moving one as loaded."),
        **{name: f"{heading(style)}. {say(style.description)}" for name, style in MAPS.items()},
    }[view]
    return text + (color_bar(legend_steps(volume)) if volume is not None else "")
