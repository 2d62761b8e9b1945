"""The command ``python -m training.keypoints``: correspondences of two scans of one patient as a table."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from DeepLargeDeformRegLib.core.errors import RegistrationError
from DeepLargeDeformRegLib.core.files import (
    check_output,
    read_label_map,
    read_landmark_pairs,
    read_volume,
    write_landmark_pairs,
)
from DeepLargeDeformRegLib.core.images import LabelMap
from rich.console import Console

from . import KeypointSettings, match, residual

_console = Console(highlight=False)
_DEFAULTS = KeypointSettings()


def main(
    fixed: Annotated[Path, typer.Argument(help="Fixed scan.")],
    moving: Annotated[Path, typer.Argument(help="Moving scan of the same patient.")],
    output: Annotated[Path, typer.Option(help="Table of the correspondences (.csv, LPS mm).")],
    masks: Annotated[tuple[Path, Path] | None, typer.Option(help="Masks of both scans, such as the lungs.")] = None,
    landmarks: Annotated[
        Path | None, typer.Option(help="Table of landmark pairs to measure the residual on.")
    ] = None,
    count: Annotated[int, typer.Option(help="Most keypoints.")] = _DEFAULTS.count,
    spacing: Annotated[float, typer.Option(help="Spacing of the search, mm.")] = _DEFAULTS.spacing_mm,
    reach: Annotated[
        float, typer.Option(help="Farthest displacement besides the linear one, mm.")
    ] = _DEFAULTS.reach_mm,
    weight: Annotated[float, typer.Option(help="Weight of neighbors' moving alike.")] = _DEFAULTS.weight,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Find corresponding keypoints in two scans of one patient."""
    try:
        check_output(output, (".csv",))
        scans = read_volume(fixed), read_volume(moving)
        regions: list[LabelMap | None] = [None, None]
        if masks is not None:
            regions = [read_label_map(m, s.grid, what="mask") for m, s in zip(masks, scans, strict=True)]
        settings = replace(_DEFAULTS, count=count, spacing_mm=spacing, reach_mm=reach, weight=weight)
        start = time.perf_counter()
        found = match(scans[0], scans[1], regions[0], regions[1], settings, device)
        seconds = time.perf_counter() - start
        write_landmark_pairs(found, output)
        _console.print(f"{len(found)} correspondences in {seconds:.1f} s -> {output.name}")
        if landmarks is not None:
            truth = read_landmark_pairs(landmarks)
            before = ((truth.fixed - truth.moving) ** 2).sum(axis=1) ** 0.5
            after = residual(found, truth)
            _console.print(
                f"landmarks ({len(truth)}): mean {before.mean():.2f} mm as loaded, {after.mean():.2f} mm after "
                f"interpolating the correspondences (median {np.median(after):.2f}, max {after.max():.2f})",
                soft_wrap=True,
            )
    except RegistrationError as error:
        _console.print(f"[red]{error.message}[/red]")
        raise typer.Exit(error.exit_code) from error


if __name__ == "__main__":
    typer.run(main)
