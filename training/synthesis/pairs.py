"""Synthetic pairs for training, drawn by number: of two patients, or of one patient with the true deformation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.device import constant
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from torch import Tensor

from . import abdomen, thorax
from .breathing import BreathingModel
from .breaths import Breath, BreathingSettings, velocity_on
from .draw import Draw, ends, random_voxels
from .lung_maps import LungShape, MapKind, read_lungs
from .motion import (
    Motion,
    MotionSettings,
    Placement,
    add,
    breathing_velocity,
    random_affine,
    random_velocity,
    sliding_velocity,
    true_field,
)
from .scanner import AIR, OneLung, ScannerSettings, labels_of, scan
from .shapes import Breathing, RealScan, Shape, breathing_motions, liver_shapes, lung_shapes
from .tissues import PHASES, attenuation
from .torso import Patient, ScannedPatient

AnyPatient = Patient | ScannedPatient
ANATOMIES = ("abdomen", "thorax")
MAIN_ORGAN = {"abdomen": abdomen.STRUCTURES["liver"], "thorax": thorax.STRUCTURES["lungs"]}


@dataclass(frozen=True, kw_only=True)
class SynthesisSettings:
    """What pairs are drawn.

    Args:
        anatomy: ``abdomen`` (from livers with Couinaud segments) or ``thorax`` (from pairs of lungs).
        same_patient: share of pairs of one patient; the others are of two.
        same_phase: share of one-patient pairs whose contrast differs little.
        mirrored: share of patients that are mirrored, with the labels of left and right exchanged.
        real_breathing: share of breathing motions that follow real landmarks, where there are any.
        sliding: share of one-patient pairs in which organs slide along the wall besides breathing.
        one_lung: share of one-patient pairs of the thorax whose scans are cropped to one lung, in the middle.
        reach_mm: how far beyond the grid a patient is painted, so that shifts bring in anatomy and not air.
        patients: how many different patients are painted.
        kept: how many of them are kept in memory, 20 to 40 bytes a voxel each. Painting takes half of the time: where
            it is slow (on a CPU), have a few dozen patients and keep them all.
        real_scans: real scans for pairs with themselves, besides the painted ones.
        real: share of one-patient pairs that are of real scans, if there are any.
        points: corresponding points for one-patient pairs, drawn within the structures.
        motion: of each scan to its reference, at its strongest.
        strength: which part of it pairs take, from and to; easy pairs are as needed as hard ones.
        scanner: of each scan.
        breathing: model of breathing to be fitted to real correspondences; for the thorax, see :func:`open_pairs`.
        lung_maps: what the values of the label maps of lungs are, by the first folder of their names.
        distinct: how many different pairs the network sees, each kept as it sees it; 0 for no two the same.
    """

    anatomy: str
    same_patient: float = 0.4
    same_phase: float = 0.6
    mirrored: float = 0.0
    real_breathing: float = 0.7
    sliding: float = 0.3
    one_lung: float = 0.15
    reach_mm: float = 18.0
    patients: int = 2000
    kept: int = 8
    real_scans: tuple[RealScan, ...] = ()
    real: float = 0.25
    points: int = 512
    motion: MotionSettings = field(default_factory=MotionSettings)
    strength: tuple[float, float] = (0.25, 1.0)
    scanner: ScannerSettings = field(default_factory=ScannerSettings)
    breathing: BreathingSettings | None = None
    lung_maps: Mapping[str, MapKind] = field(default_factory=dict)
    distinct: int = 0

    def __post_init__(self) -> None:
        if self.anatomy not in ANATOMIES:
            raise BadInputError(f"Pairs can be drawn of the {' or the '.join(ANATOMIES)}, not of {self.anatomy!r}.")


@dataclass(frozen=True, eq=False)
class SyntheticScan:
    """A scan on the training grid.

    Args:
        image: ``(1, D, H, W)`` HU.
        labels: share of each structure in each voxel, ``(K, D, H, W)``; also of what the field of view cuts off.
        mask: likewise of the organ that it is about, liver or lungs, ``(1, D, H, W)``.
    """

    image: Tensor
    labels: Tensor
    mask: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class SyntheticPair:
    """A pair on the training grid.

    Args:
        grid: of both scans.
        fixed: the fixed scan.
        moving: the moving one.
        field: the true map from fixed to moving of a one-patient pair, otherwise None.
        fixed_points: LPS mm ``(n, 3)`` within the organ, of a one-patient pair.
        moving_points: where the true map takes them.
    """

    grid: ImageGrid
    fixed: SyntheticScan
    moving: SyntheticScan
    field: DisplacementField | None = None
    fixed_points: Tensor | None = None
    moving_points: Tensor | None = None

    @property
    def same_patient(self) -> bool:
        """True if both scans are of one patient."""
        return self.field is not None


class SyntheticPairs:
    """Draws pairs from shapes of real organs.

    Args:
        shapes: of the anatomy.
        settings: what is drawn.
        grid: of the scans, axis-aligned LPS.
        values: structures of the anatomy whose labels are wanted, in this order.
        breathing: real breathing motions, for the thorax.
        model: of breathing, which both scans of a pair share; instead of these, likewise.
        device: where pairs are made and stay.
        root: where the paths of real scans begin.
    """

    def __init__(
        self,
        shapes: Sequence[Shape | LungShape],
        settings: SynthesisSettings,
        grid: ImageGrid,
        values: Sequence[int],
        breathing: Sequence[Breathing] = (),
        device: torch.device | str = "cpu",
        root: Path = Path(),
        model: BreathingModel | None = None,
    ) -> None:
        structures = structures_of(settings.anatomy)
        unknown = [value for value in values if value not in structures.values()]
        if unknown:
            known = ", ".join(f"{value} {name}" for name, value in structures.items())
            raise BadInputError(f"The synthetic {settings.anatomy} has no structure {unknown[0]}; it has {known}.")
        if not shapes or (min(len(shapes), settings.patients) < 2 and settings.same_patient < 1):
            raise BadInputError("Pairs of two patients need the shapes of two patients at least.")
        self.shapes, self.settings, self.values = list(shapes), settings, tuple(values)
        self.breathing, self.model = list(breathing), model
        self.device = torch.device(device)
        self.grid = ImageGrid.axis_aligned(grid.size, grid.spacing, _origin(grid))
        self._kept: dict[int, Patient] = {}
        reach = [round(settings.reach_mm / spacing) for spacing in grid.spacing]
        self.reference = self.grid.padded(reach, reach)
        # Motions are smooth; on half the lattice they cost an eighth.
        self._real = [one.on(self.reference, root, self.device) for one in settings.real_scans]
        if self.model is not None:
            self._real = [thorax.scanned_thorax(one) for one in self._real]
        self.coarse = self.reference.with_spacing([2 * spacing for spacing in grid.spacing])

    def draw(self, generator: torch.Generator) -> SyntheticPair:
        """The pair that the generator's next number leads to; nothing else is taken from it."""
        return self.pair(int(torch.randint(2**62, (), generator=generator)))

    @torch.no_grad()
    def pair(self, seed: int) -> SyntheticPair:
        """The pair of a seed; the same each time on the same kind of device."""
        draw = Draw(seed, self.device)
        return self._one_patient(draw) if draw.chance(self.settings.same_patient) else self._two_patients(draw)

    def _one_patient(self, draw: Draw) -> SyntheticPair:
        settings = self.settings
        is_real = bool(self._real) and draw.chance(settings.real)
        patient = draw.choice(self._real) if is_real else self.patient(draw.integer(settings.patients))
        # Each scan takes half of the deformation between them, so that neither is sharper than the other.
        gentle = settings.motion.scaled(draw.uniform(*settings.strength), of_waves=0.7)
        lung = self._one_lung(draw, patient)
        breath = None
        if self.model is not None and settings.breathing is not None:
            breath = Breath.drawn(self.model, draw, settings.breathing)
        states = (None, None) if breath is None else breath.halves()
        motions = [self._motion(draw.split(), patient, gentle, True, lung, state) for state in states]
        tables = [attenuation(draw, draw.choice(PHASES)) for _ in range(2)]
        if draw.chance(settings.same_phase):
            tables[1] = torch.lerp(tables[0], tables[1], draw.uniform(0, 0.3))
        placed = [motion.on(self.grid) for motion in motions]
        if breath is not None:
            placed = [place.denser(factor) for place, factor in zip(placed, breath.density(), strict=True)]
        fixed, moving = (self._scan(draw.split(), patient, *each, lung) for each in zip(placed, tables, strict=True))
        truth = true_field(placed[0], motions[1])
        points = self._points(draw, fixed.mask)
        return SyntheticPair(
            grid=self.grid,
            fixed=fixed,
            moving=moving,
            field=truth,
            fixed_points=points,
            moving_points=fields.transform_points(truth, points),
        )

    def _two_patients(self, draw: Draw) -> SyntheticPair:
        first = draw.integer(self.settings.patients)
        # Two numbers that differ by no multiple of the number of shapes are patients with different shapes.
        distinct = min(len(self.shapes), self.settings.patients)
        second = first + 1 + draw.integer(distinct - 1)
        if second >= self.settings.patients:
            second -= distinct
        strength = self.settings.motion.scaled(draw.uniform(*self.settings.strength))
        scans = []
        for index in (first, second):
            patient = self.patient(index)
            motion = self._motion(draw.split(), patient, strength, breathes=draw.chance(0.5))
            scans.append(
                self._scan(draw.split(), patient, motion.on(self.grid), attenuation(draw, draw.choice(PHASES)))
            )
        return SyntheticPair(grid=self.grid, fixed=scans[0], moving=scans[1])

    def patient(self, index: int) -> Patient:
        """The painted patient of a number; its shape is that number modulo the number of shapes."""
        found = self._kept.pop(index, None)
        if found is None:
            found = self._paint(Draw(index, self.device), self.shapes[index % len(self.shapes)])
        self._kept[index] = found  # the last one used is the last one in the dictionary
        if len(self._kept) > self.settings.kept:
            del self._kept[next(iter(self._kept))]
        return found

    def _paint(self, draw: Draw, shape: Shape | LungShape) -> Patient:
        mirrored = draw.chance(self.settings.mirrored)
        if isinstance(shape, LungShape):
            both = shape.lungs.on(self.reference, self.device, (thorax.RIGHT_LUNG, thorax.LEFT_LUNG))
            return thorax.paint_thorax(draw, both, self.reference, shape.parts_on(self.reference, self.device))
        if self.settings.anatomy == "thorax":
            if mirrored:
                shape = shape.mirrored({thorax.LEFT_LUNG: thorax.RIGHT_LUNG})
            lungs = shape.on(self.reference, self.device, (thorax.RIGHT_LUNG, thorax.LEFT_LUNG))
            return thorax.paint_thorax(draw, lungs, self.reference)
        segments = shape.on(self.reference, self.device, abdomen.SEGMENTS)
        patient = abdomen.paint_abdomen(draw, segments, self.reference)
        return mirror(patient, abdomen.EXCHANGED) if mirrored else patient

    def _one_lung(self, draw: Draw, patient: AnyPatient) -> OneLung | None:
        if self.settings.anatomy != "thorax" or not draw.chance(self.settings.one_lung):
            return None
        value = thorax.STRUCTURES[draw.choice(("left lung", "right lung"))]
        own = torch.isin(patient.labels, constant(thorax.UNIONS[value], patient.labels))
        middle = [(first + last) / 2 for first, last in ends(own)]
        return OneLung(value, self.reference.to_physical(middle), draw.uniform(5, 30))

    def _motion(
        self,
        draw: Draw,
        patient: AnyPatient,
        settings: MotionSettings,
        breathes: bool,
        lung: OneLung | None = None,
        mixture: npt.NDArray[np.float64] | None = None,
    ) -> Motion:
        velocity = random_velocity(draw, self.coarse, settings.waves)
        if breathes:
            identity = fields.identity(self.coarse, device=self.device)
            moves = fields.warp(patient.breathing[None, None].float(), self.reference, identity)[0, 0] > 0.5
            if mixture is None:
                velocity = add(velocity, self._breathing(draw, moves, settings.breathing_mm / 2))
            else:
                sides = thorax.sides_of(patient.labels)[None, None].float()
                lungs = fields.warp(sides, self.reference, identity, mode="nearest")[0, 0]
                velocity = add(velocity, velocity_on(mixture, lungs, moves, self.coarse))
            if draw.chance(self.settings.sliding):
                velocity = add(velocity, sliding_velocity(draw, moves, self.coarse, draw.uniform(0, 10)))
        matrix = random_affine(draw, self.coarse, settings)
        if lung is not None:
            matrix[:3, 3] += lung.center
        return Motion.of(velocity, matrix)

    def _breathing(self, draw: Draw, moves: Tensor, amplitude_mm: float) -> DisplacementField:
        if self.breathing and draw.chance(self.settings.real_breathing):
            return draw.choice(self.breathing).velocity(moves, self.coarse, draw.uniform(-0.8, 0.8))
        return breathing_velocity(draw, moves, self.coarse, amplitude_mm)

    def _scan(
        self, draw: Draw, patient: AnyPatient, place: Placement, table: Tensor, lung: OneLung | None = None
    ) -> SyntheticScan:
        unions = unions_of(self.settings.anatomy)
        image = scan(patient, place, table, draw, self.settings.scanner)
        organ = MAIN_ORGAN[self.settings.anatomy]
        shares = labels_of(patient, place, (*self.values, organ), unions)
        if lung is not None:
            own = labels_of(patient, place, (lung.value,), unions)
            visible = lung.shown(own[0], self.grid)
            image, shares = torch.where(visible, image, AIR), torch.minimum(shares * visible, own)
        return SyntheticScan(image, shares[:-1], shares[-1:])

    def _points(self, draw: Draw, mask: Tensor) -> Tensor:
        """Random voxels of the organ, moved within their voxels; always the same number. LPS mm."""
        voxel = random_voxels(draw, mask[0] > 0.5, self.settings.points)
        jitter = torch.rand((self.settings.points, 3), generator=draw.fields, device=self.device) - 0.5
        spacing, origin = (constant(v, jitter) for v in (self.grid.spacing, self.grid.origin))
        return (voxel + jitter) * spacing + origin


