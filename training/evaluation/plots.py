"""Pictures of a cohort: a box per structure, and the cumulative curve of the landmarks' errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from DeepLargeDeformRegLib.core.files.common import written_whole
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .runs import Row
from .statistics import CURVE_LIMITS_MM, cumulative_curve

Runs = Mapping[str, Sequence[Row]]
Boxes = dict[str, list[float]]  # values of each structure
_BEFORE = "before registration"
_TITLES = {
    "dice": "Dice",
    "asd_mm": "average surface distance (mm)",
    "hd_mm": "Hausdorff distance (mm)",
    "hd95_mm": "Hausdorff distance, 95th percentile (mm)",
}
# Gray for what was before registration; Okabe and Ito's colors, which the color-blind tell apart, for the runs.
_COLORS = ("#999999", "#0072B2", "#E69F00", "#009E73", "#CC79A7")


def box_plots(runs: Runs, folder: Path) -> list[Path]:
    """One picture for each measure of structures, with a box for each structure and run.

    A box reaches from the first to the third quartile with a line at the median; whiskers end at the last case within
    1.5 times its height (Tukey, Exploratory Data Analysis, 1977); cases beyond are dots.

    Args:
        runs: cases by the name of the run; what was before registration is taken from the first one.
        folder: gets ``boxes_MEASURE.png``.

    Returns:
        The files written; none where there are no structures.

    Raises:
        OutputError: if one cannot be written.
    """
    written = []
    first = next(iter(runs))
    for measure, title in _TITLES.items():
        groups = {_BEFORE: _boxes(runs[first], f"before: {measure}")}
        groups |= {name: _boxes(rows, measure) for name, rows in runs.items()}
        structures = list(dict.fromkeys(name for boxes in groups.values() for name in boxes))
        if not structures:
            continue
        figure = Figure(figsize=(max(6.0, 1.5 + 0.4 * (len(groups) + 1) * len(structures)), 4.5))
        axes = figure.add_subplot()
        for number, boxes in enumerate(groups.values()):
            offset = 0.8 * ((number + 0.5) / len(groups) - 0.5)
            values = [boxes.get(structure, []) for structure in structures]
            _draw_boxes(axes, values, offset, 0.7 / len(groups), _COLORS[number % len(_COLORS)])
        counts = [len(groups[first].get(structure, [])) for structure in structures]
        texts = [f"{structure}\n(n = {count})" for structure, count in zip(structures, counts, strict=True)]
        turned = len(structures) > 4
        axes.set_xticks(range(len(texts)), texts, rotation=45 if turned else 0, ha="right" if turned else "center")
        axes.set(ylabel=title, xlim=(-0.5, len(structures) - 0.5), ylim=(0, 1 if measure == "dice" else None))
        axes.grid(axis="y", alpha=0.3)
        patches = [Patch(color=color, alpha=0.7, label=name) for name, color in zip(groups, _COLORS, strict=False)]
        figure.legend(handles=patches, loc="outside upper center", ncols=len(patches), frameon=False)
        written.append(_save(figure, folder / f"boxes_{measure}.png"))
    return written


def curve_plot(runs: Runs, path: Path) -> Path | None:
    """Picture of the share of landmarks whose error is at most so many mm.

    Args:
        runs: cases by the name of the run; what was before registration is taken from the first one.
        path: of the picture.

    Returns:
        The path; None where there are no landmarks.

    Raises:
        OutputError: if it cannot be written.
    """
    errors = {_BEFORE: _errors(next(iter(runs.values())), "before")}
    errors |= {name: _errors(rows, "after") for name, rows in runs.items()}
    if not any(list(errors.values())[1:]):
        return None
    figure = Figure(figsize=(6.0, 4.5))
    axes = figure.add_subplot()
    for color, (name, values) in zip(_COLORS, errors.items(), strict=False):
        if values:
            share = [100 * value for value in cumulative_curve(values, CURVE_LIMITS_MM)]
            axes.plot(CURVE_LIMITS_MM, share, color=color, label=f"{name} ({len(values)} landmarks)")
    axes.set(xlabel="target registration error (mm)", ylabel="landmarks within it (%)", ylim=(0, 101))
    axes.set_xlim(0, CURVE_LIMITS_MM[-1])
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return _save(figure, path)


def _boxes(rows: Sequence[Row], measure: str) -> Boxes:
    found: Boxes = {}
    for row in rows:
        for name, value in row.get("values", {}).items():
            if name.startswith(f"{measure}: "):
                found.setdefault(name[len(measure) + 2 :], []).append(value)
    return found


def _errors(rows: Sequence[Row], when: str) -> list[float]:
    return [error for row in rows for error in row.get("errors_mm", {}).get(when, [])]


def _draw_boxes(axes: Axes, values: Sequence[Sequence[float]], offset: float, width: float, color: str) -> None:
    drawn = axes.boxplot(
        list(values),
        positions=[number + offset for number in range(len(values))],
        widths=width,
        patch_artist=True,
        manage_ticks=False,
        medianprops={"color": "black"},
        flierprops={"marker": "o", "markersize": 3, "markerfacecolor": color, "markeredgecolor": color},
    )
    for box in drawn["boxes"]:
        box.set(facecolor=color, alpha=0.7)


def _save(figure: Figure, path: Path) -> Path:
    figure.set_layout_engine("constrained")
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return path
