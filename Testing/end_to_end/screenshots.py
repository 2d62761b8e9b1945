"""Pictures of the module for its page and its README: panel and views in one, from a real run on the sample case.

``python -m Testing.end_to_end.screenshots`` writes ``Resources/Screenshots/panel-*.png``. The widgets are Qt's own in
the style of the stand-in application, so buttons and bars look a little different in Slicer; what the views show is
drawn by Slicer's own code.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from Testing.slicer_app import pictures, start

from . import cases

REPOSITORY = cases.MODULE.parents[1]
FOLDER = REPOSITORY / "Resources" / "Screenshots"
SIZE = (1260, 800)
# Outlines first: they make the surfaces that the 3D view then shows beside the others.
VIEWS = ("outlines", "jacobian", "checkerboard")
# Color maps keep all their colors.
TRUE_COLORS = ("jacobian", "maps")
MOST_BYTES = 550_000


def load(application: Any) -> dict[str, Any]:
    """The sample case in the scene, the two scans over each other as loaded."""
    import slicer

    nodes = cases.load(cases.lung_pair(REPOSITORY / "Resources" / "SampleCase"))
    names = {"fixed": "lung at baseline", "moving": "lung at follow-up"}
    for side, name in names.items():
        nodes[f"{side}Volume"].SetName(name)
        nodes[f"{side}Segmentation"].SetName(f"{name}, structures")
        nodes[f"{side}Landmarks"].SetName(f"{name}, landmarks")
        nodes[f"{side}Landmarks"].GetDisplayNode().SetPointLabelsVisibility(False)
    application.layout.fit(pictures.views_size(SIZE))
    slicer.util.setSliceViewerLayers(
        background=nodes["fixedVolume"], foreground=nodes["movingVolume"], foregroundOpacity=0.5, fit=True
    )
    return nodes


def compact(path: Path) -> Path:
    """Write a picture anew with 256 colors of its own: a third of the size, and nothing to be seen of it."""
    from PIL import Image

    with Image.open(path) as picture:
        reduced = picture.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT)
    reduced.save(path, optimize=True)
    return path


def take(application: Any, folder: Path) -> list[Path]:
    """Register the sample case by a click and take the pictures; return their files."""
    nodes = load(application)
    widget = application.open_module(cases.MODULE)
    cases.select(widget, nodes)
    cases.choose_preset(widget, "LUNG_CT")
    taken: list[Path] = []

    def picture(name: str, scroll_to: Any = None) -> None:
        shown = pictures.whole(application, widget, SIZE, scroll_to)
        taken.append(pictures.save(shown, folder / f"panel-{name}.png"))
        if name not in TRUE_COLORS:
            compact(taken[-1])

    picture("before")
    run = cases.click_and_wait(application, widget)
    if run.error is not None:
        raise run.error
    for view in VIEWS:
        getattr(widget.ui, f"{view}Button").click()
        picture(view, widget.ui.resultsSection)
    widget.ui.fadeButton.click()
    picture("after", widget.ui.resultsSection)
    widget.results.show_chart(len(run.result.get_all("charts")) - 1)
    picture("plots", widget.ui.resultsSection)
    widget.results.show_view("local_similarity")
    picture("maps", widget.ui.resultsSection)
    return taken


def main() -> int:
    """Write the pictures; fails where one is too large for a page."""
    parser = argparse.ArgumentParser(description="Take the pictures of the panel.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pictures go")
    arguments = parser.parse_args()
    application = start()
    too_large = [path for path in take(application, arguments.folder) if path.stat().st_size > MOST_BYTES]
    for path in too_large:
        sys.stderr.write(f"{path.name} has {path.stat().st_size} bytes, more than {MOST_BYTES}.\n")
    application.quit_modules()
    return bool(application.errors or too_large)


if __name__ == "__main__":
    sys.exit(main())
