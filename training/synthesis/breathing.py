"""A model of breathing from real correspondences: what lungs do that no linear alignment undoes.

Each lung of each subject has a smooth velocity, a cubic B-spline in the box around that lung, fitted to automatic
correspondences between expiration and inspiration by penalized least squares (P-splines, Eilers and Marx, Statistical
Science 11, 1996). A correspondence says the velocity half way between its two points, so that the flow for a unit of
time leads from one to the other (the midpoint rule), and the flow back is that of the negative velocity. In the boxes
of lungs subjects can be averaged: the model is the mean and the principal modes over subjects, and the flow of any
mixture of them has an inverse, so that it folds nowhere.

The tables at hand (``../shared/data/lung-keypoints``) are of scans that were aligned linearly before, so the model is
of what linear alignment leaves: where a registration begins. What is fitted to them does not ship: each training fits
its own, in seconds.

``python -m training.synthesis.breathing_report`` says how much of the variance the modes explain, and how well they
describe a subject that the model has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files.volumes import read_image
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.fields.bspline import basis

from .shapes import Shape, split_lungs

Array = npt.NDArray[np.float64]

LUNGS = (1, 2)
"""Labels of the right and the left lung, the order of the model's splines."""
NODES = 8
"""Coefficients of a spline along each axis of a box: five pieces, 20 to 45 mm each."""
ROUGHNESS = 0.01
"""Weight of the squared second differences against squared residuals."""
_SLOPE = 1e-2  # weight of the first differences, in roughnesses: decides where there are no correspondences
_STEPS = 16  # of the flow of single points
_SAMPLES = 7  # points along each axis of a box at which motions are compared


@dataclass(frozen=True, eq=False, kw_only=True)
class Correspondences:
    """Corresponding points of one subject's lungs.

    Args:
        name: of the subject.
        expiration: LPS mm ``(n, 3)``.
        inspiration: their partners.
        lung: index into :data:`LUNGS` of each, ``(n,)``.
        low: lower corner of the box of each lung at inspiration, LPS mm ``(2, 3)``.
        high: upper corner.
    """

    name: str
    expiration: Array
    inspiration: Array
    lung: npt.NDArray[np.int64]
    low: Array
    high: Array

    @property
    def motion(self) -> Array:
        """From expiration to inspiration, mm ``(n, 3)``."""
        return self.inspiration - self.expiration


def read_correspondences(keypoints: Path, masks: Path, names: Sequence[str] = ()) -> list[Correspondences]:
    """Subjects with correspondences and lung masks, laid out as in ``../shared/data``.

    Args:
        keypoints: folder of tables ``NAME.csv`` without a header: voxel index at expiration, at inspiration.
        masks: folder with ``NAME/labels.nii.gz``, the mask at inspiration, on whose grid the indices are.
        names: subjects; all that have both by default.

    Raises:
        BadInputError: if there is none, or one that is named lacks a file.
    """
    tables = {path.stem: path for path in sorted(keypoints.glob("*.csv"))}
    both = [name for name in tables if (masks / name / "labels.nii.gz").is_file()]
    missing = sorted(set(names) - set(both))
    if missing or not both:
        what = f"of {missing[0]} " if missing else ""
        raise BadInputError(f"The breathing model found no keypoints with a lung mask {what}in {keypoints.name}.")
    return [_read(name, tables[name], masks / name / "labels.nii.gz") for name in names or both]


