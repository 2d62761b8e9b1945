"""Landmarks: every file kind gives the same LPS positions, whichever coordinate system the file uses."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import (
    Landmarks,
    pair_landmarks,
    read_landmark_pairs,
    read_landmarks,
    write_landmark_pairs,
    write_landmarks,
)
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LandmarkPairs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

LPS = np.array([[1.5, -2.0, 3.25], [40.0, 50.5, -1344.5]])
COORDINATES = st.floats(-5000, 5000, allow_nan=False, width=64)
NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), min_size=1, max_size=12)


def read(tmp_path: Path, name: str, text: str) -> Landmarks:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_landmarks(tmp_path / name)


@settings(max_examples=60, deadline=None)
@given(
    points=arrays(np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=COORDINATES),
    ending=st.sampled_from([".mrk.json", ".fcsv", ".csv"]),
    data=st.data(),
)
def test_round_trip(points: np.ndarray, ending: str, data: st.DataObject) -> None:
    names = data.draw(st.lists(NAMES, min_size=len(points), max_size=len(points)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"points{ending}"
        write_landmarks(points, path, names)
        back = read_landmarks(path)
    np.testing.assert_allclose(back.points, points, atol=1e-6)
    assert back.names == tuple(names)


@settings(max_examples=40, deadline=None)
@given(points=arrays(np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=COORDINATES))
def test_ras_files_hold_the_same_points(points: np.ndarray) -> None:
    ras = points * [-1, -1, 1]
    rows = [",".join(repr(float(value)) for value in row) for row in ras]
    control = [{"label": "", "position": row.tolist()} for row in ras]
    texts = {
        "a.csv": "\n".join(["r,a,s", *rows]),
        "b.csv": "\n".join(["label;R;A;S", *(f"p;{row.replace(',', ';')}" for row in rows)]),
        "a.fcsv": "\n".join(["# CoordinateSystem = 0", "# columns = id,x,y,z", *(f"1,{row}" for row in rows)]),
        "b.fcsv": "\n".join(["# CoordinateSystem = RAS", "# columns = label,x,y,z", *(f"p,{row}" for row in rows)]),
        "a.mrk.json": json.dumps({"markups": [{"coordinateSystem": "RAS", "controlPoints": control}]}),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            path = Path(folder) / name
            path.write_text(text)
            np.testing.assert_allclose(read_landmarks(path).points, points, atol=1e-9)


def test_coordinate_systems_of_fcsv(tmp_path: Path) -> None:
    row = "1,1,2,3,0,0,0,1,1,1,0,F-1,,"
    assert read(tmp_path, "a.fcsv", f"# CoordinateSystem = LPS\n{row}\n").points.tolist() == [[1, 2, 3]]
    assert read(tmp_path, "a.fcsv", f"# CoordinateSystem = 1\n{row}\n").points.tolist() == [[1, 2, 3]]
    assert read(tmp_path, "a.fcsv", f"# CoordinateSystem = RAS\n{row}\n").points.tolist() == [[-1, -2, 3]]
    assert read(tmp_path, "a.fcsv", f"{row}\n").points.tolist() == [[-1, -2, 3]]
    with pytest.raises(BadInputError, match="coordinate system IJK"):
        read(tmp_path, "a.fcsv", f"# CoordinateSystem = IJK\n{row}\n")


def test_tables_name_their_system(tmp_path: Path) -> None:
    for header in ("x,y,z", "L,P,S", " x , y , z ,comment"):
        row = "1,2,3,note" if "comment" in header else "1,2,3"
        assert read(tmp_path, "a.csv", f"\ufeff{header}\n{row}\n").points.tolist() == [[1, 2, 3]]
    table = "label,r,a,s,defined,selected\nF-1,1,2,3,1,1\n"
    found = read(tmp_path, "a.csv", table)
    assert (found.points.tolist(), found.names) == ([[-1, -2, 3]], ("F-1",))
    with pytest.raises(BadInputError, match="first line must name the columns"):
        read(tmp_path, "a.csv", "1,2,3\n4,5,6\n")


def test_elastix_points(tmp_path: Path, oblique_grid: ImageGrid) -> None:
    assert read(tmp_path, "a.pts", "point\n2\n1 2 3\n4 5 6\n").points.tolist() == [[1, 2, 3], [4, 5, 6]]
    (tmp_path / "i.txt").write_text("index\n1\n3 4 5\n")
    found = read_landmarks(tmp_path / "i.txt", oblique_grid)
    np.testing.assert_allclose(found.points, [oblique_grid.to_physical((3, 4, 5))])
    with pytest.raises(BadInputError, match="voxel indices"):
        read_landmarks(tmp_path / "i.txt")
    with pytest.raises(BadInputError, match="states 3 points but holds 6 numbers"):
        read(tmp_path, "a.pts", "point\n3\n1 2 3\n4 5 6\n")


def test_pairs_of_the_sample_case(sample_case: Path) -> None:
    pairs = read_landmark_pairs(sample_case / "landmarks_lps.csv")
    assert len(pairs) == 26
    np.testing.assert_allclose(pairs.fixed[0], [-65.037, 21.764, -1344.5])
    np.testing.assert_allclose(pairs.moving[0], [-66.894, 16.497, -1312.0])
    assert 34 < np.linalg.norm(pairs.fixed - pairs.moving, axis=1).mean() < 35.5


def test_pairs_round_trip(tmp_path: Path) -> None:
    pairs = LandmarkPairs(LPS, LPS + np.array([1, 2, 3]), ("apex", 'vessel, "b"'))
    write_landmark_pairs(pairs, tmp_path / "a.csv")
    back = read_landmark_pairs(tmp_path / "a.csv")
    np.testing.assert_allclose(back.fixed, pairs.fixed)
    np.testing.assert_allclose(back.moving, pairs.moving)
    assert back.names == pairs.names


def test_pairs_in_ras(tmp_path: Path) -> None:
    header = "fixed_r,fixed_a,fixed_s,moving_r,moving_a,moving_s"
    (tmp_path / "a.csv").write_text(f"{header}\n1,2,3,4,5,6\n")
    pairs = read_landmark_pairs(tmp_path / "a.csv")
    assert pairs.fixed.tolist() == [[-1, -2, 3]]
    assert pairs.moving.tolist() == [[-4, -5, 6]]


def test_pairing_by_name_and_by_order() -> None:
    fixed = Landmarks(LPS, ("a", "b"))
    by_name = pair_landmarks(fixed, Landmarks(LPS[::-1], ("b", "a")))
    np.testing.assert_array_equal(by_name.moving, LPS)
    assert by_name.names == ("a", "b")
    for names in (("c", "d"), ("d", "d"), ("", "")):
        by_order = pair_landmarks(fixed, Landmarks(LPS[::-1], names))
        np.testing.assert_array_equal(by_order.moving, LPS[::-1])
    with pytest.raises(BadInputError, match="2 fixed but 1 moving"):
        pair_landmarks(fixed, Landmarks(LPS[:1], ("a",)))


@pytest.mark.parametrize("names", [("B", "A"), ("b ", " a"), ("b", "A  ")])
def test_names_pair_whatever_their_case_and_blanks(names: tuple[str, str]) -> None:
    pairs = pair_landmarks(Landmarks(LPS, ("a", "b")), Landmarks(LPS[::-1], names))
    np.testing.assert_array_equal(pairs.moving, LPS)
    assert pairs.names == ("a", "b")


@pytest.mark.parametrize("names", [("b", "c"), ("b", "b"), ("b", ""), ("A", "a")])
def test_names_that_are_partly_the_same_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(BadInputError, match="Only some of the landmarks have the same names"):
        pair_landmarks(Landmarks(LPS, ("a", "b")), Landmarks(LPS[::-1], names))


def test_order_counts_where_both_scans_name_their_points_alike_in_order() -> None:
    pairs = pair_landmarks(Landmarks(LPS, ("a", "a")), Landmarks(LPS[::-1], ("A", "a ")))
    np.testing.assert_array_equal(pairs.moving, LPS[::-1])


@pytest.mark.parametrize("defined", ["0", "", "false"])
def test_point_that_was_not_placed_is_refused_in_tables(tmp_path: Path, defined: str) -> None:
    header = "label,l,p,s,defined,selected,visible,locked,description\n"
    (tmp_path / "a.csv").write_text(f"{header}apex,1,2,3,1,1,1,0,\nbase,0,0,0,{defined},1,1,0,\n")
    with pytest.raises(BadInputError, match=r"1 landmark\(s\) were not placed \(base\)"):
        read_landmarks(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text(f"{header}apex,1,2,3,1,1,1,0,\n")
    np.testing.assert_array_equal(read_landmarks(tmp_path / "b.csv").points, [[1, 2, 3]])


def test_empty_rows_of_a_spreadsheet_are_no_landmarks(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sep=,\nname,x,y,z\na,1,2,3\n,,,\n,,,\n")
    np.testing.assert_array_equal(read_landmarks(tmp_path / "a.csv").points, [[1, 2, 3]])


def test_decimal_commas(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x;y;z;name\n1,5;-2,25;1e1;a\n")
    np.testing.assert_array_equal(read_landmarks(tmp_path / "a.csv").points, [[1.5, -2.25, 10]])
    (tmp_path / "b.csv").write_text("x,y,z,name\n1,5,-2,25,10,0,a\n")
    with pytest.raises(BadInputError, match="line 2 has more values"):
        read_landmarks(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("x;y;z\n1,000.5;2;3\n")
    with pytest.raises(BadInputError, match="no numbers"):
        read_landmarks(tmp_path / "c.csv")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "x,y,z\n1e30,0,0\n", "1e\\+30 mm from"),
        ("a.csv", f"x,y,z\n{'9' * 100000},0,0\n", "no numbers"),
        ("a.mrk.json", '{"markups":' * 100000, "damaged"),
        ("a.mrk.json", '{"markups": [{"controlPoints": [{"position": [' + "9" * 100000 + ", 0, 0]}]}]}", "damaged"),
        ("a.pts", "point\n1\n1e300 0 0\n", "mm from"),
    ],
)
def test_numbers_that_no_body_has_are_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInputError, match=words):
        read_landmarks(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.mrk.json", "{", "damaged"),
        ("a.mrk.json", "[]", "damaged"),
        ("a.mrk.json", '{"markups": []}', "contains no landmarks"),
        ("a.mrk.json", '{"markups": [{"controlPoints": [{"label": "A"}]}]}', "damaged"),
        (
            "a.mrk.json",
            '{"markups": [{"controlPoints": [' + ",".join(['{"position": [1, 2]}'] * 3) + "]}]}",
            "damaged",
        ),
        (
            "a.mrk.json",
            '{"markups": [{"coordinateUnits": "um", "controlPoints": [{"position": [1,2,3]}]}]}',
            "millimeters",
        ),
        (
            "a.mrk.json",
            '{"markups": [{"controlPoints": [{"label": "A", "positionStatus": "undefined", "position": [0,0,0]},'
            '{"label": null, "positionStatus": "undefined", "position": [0,0,0]}]}]}',
            r"2 landmark\(s\) were not placed \(A, \?\)",
        ),
        ("a.fcsv", "# CoordinateSystem = LPS\n1,x,y,z\n", "no numbers"),
        ("a.fcsv", "# CoordinateSystem = LPS\n1,1,2,3,0,0,0,1,1,1,0,F-1,,,0,0\n", r"not placed \(F-1\)"),
        ("a.fcsv", "# CoordinateSystem = LPS\n# columns = label\n1\n", "damaged"),
        ("a.csv", "x,y,z\n1,2\n", "line 2 has fewer values"),
        ("a.csv", "x,y,z\n1,2,nan\n", "not a finite number"),
        ("a.csv", "x,y,z\n", "contains no landmarks"),
        ("a.csv", "fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\n1,2,3,4,5,6\n", "table of landmark pairs"),
        ("a.pts", "1 2 3\n", "must be 'point' or 'index'"),
        ("a.pts", "point\n", "damaged"),
        ("a.csv", " \n", "is empty"),
        ("a.png", "x", "no landmark file"),
    ],
)
def test_broken_file_is_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words) as caught:
        read(tmp_path, name, text)
    assert "\n" not in caught.value.message


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no file"):
        read_landmarks(tmp_path / "missing.csv")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x80\x81")
    with pytest.raises(BadInputError, match="not a text file"):
        read_landmarks(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("x,y,z\n1,2,3\n")
    with pytest.raises(BadInputError, match="no table of landmark pairs"):
        read_landmark_pairs(tmp_path / "b.csv")
