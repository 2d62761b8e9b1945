"""CUDA graphs: what is recorded, when, and what happens where it fails; with a stand-in for CUDA, as no GPU is here.

The stand-in records the operations of a function with the tensors that they read and write, and replays them on the
same tensors, as a GPU does.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import cuda_graphs
from DeepLargeDeformRegLib.engine.cuda_graphs import SWITCH, WARM_UPS, Graphed, forget_graphs, is_wanted
from DeepLargeDeformRegLib.engine.device import constant
from DeepLargeDeformRegLib.engine.models import load_model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MODEL = "hippocampus-mr-lapirn"


class Graph:
    """Operations that were recorded."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        for operation, arguments, options, results in self.operations:
            anew = operation(*arguments, **options)
            for result, value in zip(tree_leaves(results), tree_leaves(anew), strict=True):
                if isinstance(result, Tensor):
                    result.copy_(value)


class Capturing(TorchDispatchMode):
    """Records into a graph."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.graph.operations.append((func, args, kwargs or {}, result))
        return result


class Stream:
    """A stream that tells for which others it waited."""

    def __init__(self, cuda: Cuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_stream(self, other: Stream) -> None:
        self.cuda.events.append(f"{self.name} waits for {other.name}")


class Cuda:
    """What of ``torch.cuda`` is used."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.graphs: list[Graph] = []
        self.error: Exception | None = None
        self.usual = Stream(self, "usual")

    def new_stream(self, device: torch.device) -> Stream:
        return Stream(self, "side")

    def current_stream(self, device: torch.device) -> Stream:
        return self.usual

    def new_graph(self) -> Graph:
        self.graphs.append(Graph())
        return self.graphs[-1]

    @contextlib.contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        self.events.append(f"on {stream.name}")
        yield

    @contextlib.contextmanager
    def graph(self, graph: Graph, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        self.events.append(f"captured on {stream.name}")
        if self.error is not None:
            raise self.error
        with Capturing(graph):
            yield


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    stand_in = Cuda()
    monkeypatch.setattr(torch.cuda, "Stream", stand_in.new_stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", stand_in.new_graph)
    for name in ("current_stream", "device", "stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(stand_in, name))
    return stand_in


class Counted:
    """A function with a constant that knows how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        self.calls += 1
        changed = first * constant([1.0, 2.0, 3.0], first)
        changed += second
        return changed.square().sum(dim=0)


def pair(rows: int = 4) -> tuple[Tensor, Tensor]:
    return torch.rand(rows, 3), torch.rand(rows, 3)


def test_graphs_are_off_by_default_and_for_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    gpu, processor = torch.device("cuda", 0), torch.device("cpu")
    assert not is_wanted(gpu)
    for value, wanted in (("0", False), ("1", True)):
        monkeypatch.setenv(SWITCH, value)
        assert is_wanted(gpu) == wanted
        assert not is_wanted(processor)
    assert load_model(MODEL)._graphed is None


def test_the_second_call_of_a_size_is_recorded_and_later_ones_are_replayed(cuda: Cuda) -> None:
    function, reference = Counted(), Counted()
    graphed = Graphed(function)
    results, expected = [], []
    for number, calls in enumerate((1, 1 + WARM_UPS + 1, 1 + WARM_UPS + 1, 1 + WARM_UPS + 1)):
        arguments = pair()
        results.append(graphed(*arguments))
        expected.append(reference(*arguments))
        assert function.calls == calls, number
    # Compared at the end: no replay writes into what an earlier one returned.
    for found, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert [graph.replays for graph in cuda.graphs] == [2]


def test_it_warms_up_and_records_on_one_side_stream(cuda: Cuda) -> None:
    graphed = Graphed(Counted())
    for _ in range(2):
        graphed(*pair())
    assert cuda.events == ["side waits for usual", "on side", "usual waits for side", "captured on side"]


def test_constants_are_sent_before_and_not_while_a_graph_is_recorded(cuda: Cuda) -> None:
    alone = Graph()
    with Capturing(alone):
        Counted()(*pair())
    graphed = Graphed(Counted())
    for _ in range(2):
        graphed(*pair())
    made = "aten::lift_fresh"  # torch's first operation on numbers that come from Python
    assert made in {operation._schema.name for operation, *_ in alone.operations}
    assert made not in {operation._schema.name for operation, *_ in cuda.graphs[0].operations}
    assert cuda_graphs.kept_constants() is None


def test_another_size_is_another_graph_and_the_last_one_is_kept(cuda: Cuda) -> None:
    function, reference = Counted(), Counted()
    graphed = Graphed(function)
    for rows in (4, 4, 5, 5, 5, 4):
        arguments = pair(rows)
        torch.testing.assert_close(graphed(*arguments), reference(*arguments))
    assert [graph.replays for graph in cuda.graphs] == [0, 1]


def test_graphs_are_let_go_of_when_memory_runs_out(cuda: Cuda) -> None:
    graphed = Graphed(Counted())
    for _ in range(2):
        graphed(*pair())
    forget_graphs()
    assert graphed._recorded is None
    for _ in range(3):
        graphed(*pair())
    assert [graph.replays for graph in cuda.graphs] == [0, 1]


def test_where_recording_fails_it_runs_without_and_one_line_says_so(
    cuda: Cuda, caplog: pytest.LogCaptureFixture
) -> None:
    cuda.error = RuntimeError("CUDA error: operation not permitted when stream is capturing")
    reference = Counted()
    graphed = Graphed(Counted())
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            arguments = pair()
            torch.testing.assert_close(graphed(*arguments), reference(*arguments))
    assert len(caplog.records) == len(cuda.graphs) == 1


def test_memory_that_a_pass_itself_lacks_is_the_callers(cuda: Cuda) -> None:
    def function(values: Tensor) -> Tensor:
        if cuda.events:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return values

    graphed = Graphed(function)
    graphed(torch.zeros(1))
    with pytest.raises(torch.OutOfMemoryError):
        graphed(torch.zeros(1))


def test_fields_of_a_model_are_the_same(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = load_model(MODEL)
    monkeypatch.setattr(cuda_graphs, "is_wanted", lambda device: True)
    graphed = load_model(MODEL)
    grid = ImageGrid.axis_aligned((17, 16, 18), usual.card.spacing_mm)
    generator = torch.Generator().manual_seed(0)
    before = torch.zeros(())
    for _ in range(4):
        fixed, moving = torch.rand((2, 1, 1, *grid.shape), generator=generator)
        expected = usual.predict(fixed, moving, grid).displacement
        found = graphed.predict(fixed, moving, grid).displacement
        assert not found.is_inference()
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
        assert (found - before).abs().max() > 0.01  # a graph that did not read its arguments would be found out
        before = found
    assert [graph.replays for graph in cuda.graphs] == [2]
