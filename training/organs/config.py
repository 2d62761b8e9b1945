"""Configuration of a training run of the organ network; ``training/configs/organs/*.yaml`` are its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.engine.models import Channel

from ..schema import build, load_yaml
from .patients import PatientSource, head_source, liver_sources, organ_map_source, scan_source
from .structures import CLASS

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "organs"


@dataclass(frozen=True, kw_only=True)
class ScanEntry:
    """A real CT.

    Args:
        folder: with ``image.nii.gz``, and ``labels.nii.gz`` and ``meta.json`` where structures are known.
        known: organs that its label map has everywhere.
        lungs: find its lungs by thresholds.
        weight: how often it is drawn, against other scans.
    """

    folder: str
    known: tuple[str, ...] = ()
    lungs: bool = False
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class PhaseEntry:
    """A phase of the training.

    Args:
        name: also of its file of weights.
        steps: optimizer steps.
        learning_rate: of AdamW, after a warm-up; falls to zero.
        groups: share of the samples of ``scans``, ``organ maps``, ``livers`` and ``others``.
        only: scans to draw from, by the name of their folders; all by default.
    """

    name: str
    steps: int
    learning_rate: float
    groups: Mapping[str, float]
    only: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OrganConfig:
    """A run.

    Args:
        name: of the model.
        title: one line for people.
        purpose: what the model is for, and what not.
        license: of the weights.
        citation: what to cite.
        training_data: one line per data set.
        size: of a sample, voxels along (x, y, z).
        spacing_mm: of its voxels; probabilities have twice that.
        channels: of the network's input.
        filters: of the network.
        scans: real CT.
        organ_maps: folders of label maps with several organs.
        liver_folder: of label maps of livers alone.
        livers: file of their names, one a line.
        heads: folder of label maps of brains, which show none of the organs.
        phases: in order.
        batch: samples per step.
        average: share of the old moving average that a step keeps.
        seed: of all that is drawn.
    """

    name: str
    title: str
    purpose: str
    license: str
    citation: str
    training_data: tuple[str, ...]
    size: tuple[int, int, int]
    spacing_mm: float
    channels: tuple[Channel, ...]
    filters: tuple[int, ...]
    scans: tuple[ScanEntry, ...]
    organ_maps: tuple[str, ...]
    liver_folder: str
    livers: str
    heads: str
    phases: tuple[PhaseEntry, ...]
    batch: int = 1
    average: float = 0.99
    seed: int = field(default=0)


def load_config(name: str) -> OrganConfig:
    """A configuration of ``training/configs/organs`` by name, or of a YAML file.

    Raises:
        BadInputError: if there is none, or it holds what is no setting.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else CONFIGS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in CONFIGS.glob("*.yaml")))
        raise BadInputError(f"There is no organ configuration {name}; there are {known}.")
    return build(OrganConfig, load_yaml(path))


def patient_sources(config: OrganConfig, root: Path, left_out: str = "") -> list[PatientSource]:
    """All patients of a configuration, but for one scan that is kept for measuring.

    Args:
        config: the run.
        root: where relative folders begin.
        left_out: name of the folder of a scan.

    Raises:
        BadInputError: if a folder is missing or no scan has that name.
    """
    names = [Path(entry.folder).name for entry in config.scans]
    if left_out and left_out not in names:
        raise BadInputError(f"There is no scan {left_out} to leave out; there are {', '.join(names)}.")
    for folder in (*(entry.folder for entry in config.scans), *config.organ_maps, config.liver_folder, config.heads):
        if not (root / folder).is_dir():
            raise BadInputError(
                f"The folder {folder} of the configuration is not there; see training/data/README.md."
            )
    sources = [
        scan_source(root / entry.folder, config.spacing_mm, [CLASS[organ] for organ in entry.known], entry.lungs)
        for entry, name in zip(config.scans, names, strict=True)
        if name != left_out
    ]
    sources += [organ_map_source(root / folder, config.spacing_mm) for folder in config.organ_maps]
    livers = (root / config.livers).read_text(encoding="utf-8").split()
    sources += liver_sources(root / config.liver_folder, livers, config.spacing_mm)
    heads = sorted((root / config.heads).glob("*/labels.nii.gz"))
    return sources + [head_source(path, config.spacing_mm) for path in heads]