def mirror(patient: Patient, exchange: Mapping[int, int]) -> Patient:
    """A patient's mirror image from left to right, with the labels of the two sides exchanged."""
    labels = patient.labels.flip(2)
    swapped = labels.clone()
    for one, other in exchange.items():
        swapped[labels == one] = other
        swapped[labels == other] = one
    return replace(
        patient,
        tissues=patient.tissues.flip(2),
        labels=swapped,
        texture=patient.texture.flip(2),
        overlays=tuple(replace(overlay, share=overlay.share.flip(2)) for overlay in patient.overlays),
        breathing=patient.breathing.flip(2),
    )


def structures_of(anatomy: str) -> Mapping[str, int]:
    """Names and values of the structures of an anatomy."""
    return abdomen.STRUCTURES if anatomy == "abdomen" else thorax.STRUCTURES


def unions_of(anatomy: str) -> Mapping[int, Sequence[int]]:
    """Structures of an anatomy that consist of others."""
    return abdomen.UNIONS if anatomy == "abdomen" else thorax.UNIONS


def open_pairs(
    settings: SynthesisSettings,
    folder: Path,
    grid: ImageGrid,
    values: Sequence[int],
    names: Sequence[str] = (),
    device: torch.device | str = "cpu",
    root: Path = Path(),
) -> SyntheticPairs:
    """Pairs from a folder of shapes: livers with segments, or lung masks and landmarks as in DIR-Lab COPDgene's.

    With a model of breathing, the names are those of label maps of lungs (:func:`.lung_maps.read_lungs`), and the
    model is of the subjects among them that have correspondences.

    Args:
        settings: what is drawn.
        folder: of the shapes.
        grid: of the scans.
        values: structures whose labels are wanted.
        names: shapes to use, and cases to breathe like; all that fit by default.
        device: where pairs are made.
        root: where the paths of real scans begin.

    Raises:
        BadInputError: if there are no such shapes.
    """
    if settings.anatomy == "abdomen":
        return SyntheticPairs(liver_shapes(folder, names), settings, grid, values, (), device, root)
    if settings.breathing is not None:
        model = settings.breathing.model(root, names)
        lungs = read_lungs(folder, names, settings.lung_maps)
        return SyntheticPairs(lungs, settings, grid, values, (), device, root, model)
    breathing = breathing_motions(folder, names) if list(folder.glob("case*_landmarks.csv")) else []
    return SyntheticPairs(lung_shapes(folder, names), settings, grid, values, breathing, device, root)


def _origin(grid: ImageGrid) -> list[float]:
    """Origin that puts the middle of the grid at zero, where shapes have theirs."""
    return [-(n - 1) / 2 * s for n, s in zip(grid.size, grid.spacing, strict=True)]