def _read(name: str, table: Path, mask: Path) -> Correspondences:
    image = read_image(mask)
    grid = ImageGrid.from_image(image)
    index = np.loadtxt(table, delimiter=",", ndmin=2)
    lungs = split_lungs(Shape(name, sitk.GetArrayFromImage(image).astype(np.uint8), grid)).array
    boxes = [np.argwhere(lungs == label)[:, ::-1] for label in LUNGS]
    corners = np.array([[grid.to_physical(box.min(axis=0)), grid.to_physical(box.max(axis=0))] for box in boxes])
    inspiration = grid.to_physical(index[:, 3:])
    # The nearer box across is the lung: automatic points may lie a voxel outside of the mask.
    across = np.maximum(corners[:, 0, 0] - inspiration[:, :1], inspiration[:, :1] - corners[:, 1, 0])
    return Correspondences(
        name=name,
        expiration=grid.to_physical(index[:, :3]),
        inspiration=inspiration,
        lung=across.argmin(axis=1),
        low=corners[:, 0],
        high=corners[:, 1],
    )


def fit_lung(position: Array, motion: Array, roughness: float = ROUGHNESS) -> Array:
    """The spline through the motion of points of one lung, ``(3, NODES, NODES, NODES)`` (axes z, y, x).

    Args:
        position: of the points in the box of the lung, 0 to 1 along x, y and z, ``(n, 3)``.
        motion: of each, ``(n, 3)``, in any unit, which is that of the result.
        roughness: weight of the squared second differences.
    """
    values = design(position)
    coefficients = np.linalg.solve(values.T @ values + roughness * _penalty(), values.T @ motion)
    return np.moveaxis(coefficients.reshape(NODES, NODES, NODES, 3), -1, 0)


def fit_subject(subject: Correspondences, roughness: float = ROUGHNESS) -> Array:
    """Velocity of a subject's two lungs in edges of their boxes, ``(2, 3, NODES, NODES, NODES)``.

    Raises:
        BadInputError: if a lung has no correspondences.
    """
    middle = (subject.expiration + subject.inspiration) / 2
    lungs = []
    for lung in range(len(LUNGS)):
        own = subject.lung == lung
        if not own.any():
            raise BadInputError(f"{subject.name} has no correspondences in one of its lungs.")
        edges = subject.high[lung] - subject.low[lung]
        lungs.append(fit_lung((middle[own] - subject.low[lung]) / edges, subject.motion[own] / edges, roughness))
    return np.stack(lungs)


def flow_points(velocity: Array, subject: Correspondences) -> Array:
    """Where the flow of a velocity, as :func:`fit_subject` has it, takes a subject's points of expiration, LPS mm."""
    moved = subject.expiration.copy()
    for lung in range(len(LUNGS)):
        own = subject.lung == lung
        edges = subject.high[lung] - subject.low[lung]
        at = (moved[own] - subject.low[lung]) / edges
        coefficients = velocity[lung].reshape(3, -1).T
        for _ in range(_STEPS):  # of the midpoint rule
            half = at + design(at) @ coefficients / (2 * _STEPS)
            at = at + design(half) @ coefficients / _STEPS
        moved[own] = subject.low[lung] + at * edges
    return moved


