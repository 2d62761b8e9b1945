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

from DeepLargeDeformRegLib.resources import SAMPLE_CASE

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


def compact(path: Path) -> Path:
    """Write a picture anew with 256 colors of its own: a third of the size, and nothing to be seen of it."""
    from PIL import Image

    with Image.open(path) as picture:
        reduced = picture.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT)
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
        self.taken.append(pictures.save(shown, self.folder / f"panel-{name}.png"))
        if name not in TRUE_COLORS:
            compact(self.taken[-1])


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
    too_large = [path for path in camera.taken if path.stat().st_size > MOST_BYTES]
    for path in too_large:
        sys.stderr.write(f"{path.name} has {path.stat().st_size} bytes, more than {MOST_BYTES}.\n")
    application.quit_modules()
    return bool(application.errors or too_large)


if __name__ == "__main__":
    sys.exit(main())
