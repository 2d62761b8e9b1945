"""The command ``python -m training.synthesis.preview``: synthetic pairs as a picture, with real scans beside.

Look at them before training on them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from DeepLargeDeformRegLib.core.errors import BadInputError, RegistrationError
from DeepLargeDeformRegLib.core.files import check_output, read_volume, written_whole
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import as_tensor
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from torch import Tensor

from ..config import find_config, load_config
from ..data import read_names
from ..pairs.sources import Synthetic, resolve
from .pairs import SynthesisSettings, SyntheticPair, SyntheticPairs, open_pairs, structures_of, unions_of

WINDOWS = {"abdomen": (-160.0, 240.0), "thorax": (-1000.0, 400.0)}
SIZES_MM = {"abdomen": (384.0, 288.0, 288.0), "thorax": (390.0, 300.0, 360.0)}
COLUMNS = ("fixed", "fixed", "fixed", "moving", "moving", "moving along true map", "structures")
_console = Console(highlight=False)


def draw_pair(pair: SyntheticPair, anatomy: str, axes: npt.NDArray) -> None:
    """One pair in a row: three planes of the fixed scan, two of the moving one, the moving one along the true map."""
    low, high = WINDOWS[anatomy]
    middle = _middle(pair.fixed.mask[0])
    images = [pair.fixed.image[0]] * 3 + [pair.moving.image[0]] * 2
    planes = [0, 1, 2, 0, 1]
    if pair.field is not None:
        images.append(fields.warp(pair.moving.image[None], pair.grid, pair.field, fill=-1000.0)[0, 0])
        planes.append(1)
    for axis, image, plane in zip(axes, images, planes, strict=False):
        axis.imshow(_slice(image, plane, middle), cmap="gray", vmin=low, vmax=high)
    values = torch.arange(1, 1 + pair.fixed.labels.shape[0], device=pair.fixed.labels.device)
    structures = (pair.fixed.labels * values[:, None, None, None]).amax(dim=0)
    axes[6].imshow(_slice(structures, 1, middle), cmap="nipy_spectral", vmin=0, vmax=len(values) + 1)


def draw_real(path: Path, grid: ImageGrid, anatomy: str, axes: npt.NDArray) -> None:
    """Three planes of a real scan in the same window, resampled to the same spacing."""
    volume = read_volume(path)
    size = [max(8, round(extent / s)) for extent, s in zip(volume.grid.extent, grid.spacing, strict=True)]
    corner = volume.grid.corners.min(axis=0)
    target = ImageGrid.axis_aligned(size, grid.spacing, corner.tolist())
    image = fields.warp(as_tensor(volume), volume.grid, fields.identity(target), fill=-1000.0)[0, 0]
    middle = (target.shape[0] // 2, target.shape[1] // 2, target.shape[2] // 2)
    for axis, plane in zip(axes, range(3), strict=False):
        axis.imshow(_slice(image, plane, middle), cmap="gray", vmin=WINDOWS[anatomy][0], vmax=WINDOWS[anatomy][1])


def figure_of(pairs: list[SyntheticPair], anatomy: str, real: list[Path]) -> Figure:
    """All pairs, a row each, then the real scans."""
    rows = len(pairs) + len(real)
    figure = Figure(figsize=(3 * len(COLUMNS), 2.6 * rows), facecolor="black")
    axes = figure.subplots(rows, len(COLUMNS), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, pair in zip(axes, pairs, strict=False):
        draw_pair(pair, anatomy, row)
        _title(row[0], "one patient" if pair.same_patient else "two patients")
    for axis, name in zip(axes[0][1:], COLUMNS[1:], strict=True):
        _title(axis, name)
    for row, path in zip(axes[len(pairs) :], real, strict=True):
        draw_real(path, pairs[0].grid, anatomy, row)
        _title(row[0], "real")
    figure.tight_layout(pad=0.3)
    return figure


def main(
    anatomy: Annotated[str, typer.Argument(help="abdomen or thorax.")],
    output: Annotated[Path, typer.Option(help="Picture to write (.png).")],
    shapes: Annotated[
        Path | None, typer.Argument(help="Folder of the shapes: livers with segments, or lung masks.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration whose pairs to draw, instead of shapes.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of pairs.")] = 4,
    seed: Annotated[int, typer.Option(help="Number of the first pair.")] = 0,
    spacing: Annotated[float, typer.Option(help="Voxel spacing, mm.")] = 3.0,
    name: Annotated[list[str] | None, typer.Option(help="Shape to use, may be given again; all by default.")] = None,
    real: Annotated[list[Path] | None, typer.Option(help="Real scan to compare with; may be given again.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Draw synthetic pairs as a picture."""
    try:
        check_output(output, (".png",))
        if config is not None:
            source = _of_config(config, name or (), device)
        elif shapes is not None:
            settings = SynthesisSettings(anatomy=anatomy)
            grid = ImageGrid.axis_aligned([round(mm / spacing / 8) * 8 for mm in SIZES_MM[anatomy]], [spacing] * 3)
            values = [value for value in structures_of(anatomy).values() if value not in unions_of(anatomy)]
            source = open_pairs(settings, shapes, grid, values, name or (), device)
        else:
            raise BadInputError("Name the folder of the shapes, or a configuration with --config.")
        start = time.perf_counter()
        pairs = [source.pair(seed + number) for number in range(count)]
        seconds = time.perf_counter() - start
        figure = figure_of(pairs, anatomy, real or [])
        with written_whole(output) as temporary:
            figure.savefig(temporary, dpi=70)
        _console.print(f"{count} pairs of the {anatomy} in {seconds:.1f} s -> {output.name}")
    except RegistrationError as error:
        _console.print(f"[red]{error.message}[/red]")
        raise typer.Exit(error.exit_code) from error


def _of_config(path: Path, names: Sequence[str], device: str) -> SyntheticPairs:
    """The pairs that a training sees."""
    config = load_config(find_config(path))
    if config.data.kind != "synthetic":
        raise BadInputError(f"The pairs of {config.name} are not synthetic.")
    return Synthetic(config, list(names) or read_names(resolve(config.data.train)), device).pairs


def _middle(mask: Tensor) -> tuple[int, int, int]:
    """Middle of an organ's box, indices (z, y, x)."""
    where = torch.nonzero(mask > 0.5)
    if len(where) == 0:
        return (mask.shape[0] // 2, mask.shape[1] // 2, mask.shape[2] // 2)
    z, y, x = ((where.amin(dim=0) + where.amax(dim=0)) // 2).tolist()
    return z, y, x


def _slice(image: Tensor, plane: int, middle: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """An axial (0), coronal (1) or sagittal (2) slice as radiologists see it: head up, right side at the left."""
    cut = image.select(plane, middle[plane]).cpu().numpy()
    return cut if plane == 0 else cut[::-1]


def _title(axis: Axes, text: str) -> None:
    axis.set_title(text, color="white", fontsize=9)


if __name__ == "__main__":
    typer.run(main)
