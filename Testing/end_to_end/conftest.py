"""One registration of each real pair, by a click in the panel; the tests look at what it left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.resources import SAMPLE_CASE

from Testing.slicer_app.fixtures import application, clean_application

from . import cases

__all__ = ["application"]

PAIRS = ("lung", "abdomen")
STATES = ("as registered", "saved and reopened")


@dataclass
class Outcome:
    """A registered pair in the scene of the application.

    Args:
        case: the pair. files: the job folder as the worker left it. metrics: of the engine's metrics file.
        widget: the module's panel.
    """

    case: cases.Case
    files: Path
    metrics: dict[str, Any]
    widget: Any

    @property
    def run(self) -> Any:
        """The result in the scene, found as the panel finds it."""
        from DeepLargeDeformRegLib.scene import results

        (run,) = results.list_results()
        return run

    def node(self, role: str) -> Any:
        """A node of the result; each test asks anew, as a reopened scene has others."""
        node = self.run.get(role)
        assert node is not None, f"the result has no {role}"
        return node


def _case(pair: str) -> cases.Case:
    if pair == "lung":
        return cases.lung_pair(SAMPLE_CASE)
    folder = cases.MODULE.parents[2] / "shared" / "data" / "abdomen-ct"
    if not folder.is_dir():
        pytest.skip("needs two abdominal CTs in ../shared/data/abdomen-ct, which is not beside this repository")
    return cases.abdominal_pair(folder)


class Registrations:
    """The pair that is in the scene; another one takes its place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pair = ""
        self.outcome: Outcome | None = None
        self.application: Any = None
        self._running = ExitStack()

    def register(self, pair: str) -> Outcome:
        """Load, select and register a pair by a click, and save the scene; what is there already stays."""
        if self.outcome is None or pair != self.pair:
            case = _case(pair)
            self.close()
            self.application = self._running.enter_context(clean_application())
            self.pair, self.outcome = pair, self._register(case, self.folder / pair)
        return self.outcome

    def _register(self, case: cases.Case, folder: Path) -> Outcome:
        import slicer

        nodes = cases.load(case)
        widget = self.application.open_module(cases.MODULE)
        cases.select(widget, nodes)
        cases.choose_preset(widget, case.preset)
        run = cases.click_and_wait(self.application, widget, keep=folder / "job")
        assert run.error is None, f"{run.error} {run.error.detail}"
        assert slicer.util.saveScene(str(folder / "scene.mrb"))
        metrics = json.loads((folder / "job" / "metrics.json").read_text(encoding="utf-8"))
        return Outcome(case, folder / "job", metrics, widget)

    def reopen(self) -> None:
        """Close the scene and load it from its file."""
        import slicer

        self.application.close_scene()
        assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        slicer.util.loadScene(str(self.folder / self.pair / "scene.mrb"))

    def close(self) -> None:
        """End with the application; fails where a handler of Qt or VTK raised."""
        self.outcome = None
        self._running.close()


@pytest.fixture(scope="module")
def registrations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registrations]:
    made = Registrations(tmp_path_factory.mktemp("registrations"))
    yield made
    made.close()


@pytest.fixture(scope="module", params=[(pair, state) for pair in PAIRS for state in STATES], ids=", ".join)
def outcome(request: pytest.FixtureRequest, registrations: Registrations) -> Outcome:
    """The result as it came, and again from the file of the scene: each test holds for both."""
    pair, state = request.param
    found = registrations.register(pair)
    if state == STATES[1]:
        registrations.reopen()
    return found


@dataclass
class Small:
    """Two crops around the same place of the lung, chosen in the panel, and a registration of seconds."""

    application: Any
    widget: Any
    fixed: Any
    moving: Any

    def register(self, seconds: float = 120.0) -> Any:
        """Press Register and wait; return the run."""
        return cases.click_and_wait(self.application, self.widget, seconds)


@pytest.fixture
def small(application: Any, tmp_path: Path) -> Small:
    import slicer

    case = _case("lung")
    nodes = []
    for name, side, points in (
        ("fixed", case.fixed, case.landmarks[:, :3]),
        ("moving", case.moving, case.landmarks[:, 3:]),
    ):
        path = tmp_path / f"{name}.nrrd"
        sitk.WriteImage(cases.crop_around(sitk.ReadImage(str(side.image)), points.mean(axis=0)), str(path))
        nodes.append(slicer.util.loadVolume(str(path), {"name": name}))
    widget = application.open_module(cases.MODULE)
    cases.select(widget, {"fixedVolume": nodes[0], "movingVolume": nodes[1]})
    widget.ui.iterationsBox.value = 3
    return Small(application, widget, *nodes)