@dataclass(frozen=True, eq=False)
class BreathingModel:
    """Mean and principal modes of the velocity of lungs from expiration to inspiration, in edges of their boxes.

    Args:
        mean: ``(2, 3, n, n, n)``: right and left lung, components x, y and z, axes z, y and x.
        modes: ``(m, 2, 3, n, n, n)``, each for one standard deviation.
        explained: share of the variance about the mean that each mode explains, ``(m,)``.
        subjects: whose breathing it is.
    """

    mean: Array
    modes: Array
    explained: Array
    subjects: tuple[str, ...]

    @classmethod
    def of(cls, subjects: Sequence[Correspondences], velocities: Sequence[Array] = ()) -> BreathingModel:
        """The model of some subjects; it has one mode fewer than subjects.

        Variance is of the displacement in mm within the boxes, edges being as long as on average.

        Args:
            subjects: whose breathing it is.
            velocities: of each, if they are fitted already.

        Raises:
            BadInputError: if there are fewer than two.
        """
        if len(subjects) < 2:
            raise BadInputError("A model of breathing needs two subjects at least.")
        all_of_them = np.stack(velocities or [fit_subject(subject) for subject in subjects])
        edges = np.mean([subject.high - subject.low for subject in subjects], axis=0)
        mean = all_of_them.mean(axis=0)
        off = all_of_them - mean
        sampled = _sampled(off) * edges[None, :, None]
        left, sizes, _ = np.linalg.svd(sampled.reshape(len(subjects), -1), full_matrices=False)
        kept = slice(len(subjects) - 1)
        # Row i of the table is sum_k left[i, k] sizes[k] right[k]: each mode is a mixture of the subjects' motions.
        modes = np.tensordot(left[:, kept].T, off, axes=1) / np.sqrt(len(subjects) - 1)
        explained = sizes[kept] ** 2 / np.square(sizes).sum()
        return cls(mean, modes, explained, tuple(subject.name for subject in subjects))

    def mixture(self, weights: Sequence[float], strength: float = 1.0) -> Array:
        """A velocity: ``strength`` times the mean and the first modes, each with its weight in deviations.

        Negative strengths lead from inspiration to expiration.
        """
        return strength * (self.mean + np.tensordot(np.asarray(weights), self.modes[: len(weights)], axes=1))

    def described(self, subject: Correspondences, modes: int) -> Array:
        """The mixture of the mean and the first modes that comes closest to a subject.

        By least squares over its correspondences; weights are held to their deviation as a normal prior does, at a
        residual of 3 mm.
        """
        middle = (subject.expiration + subject.inspiration) / 2
        parts = np.concatenate([self.mean[None], self.modes[:modes]])
        moved = np.zeros((len(parts), *middle.shape))
        for lung in range(len(LUNGS)):
            own = subject.lung == lung
            edges = subject.high[lung] - subject.low[lung]
            values = design((middle[own] - subject.low[lung]) / edges)
            moved[:, own] = np.einsum("np,mcp->mnc", values, parts[:, lung].reshape(len(parts), 3, -1)) * edges
        sides = moved[1:].reshape(modes, middle.size)
        rest = (subject.motion - moved[0]).ravel()
        # Neighboring correspondences err alike: all of them count as much as a hundred independent ones.
        prior = 3.0**2 * len(middle) / 100
        return self.mixture(np.linalg.solve(sides @ sides.T + prior * np.eye(modes), sides @ rest).tolist())


def errors(velocity: Array, subject: Correspondences) -> float:
    """Mean distance (mm) between where a velocity takes a subject's points and where they are."""
    return float(np.linalg.norm(flow_points(velocity, subject) - subject.inspiration, axis=1).mean())


def design(position: Array) -> Array:
    """Values of the basis functions at positions in a box (0 to 1), ``(n, NODES ** 3)``, order z, y, x."""
    x, y, z = (basis(tuple(1 + along * (NODES - 3)), NODES) for along in position.T)
    return np.einsum("nz,ny,nx->nzyx", z, y, x, optimize=True).reshape(len(position), -1)


@cache
def _penalty() -> Array:
    """Squared second differences, and weaker first ones, along each axis."""
    second, first, same = np.diff(np.eye(NODES), n=2, axis=0), np.diff(np.eye(NODES), axis=0), np.eye(NODES)
    one = second.T @ second + _SLOPE * first.T @ first
    return np.kron(np.kron(one, same) + np.kron(same, one), same) + np.kron(np.kron(same, same), one)


def _sampled(velocities: Array) -> Array:
    """Motions ``(m, 2, points, 3)`` at regular points of the boxes, of velocities ``(m, 2, 3, n, n, n)``."""
    steps = np.linspace(0, 1, _SAMPLES)
    z, y, x = np.meshgrid(steps, steps, steps, indexing="ij")
    values = design(np.stack([x, y, z], axis=-1).reshape(-1, 3))
    return np.einsum("pn,mlcn->mlpc", values, velocities.reshape(*velocities.shape[:3], -1), optimize=True)
