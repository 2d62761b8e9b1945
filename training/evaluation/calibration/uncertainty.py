"""``python -m training.evaluation uncertainty``: does the map rank the true errors, and are its mm true?

Registers the pairs of the benchmark that have landmarks, as loaded and without guidance, and compares the expected
error at each landmark with the true one: Spearman's rank correlation within each pair, and the medians. Each pair is
registered to the end and, for maps that are wrong, without a search and with a few steps of refinement (``--early``):
a map that is as near the truth as the observers who set the landmarks has no errors left to rank, and a law that is
fitted to good maps alone says nothing of bad ones. The law of ``engine/registration/uncertainty.py`` is fitted anew
on all other pairs for each pair (leave one out), which tells how well it carries over, and on all pairs, which gives
the constants.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from DeepLargeDeformRegLib.core.errors import RegistrationError
from DeepLargeDeformRegLib.core.files.common import write_text
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.presets import find_preset
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine import fields, metrics
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationRequest, register
from DeepLargeDeformRegLib.engine.registration.uncertainty import (
    ERROR_SCALE_MM,
    MISMATCH_EXPONENT,
    SMALLEST_MISMATCH,
    SMALLEST_STRAIN,
    STRAIN_EXPONENT,
)
from rich.console import Console
from rich.progress import track
from scipy.stats import spearmanr
from torch import Tensor

from ..cases import DATA, Case, load_cases
from ..tables import print_table

SMALLEST_ERROR_MM = 0.3  # of a landmark: below, the observer's own error is all that is measured
COLUMNS = (
    "pair",
    "steps",
    "landmarks",
    "rank correlation",
    "p",
    "median expected",
    "median true",
    "left out: rank",
)
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Errors:
    """True errors (mm) of the landmarks of one pair, and what there is known of them.

    Args:
        name: of the pair.
        early: refinement steps after which the registration was stopped, 0 if it was not.
        true: errors (n,), mm.
        mismatch: as in :class:`.engine.registration.uncertainty.Evidence`, likewise.
        strain: likewise.
        spread: likewise; 0 where there is one solution.
    """

    name: str
    early: int
    true: Array
    mismatch: Array
    strain: Array
    spread: Array

    @property
    def expected(self) -> Array:
        """Expected errors (n,), mm, by the law that ships."""
        return expected_by((ERROR_SCALE_MM, MISMATCH_EXPONENT, STRAIN_EXPONENT), self)


def main(
    cases: Annotated[str, typer.Option(help="Groups of pairs with landmarks.")] = "lung,liver-mr",
    symmetric: Annotated[bool, typer.Option("--symmetric", help="Register in both directions.")] = False,
    early: Annotated[
        list[int], typer.Option(help="Steps of each level after which refinement is stopped; 0 lets it end.")
    ] = [0, 6, 15],  # noqa: B006  (typer wants a list, and does not change it)
    data: Annotated[Path, typer.Option(help="Folder of the data.")] = DATA,
    kept: Annotated[
        Path | None, typer.Option(help="Folder where what was measured is kept; what is there is not measured again.")
    ] = None,
) -> None:
    """Compare expected with true errors at landmarks, and fit the law anew."""
    console = Console(width=140)
    try:
        chosen = [case for case in load_cases(cases.split(","), data) if not case.guides]
        runs = [(case, steps) for steps in early for case in chosen]
        progress = track(runs, "Registering", console=Console(stderr=True))
        found = [_kept_or_measured(case, symmetric, steps, kept) for case, steps in progress]
    except RegistrationError as error:
        console.print(f"[red]{error}")
        raise typer.Exit(error.exit_code) from error
    table: list[tuple[str, ...]] = [COLUMNS]
    for one in found:
        rank, p = spearmanr(one.expected, one.true)
        others = [other for other in found if other.name != one.name]
        left_out = f"{spearmanr(expected_by(fit(others), one), one.true)[0]:.2f}" if others else ""
        medians = (f"{np.median(values):.2f}" for values in (one.expected, one.true))
        table.append(
            (one.name, str(one.early or "all"), str(len(one.true)), f"{rank:.2f}", f"{p:.3f}", *medians, left_out)
        )
    print_table(table, console)
    for steps in early:
        same = [one for one in found if one.early == steps]
        together = [np.concatenate([getattr(one, name) for one in same]) for name in ("expected", "true")]
        rank, p = spearmanr(*together)
        number = f"{len(together[0])} landmarks, {steps or 'all'} steps"
        console.print(f"{number}: rank correlation {rank:.2f}, p {p:.1e}")
    scale, mismatch, strain = fit(found)
    console.print(f"Fit on all: {scale:.1f} mm * mismatch^{mismatch:.2f} * strain^{strain:.2f}")


def _kept_or_measured(case: Case, symmetric: bool, early: int, folder: Path | None) -> Errors:
    if folder is None:
        return errors_of(case, symmetric, early)
    name = re.sub("[^a-z0-9]+", "-", case.name.lower()) + ("-symmetric" if symmetric else "")
    file = folder / f"{name}-{early}.json"
    if file.exists():
        entries = json.loads(file.read_text(encoding="utf-8"))
        return Errors(name=case.name, early=early, **{key: np.array(values) for key, values in entries.items()})
    found = errors_of(case, symmetric, early)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {key: values.tolist() for key, values in vars(found).items() if isinstance(values, np.ndarray)}
    write_text(json.dumps(arrays, indent=2) + "\n", file)
    return found


def errors_of(case: Case, symmetric: bool = False, early: int = 0) -> Errors:
    """Register a case, to the end or to ``early`` steps of refinement, and read all maps at its landmarks."""
    assert case.landmarks is not None
    settings = RegistrationSettings(
        preset=case.preset, uncertainty=True, symmetric=symmetric, iterations=early or None
    )
    preset = find_preset(case.preset)
    if early:
        preset = replace(preset, search=())
    result = register(RegistrationRequest(pair=case.pair(known=False), settings=settings, preset=preset))
    evidence, points = result.evidence, case.landmarks.fixed
    assert evidence is not None
    return Errors(
        name=case.name,
        early=early,
        true=metrics.landmark_errors(result.field, case.landmarks).astype(np.float64),
        mismatch=_at(evidence.mismatch, evidence.grid, points),
        strain=_at(evidence.strain, evidence.grid, points),
        spread=np.zeros(len(points)) if evidence.spread is None else _at(evidence.spread, evidence.grid, points),
    )


def fit(found: list[Errors]) -> tuple[float, float, float]:
    """Scale (mm) and exponents of mismatch and strain: least squares of the logarithms."""
    logs = np.concatenate([_logs(one) for one in found])
    target = np.log(np.concatenate([one.true for one in found]).clip(min=SMALLEST_ERROR_MM))
    offset, mismatch, strain = np.linalg.lstsq(logs, target, rcond=None)[0]
    return float(np.exp(offset)), float(mismatch), float(strain)


def expected_by(law: tuple[float, float, float], one: Errors) -> Array:
    """Expected errors (mm) of a pair's landmarks by a fit."""
    single = law[0] * np.exp(_logs(one)[:, 1:] @ np.array(law[1:]))
    return np.asarray(np.hypot(single, one.spread), dtype=np.float64)


def _logs(one: Errors) -> Array:
    mismatch = np.log(one.mismatch.clip(min=SMALLEST_MISMATCH))
    strain = np.log(one.strain.clip(min=SMALLEST_STRAIN))
    return np.stack((np.ones_like(mismatch), mismatch, strain), axis=1)


def _at(values: Tensor, grid: ImageGrid, points: npt.NDArray) -> Array:
    index = torch.as_tensor(grid.to_index(points), dtype=torch.float32).T.reshape(1, 3, 1, 1, -1)
    return fields.sample(values, index, padding="border")[0, 0, 0, 0].numpy().astype(np.float64)
