"""Pictures of the module for its page and its README: panel and views in one, from a real run on the sample case.

``python -m Testing.end_to_end.screenshots`` writes ``Resources/Screenshots/panel-*.png``, and the panel's states at
100 and 200 % in the light and the dark theme (``states-*.png``). The widgets are Qt's own in the style of the
stand-in application, so buttons and bars look a little different in Slicer; what the views show is drawn by Slicer's
own code.
"""

from __future__ import annotations

import argparse
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from DeepLargeDeformRegLib.resources import SAMPLE_CASE

from Testing.slicer_app import pictures, start

from . import cases

REPOSITORY = cases.MODULE.parents[1]
FOLDER = REPOSITORY / "Resources" / "Screenshots"
SIZE = (1260, 800)
SECTIONS = ("inputs", "method", "outputs", "results", "export", "batch")
# Outlines first: they make the surfaces that the 3D view then shows beside the others.
VIEWS = ("outlines", "jacobian", "arrows")
STATE_COLORS = 72
EXACT_COLORS = 24
LEAST_COLOR = 8  # difference of red, green and blue of what is no gray
MOST_BYTES = 260_000


def load(application: Any) -> dict[str, Any]:
    """The sample case in the scene, the two scans over each other as loaded."""
    import slicer

    nodes = cases.load(cases.lung_pair(SAMPLE_CASE))
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


def compact(path: Path, colors: int = 160, exact: int = 0) -> Path:
    """Write a picture anew with few colors of its own: a third of the size, and nothing to be seen of it.

    Args:
        path: of the picture.
        colors: that it keeps.
        exact: so many of them are its most frequent ones that are no gray, as they are; the others are mixed of what
            is near them, as the patches of a legend would be.
    """
    from PIL import Image

    with Image.open(path) as file:
        picture = file.convert("RGB")
    reduced = picture.quantize(colors - exact, Image.Quantize.MEDIANCUT, kmeans=4)
    if exact:
        found: list[Any] = picture.getcolors(picture.width * picture.height) or []
        frequent = sorted((one for one in found if max(one[1]) - min(one[1]) >= LEAST_COLOR), reverse=True)[:exact]
        palette = Image.new("P", (1, 1))
        palette.putpalette([part for _count, color in frequent for part in color] + (reduced.getpalette() or []))
        reduced = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)
    return path


class Camera:
    """Takes pictures of the application into a folder.

    Args:
        application: the stand-in. widget: the module's panel. folder: where the pictures go.
    """

    def __init__(self, application: Any, widget: Any, folder: Path) -> None:
        self.application, self.widget, self.folder = application, widget, folder
        self.taken: list[Path] = []

    def take(self, name: str, scroll_to: Any = None) -> None:
        """Panel and views in one picture, the panel scrolled to a widget."""
        shown = pictures.whole(self.application, self.widget, SIZE, scroll_to)
        self.taken.append(compact(pictures.save(shown, self.folder / f"panel-{name}.png")))


def register(camera: Camera, nodes: dict[str, Any], scene: Path | None) -> None:
    """Register the sample case by a click; ``scene`` is a file that keeps the result."""
    import slicer

    cases.select(camera.widget, nodes)
    cases.choose_preset(camera.widget, "LUNG_CT")
    camera.take("before")
    run = cases.click_and_wait(camera.application, camera.widget)
    if run.error is not None:
        raise run.error
    if scene is not None:
        slicer.util.saveScene(str(scene))


def show_result(camera: Camera) -> None:
    """Pictures of the result that the panel shows."""
    ui, results = camera.widget.ui, camera.widget.results
    results.show_view("fade", fit=True)
    for view in VIEWS:
        getattr(ui, f"{view}Button").click()
        camera.take(view, ui.resultsSection)
    ui.fadeButton.click()
    camera.take("after", ui.resultsSection)
    results.show_chart(len(results.current.get_all("charts")) - 1)
    camera.take("plots", ui.resultsSection)
    results.show_view("local_similarity")
    camera.take("maps", ui.resultsSection)


def _states(camera: Camera) -> Iterator[None]:
    """Bring the panel into one state after the other: inputs, a run on its way, its end in error, result, export."""
    widget, ui = camera.widget, camera.widget.ui
    sections = [getattr(ui, f"{name}Section") for name in SECTIONS]

    def only(*opened: Any) -> None:
        for section in sections:
            section.collapsed = section not in opened

    only(ui.inputsSection, ui.methodSection)
    ui.moreInputsBox.collapsed = ui.advancedBox.collapsed = False
    yield
    ui.moreInputsBox.collapsed = ui.advancedBox.collapsed = True
    only(ui.outputsSection, ui.exportSection, ui.batchSection)
    widget.run = types.SimpleNamespace(finished=False)  # what the panel shows of a run, without one
    widget.progress.started()
    widget.progress.progress("refine", 0.62, "", 41.0)
    widget._update_button()
    yield
    widget.run = None
    widget.progress.idle("The memory ran out. Choose a coarser grid spacing under Advanced.", error=True)
    widget._update_button()
    only(ui.resultsSection)
    yield
    widget.progress.idle("")


def show_states(camera: Camera) -> None:
    """Pictures of the panel's states in both themes at 100 and 200 %."""
    camera.widget.results.show_view("jacobian")
    for theme in ("light", "dark"):
        camera.application.set_dark(theme == "dark")
        camera.widget.results.refresh()
        columns: dict[int, list[Any]] = {100: [], 200: []}
        for _state in _states(camera):
            for percent, shown in columns.items():
                shown.append(pictures.whole_panel(camera.application, camera.widget, percent / 100))
        for percent, shown in columns.items():
            path = camera.folder / f"states-{theme}-{percent}.png"
            camera.taken.append(
                compact(pictures.save(pictures.side_by_side(shown), path), STATE_COLORS, EXACT_COLORS)
            )
    camera.application.set_dark(False)


def main() -> int:
    """Write the pictures; fails where one is too large for a page."""
    parser = argparse.ArgumentParser(description="Take the pictures of the panel.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pictures go")
    help_of_scene = "scene file with the result: made if it is not there, taken instead of a registration if it is"
    parser.add_argument("--scene", type=Path, help=help_of_scene)
    arguments = parser.parse_args()
    application = start()
    again = arguments.scene is not None and arguments.scene.exists()
    if again:
        import slicer

        slicer.util.loadScene(str(arguments.scene))
        application.layout.fit(pictures.views_size(SIZE))
    nodes = {} if again else load(application)
    camera = Camera(application, application.open_module(cases.MODULE), arguments.folder)
    if not again:
        register(camera, nodes, arguments.scene)
    show_result(camera)
    show_states(camera)
    too_large = [path for path in camera.taken if path.stat().st_size > MOST_BYTES]
    for path in too_large:
        sys.stderr.write(f"{path.name} has {path.stat().st_size} bytes, more than {MOST_BYTES}.\n")
    application.quit_modules()
    return bool(application.errors or too_large)


if __name__ == "__main__":
    sys.exit(main())
