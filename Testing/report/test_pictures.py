"""What the pictures show: the right anatomy at the right side, the telling places, exact pixels."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Pair, Volume
from DeepLargeDeformRegLib.core.metrics import WorstPlace
from DeepLargeDeformRegLib.engine.anatomy.find import FoundAnatomy
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationResult
from DeepLargeDeformRegLib.report import vector
from DeepLargeDeformRegLib.report.case import Case
from DeepLargeDeformRegLib.report.pictures import PlanePictures, scale_of
from DeepLargeDeformRegLib.report.places import middle, telling_places
from DeepLargeDeformRegLib.report.planes import Box, planes_through, sample
from DeepLargeDeformRegLib.report.texts import FOUND_ORGANS

from Testing.report.conftest import BUMP, Phantom


def decoded(content: bytes, folder: Path) -> np.ndarray:
    path = folder / "picture.png"
    path.write_bytes(content)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (33, 40, 3)])
def test_pixels_are_read_by_another_decoder_bit_by_bit(shape: tuple[int, ...], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(pixels_of(vector.embedded(pixels), tmp_path), pixels)


DIRECTIONS = {
    "LPS": np.eye(3),
    "RAS": np.diag([-1.0, -1.0, 1.0]),
    "permuted": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
    "oblique": np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]),
}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_planes_are_anatomical_whatever_the_axes_of_the_scan(name: str) -> None:
    """A light at the left, one in front and one at the top of a patient, in a scan with any axes."""
    direction = DIRECTIONS[name]
    spacing = np.array([1.0, 1.5, 2.0])
    size = np.array([61, 41, 31])
    origin = -direction @ (spacing * (size - 1) / 2)
    grid = ImageGrid(tuple(size), tuple(spacing), tuple(origin), tuple(direction.ravel()))
    z, y, x = np.indices(grid.shape)
    positions = grid.to_physical(np.stack([x, y, z], axis=-1))
    lights = {"left": (18.0, 0.0, 0.0), "front": (0.0, -18.0, 0.0), "top": (0.0, 0.0, 18.0)}
    array = sum(np.exp(-((positions - spot) ** 2).sum(axis=-1) / 18.0) for spot in lights.values())
    scan = Volume(array.astype(np.float32), grid)
    half = np.full(3, 25.0)
    planes = {plane.name: plane for plane in planes_through(np.zeros(3), Box(-half, half), 1.0)}
    expected = {  # plane -> (light, its side in the picture)
        "axial": (("left", "right"), ("front", "up")),
        "coronal": (("left", "right"), ("top", "up")),
        "sagittal": (("front", "left"), ("top", "up")),
    }
    steps = {"right": (18, 0), "left": (-18, 0), "up": (0, -18), "down": (0, 18)}
    letters = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
    for plane_name, found in expected.items():
        plane = planes[plane_name]
        assert plane.letters == letters[plane_name]
        picture = sample(scan, plane.points())
        assert picture.shape == (plane.size[1], plane.size[0])
        x0, y0 = plane.pixel_of(np.zeros(3))
        for light, side in found:
            dx, dy = steps[side]
            column, row = round(x0 + dx / plane.pixel_mm), round(y0 + dy / plane.pixel_mm)
            assert picture[row, column] > 0.7, (plane_name, light)
            assert picture[2 * round(y0) - row, 2 * round(x0) - column] < 0.2, (plane_name, light)


def test_places_are_where_the_map_deforms_and_folds(phantom: Phantom) -> None:
    case = Case.of(phantom.result)
    places = {place.title: place for place in telling_places(case)}
    assert np.linalg.norm(places["Largest deformation"].point - BUMP) < 2.5
    worst = places["Worst volume change"]
    determinant = phantom.result.jacobian
    column, row, plane = determinant.grid.to_index(worst.point).round().astype(int)
    assert determinant.array[plane, row, column] == pytest.approx(determinant.array.min(), abs=1e-5)
    assert f"{determinant.array.min():.2f}" in worst.reason
    name, center = middle(case)
    assert name == "the middle of ball"
    assert np.linalg.norm(center) < 2.5


def test_a_listed_fold_is_shown(phantom: Phantom) -> None:
    fold = {"volume_mm3": 24.0, "worst": -0.75, "point_lps": [2.0, -20.0, 4.0], "structure": "ball"}
    larger = {**fold, "volume_mm3": 48.0, "worst": -0.25, "point_lps": [9.0, 9.0, 9.0]}
    listed = phantom.with_metrics({"folds": [larger, fold]})
    places = {place.title: place for place in telling_places(Case.of(listed.result))}
    assert np.allclose(places["Deepest fold"].point, fold["point_lps"])
    assert "-0.75" in places["Deepest fold"].reason


def test_the_poorest_match_is_shown(phantom: Phantom, tmp_path: Path) -> None:
    grid = phantom.result.pair.fixed.grid.with_spacing(5.0)  # a map of its own, coarser grid
    spot = np.array([12.0, 8.0, -4.0])
    z, y, x = np.indices(grid.shape)
    offset = np.linalg.norm(grid.to_physical(np.stack([x, y, z], axis=-1)) - spot, axis=-1)
    similarity = np.where(offset < 7, 0.02, 0.9).astype(np.float32)
    similarity[:, :, x[0, 0] < 4] = np.nan
    case = Case.of(replace(phantom.result, maps={"local_similarity": Volume(similarity, grid)}))
    place = next(place for place in telling_places(case) if place.title == "Poorest match")
    assert np.linalg.norm(place.point - spot) < 10
    assert "0.02" in place.reason
    plane = planes_through(spot, case.box, 1.0)[0]
    drawn = {p.title: p for p in PlanePictures(case, plane, spot, scale_of(case)).all()}
    pixels = pixels_of(drawn["Local similarity"].source, tmp_path).astype(int)
    x0, y0 = (round(value) for value in plane.pixel_of(spot))
    assert pixels[y0, x0].sum() > 400  # bright where not alike: look here
    assert pixels[5, -20].sum() < 250  # dark where alike
    undefined = pixels[:, 0]
    assert {tuple(color) for color in undefined.tolist()} == {(255, 255, 255), (150, 150, 150)}
    without = Case.of(phantom.result)
    assert not [place for place in telling_places(without) if place.title == "Poorest match"]


def test_uncertainty_is_shown_where_it_is_greatest(phantom: Phantom, tmp_path: Path) -> None:
    grid = phantom.result.pair.fixed.grid.with_spacing(4.0)  # a map of its own, coarser grid
    spot = np.array([-12.0, 4.0, -8.0])
    z, y, x = np.indices(grid.shape)
    distance = np.linalg.norm(grid.to_physical(np.stack([x, y, z], axis=-1)) - spot, axis=-1)
    uncertainty = Volume((4.5 * np.exp(-((distance / 8) ** 2))).astype(np.float32), grid)
    worst = WorstPlace(measure="uncertainty_mm.max", value=4.5, point_lps=tuple(spot.tolist()))
    metrics = replace(phantom.result.metrics, worst_places=(worst,))
    case = Case.of(replace(phantom.result, metrics=metrics, maps={"uncertainty_mm": uncertainty}))
    place = next(place for place in telling_places(case) if place.title == "Largest expected error")
    assert place.point == pytest.approx(spot), "the place and the number are those of the table"
    assert "4.50 mm" in place.reason
    scale = scale_of(case)
    assert scale.uncertainty_mm == 5
    plane = planes_through(place.point, case.box, 1.0)[0]
    drawn = {p.title: p for p in PlanePictures(case, plane, place.point, scale).all()}
    pixels = pixels_of(drawn["Expected error"].source, tmp_path).astype(int)
    x0, y0 = (round(value) for value in plane.pixel_of(place.point))
    assert pixels[y0, x0].sum() > 400
    assert pixels[-1, -1].sum() < 130
    without = Case.of(phantom.result)
    titles = {p.title for p in PlanePictures(without, plane, place.point, scale_of(without)).all()}
    assert titles == set(drawn) - {"Expected error"}


def pixels_of(source: str, folder: Path) -> np.ndarray:
    found = re.search(r"base64,([^']*)'", unquote(source))
    assert found is not None
    return decoded(base64.b64decode(found.group(1)), folder)


def test_pictures_show_what_they_say(phantom: Phantom, tmp_path: Path) -> None:
    case = Case.of(phantom.result)
    plane = planes_through(BUMP, case.box, 1.0)[0]
    drawn = {p.title: p for p in PlanePictures(case, plane, BUMP, scale_of(case)).all()}
    pixels = {title: pixels_of(picture.source, tmp_path).astype(int) for title, picture in drawn.items()}
    # Fixed and moving scan are one, but each is shown in its own window.
    assert np.abs(pixels["Difference before"] - 128).max() <= 6
    assert np.abs(pixels["Fixed"][:, :15] - pixels["After"][:, :15]).max() <= 8
    assert np.abs(pixels["Difference after"] - 128).max() > 20
    x, y = (round(value) for value in plane.pixel_of(BUMP))
    assert np.abs(pixels["Deformed grid"][2, 2] - [0, 34, 78]).max() < 20  # hardly a length: the dark end
    assert pixels["Deformed grid"][y - 1, x - 1].sum() > 250
    determinant = sample(phantom.result.jacobian, plane.points(), nearest=True)
    folded, brightness = determinant <= 0, pixels["Volume change"].sum(axis=-1)
    assert 10 < folded.sum() < 500
    hatched = brightness[folded] == 3 * 255
    assert 0.15 < hatched.mean() < 0.4
    assert brightness[folded][~hatched].max() < 100
    assert brightness[~folded].min() > 150


def test_outlines_follow_the_structure(phantom: Phantom) -> None:
    case = Case.of(phantom.result)
    plane = planes_through(np.zeros(3), case.box, 1.0)[0]
    picture = PlanePictures(case, plane, np.zeros(3), scale_of(case)).all()[3]
    assert picture.title == "Outlines"
    lines = re.findall(r"M(-?\d+) (-?\d+)l([-\d ]+)' fill='none'", unquote(picture.source))
    points = []
    for x, y, moves in lines:
        steps = np.array(moves.split(), dtype=int).reshape(-1, 2)
        points.append(np.array([int(x), int(y)]) + np.vstack([[0, 0], np.cumsum(steps, axis=0)]))
    center = np.array(plane.pixel_of(np.zeros(3))) + 0.5
    radius = np.linalg.norm(points[0] / 10 - center, axis=1) * plane.pixel_mm
    assert radius.mean() == pytest.approx(26, abs=0.7)  # the fixed ball
    assert np.ptp(radius) < 3


def test_organs_that_were_found_have_dotted_outlines_where_nobody_drew_any(phantom: Phantom) -> None:
    result = phantom.result
    drawn = result.pair.fixed.labels
    assert drawn is not None
    unlabelled = Pair(replace(result.pair.fixed, labels=None), replace(result.pair.moving, labels=None))
    found = RegistrationResult(
        pair=unlabelled,
        field=result.field,
        warped=unlabelled.moving,
        maps={},
        metrics=result.metrics,
        linear=np.eye(4),
        anatomy=FoundAnatomy(fixed=drawn, moving=drawn),
    )
    case = Case.of(found)
    plane = planes_through(np.zeros(3), case.box, 1.0)[0]
    picture = PlanePictures(case, plane, np.zeros(3), scale_of(case)).all()[3]
    assert picture.title == FOUND_ORGANS
    assert "nobody reviewed" in picture.alternative
    lines = re.findall(r"<path d='[^']+'[^>]*stroke-dasharray='(\d+) (\d+)'", unquote(picture.source))
    assert len(lines) == 4, "fixed and propagated, each with a casing"
    assert all(int(on) < int(off) for on, off in lines), "dots, where propagated outlines of a user are dashes"
    assert PlanePictures(Case.of(result), plane, np.zeros(3), scale_of(case)).all()[3].title == "Outlines"
