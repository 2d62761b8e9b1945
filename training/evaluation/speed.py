"""``python -m training.evaluation speed``: seconds of each stage, peak memory, and how far from the machine's floor.

Each registration runs twice in a process of its own: once for its seconds and its memory, once with every tensor
operation counted. The floor is the time that this machine needs at least for the operations as they are written: the
larger of their floating-point operations (matrix products and convolutions) over the measured peak, and of the bytes
that they read and write over the measured bandwidth. What stays in a cache moves faster than that, and what scipy and
SimpleITK do is not counted. Two references run beside it: convexAdam on the same pair, and scipy's
``map_coordinates`` for the warp of the moving scan.
"""

from __future__ import annotations

import logging
import multiprocessing
import platform
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from DeepLargeDeformRegLib.core.display import STAGES
from DeepLargeDeformRegLib.core.errors import RegistrationError
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField, warp_volume
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationResult, register
from rich.console import Console
from rich.progress import track
from scipy import ndimage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from .benchmark import request_of, run
from .cases import DATA, GROUPS, Case, load_cases
from .peers import PEERS
from .tables import print_table, write_tables

Row = dict[str, Any]
_COPY_BYTES = 1 << 28  # far beyond any cache
_PRODUCT_SIZE = 1536
_REPEATS = 5
_TAPS = 8  # voxels that a trilinear sample reads


class OperationCounter(TorchDispatchMode):
    """Counts what tensor operations compute and move while it is active.

    Attributes:
        operations: floating-point operations of matrix products and convolutions.
        moved: bytes that operations read and write; views move none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.moved = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """One operation."""
        out = func(*args, **(kwargs or {}))
        counted = flop_registry.get(func._overloadpacket)
        if counted is not None:
            self.operations += counted(*args, **(kwargs or {}), out_val=out)
        if not _is_view(func):
            written, read = _bytes(out), _bytes((args, kwargs))
            # A sampled image is read at the points alone, however large it is.
            sampled = "grid_sampler" in func.name()
            self.moved += written + (min(read, _TAPS * written) if sampled else read)
        return out


def _is_view(func: Any) -> bool:
    return any(result.alias_info is not None and not result.alias_info.is_write for result in func._schema.returns)


def _bytes(values: Any) -> int:
    tensors = (leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _best_of(work: Callable[[], object]) -> float:
    """Seconds of the fastest of a few runs: what else runs on the machine only adds."""
    seconds = []
    for _ in range(_REPEATS):
        clock = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - clock)
    return min(seconds)


def bandwidth() -> float:
    """Bytes a second that a copy of a large tensor reads and writes."""
    source = torch.ones(_COPY_BYTES // 4)
    target = torch.empty_like(source)
    return 2 * _COPY_BYTES / _best_of(lambda: target.copy_(source))


def peak() -> float:
    """Floating-point operations a second of a large matrix product in float32."""
    matrix = torch.rand(_PRODUCT_SIZE, _PRODUCT_SIZE)
    return 2 * _PRODUCT_SIZE**3 / _best_of(lambda: matrix @ matrix)


def machine() -> str:
    """The processor, its threads, and what of its instructions torch uses."""
    name = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        lines = [line for line in listed.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    threads = torch.get_num_threads()
    return f"{name}, {threads} threads, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def main(
    cases: Annotated[str, typer.Option(help=f"Groups of pairs, of: {', '.join(GROUPS)}.")] = "lung,abdomen",
    most: Annotated[int, typer.Option(help="Most pairs of a group.", min=1)] = 1,
    data: Annotated[Path, typer.Option(help="Folder of the data.")] = DATA,
    peer: Annotated[bool, typer.Option(help="Run convexAdam beside it.")] = True,
    output: Annotated[Path | None, typer.Option(help="Folder for speed.csv and .md.")] = None,
) -> None:
    """Seconds of each stage, peak memory, the floor, and ratios against references in the same run."""
    logging.basicConfig(level=logging.WARNING)
    console = Console(stderr=True)
    try:
        chosen = load_cases(cases.split(","), data, most)
    except RegistrationError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(error.exit_code) from error
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        limits = pool.apply(bandwidth), pool.apply(peak)
        for case in track(chosen, "Registering", console=console):
            row = pool.apply(timed, (case,))
            operations, moved = pool.apply(counted, (case,))
            row["floor"] = max(moved / limits[0], operations / limits[1])
            if peer and PEERS["convexadam"].missing is None:
                row["convexadam"] = pool.apply(run, (case, "convexadam")).get("seconds")
            rows.append(row)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_tables(table(rows), output / "speed")
    title = f"{machine()}; {limits[0] / 1e9:.1f} GB/s, {limits[1] / 1e9:.0f} GFLOP/s"
    print_table(table(rows), Console(width=200), title)


def timed(case: Case) -> Row:
    """Seconds of each stage, of the warp against scipy's, and peak memory, of a registration in this process."""
    result = register(request_of(case))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = dict(result.metrics.seconds)
    ours, plain = warps(case, result)
    size = " x ".join(str(count) for count in case.fixed.grid.size)
    row = {"case": case.name, "preset": case.preset, "size": size, "seconds": seconds, "memory": memory}
    return row | {"warp": ours, "plain_warp": plain}


def warps(case: Case, result: RegistrationResult) -> tuple[float, float]:
    """Seconds of the warp of the moving scan, ours and scipy's."""
    field, moving = fields.resample(result.field, case.fixed.grid), case.moving
    ours = _best_of(lambda: warp_volume(moving, field, case.fixed.grid))
    indices = _moving_indices(field, case)
    plain = _best_of(lambda: ndimage.map_coordinates(moving.array, indices, order=1, mode="nearest"))
    return ours, plain


def _moving_indices(field: DisplacementField, case: Case) -> np.ndarray:
    """Voxel coordinates ``(3, D, H, W)``, order (z, y, x), of the mapped points."""
    positions = fields.points(field.grid, dtype=torch.float64)[0].numpy() + field.displacement[0].numpy()
    return np.moveaxis(case.moving.grid.to_index(np.moveaxis(positions, 0, -1)), -1, 0)[::-1]


def counted(case: Case) -> tuple[int, int]:
    """Floating-point operations and bytes of a registration."""
    with OperationCounter() as counter:
        register(request_of(case))
    return counter.operations, counter.moved


def table(rows: list[Row]) -> list[list[str]]:
    """The table, its heading first; ratios are ours over the reference's."""
    stages = [stage for stage in STAGES if any(stage in row["seconds"] for row in rows)]
    head = ["case", "preset", "voxels", *stages, "all (s)", "memory (MB)", "floor (s)", "all / floor"]
    lines = [[*head, "all / convexAdam", "warp / scipy"]]
    for row in rows:
        every = sum(row["seconds"].values())
        peer = row.get("convexadam")
        numbers = [f"{row['seconds'].get(stage, 0.0):.1f}" for stage in stages]
        ratios = [f"{every / row['floor']:.1f}", f"{every / peer:.2f}" if peer else "-"]
        cells = [f"{every:.1f}", f"{row['memory']:.0f}", f"{row['floor']:.1f}", *ratios]
        named = [row["case"], row["preset"], row["size"]]
        lines.append([*named, *numbers, *cells, f"{row['warp'] / row['plain_warp']:.2f}"])
    return lines
