"""Pickles of numpy arrays as every protocol writes them become images; pickles of anything else do nothing."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError

from training.data import open_data_set
from training.data.ixi import ATLAS, convert
from training.data.pickles import read_arrays

SCAN = np.random.default_rng(0).normal(size=(8, 10, 9)).astype(np.float32)
LABELS = (np.arange(SCAN.size).reshape(SCAN.shape) % 63).astype(np.uint8)


def written(path: Path, value: Any, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol_and_layout_are_read(protocol: int, tmp_path: Path) -> None:
    kept = (SCAN, np.asfortranarray(LABELS), SCAN.astype(">f8"), LABELS > 3)
    found = read_arrays(written(tmp_path / "a.pkl", kept, protocol))
    assert len(found) == len(kept)
    for one, other in zip(found, kept, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


class _Deed:
    """What a hostile pickle does when it is opened: it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    deed = tmp_path / "done"
    path = written(tmp_path / "bad.pkl", (SCAN, _Deed(deed)))
    with pytest.raises(BadInputError, match="asks for"):
        read_arrays(path)
    assert not deed.exists()
    pickle.loads(path.read_bytes())
    assert deed.exists(), "the pickle does what it is made for"


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n.",  # a function instead of an array
        b"cnumpy\nndarray\n)\x81.",  # an array without content
        b"cnumpy\nndarray\n}S'values'\nI1\nsb.",  # an attempt to change the stand-in itself
        b"\x80\x04K\x01.",
        pickle.dumps((SCAN, "text")),
        pickle.dumps(np.array([{}, {}], dtype=object)),
        pickle.dumps(np.array(["text"])),
        pickle.dumps(SCAN)[:-40],
        b"",
    ],
)
def test_whatever_is_no_array_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(content)
    with pytest.raises(BadInputError):
        read_arrays(path)
    assert len(read_arrays(written(tmp_path / "good.pkl", (SCAN, LABELS)))) == 2, "the stand-ins are as before"


def test_more_content_than_fits_an_array_is_refused(tmp_path: Path) -> None:
    content = pickle.dumps(SCAN, 2)
    wrong = content.replace(b"K\x08K\nK\t", b"K\x08K\nK\n")
    assert wrong != content
    (tmp_path / "bad.pkl").write_bytes(wrong)
    with pytest.raises(BadInputError, match="bytes for an array"):
        read_arrays(tmp_path / "bad.pkl")


def test_the_data_set_becomes_images_that_its_reader_takes(tmp_path: Path) -> None:
    source, output = tmp_path / "IXI_data", tmp_path / "ixi"
    for number, split in enumerate(("Train", "Train", "Val", "Test")):
        written(source / split / f"subject_{number}.pkl", (SCAN + number, LABELS))
    written(source / "atlas.pkl", (SCAN, LABELS))
    assert convert(source, output) == {
        "train": ["subject_0", "subject_1"],
        "validation": ["subject_2"],
        "test": ["subject_3"],
    }
    data_set = open_data_set("image-label", output)
    (pair,) = data_set.listed("test")
    assert (pair.fixed.name, pair.moving.name) == ("subject_3", ATLAS)
    image, labels = pair.fixed.image(), pair.fixed.labels()
    assert image.grid.size == SCAN.shape
    assert labels is not None
    np.testing.assert_allclose(image.array.transpose(2, 1, 0), SCAN + 3)
    np.testing.assert_array_equal(labels.array.transpose(2, 1, 0), LABELS)
    np.testing.assert_allclose(image.grid.to_physical([0, 1, 0]), [0, 0, -1])
    convert(source, output)  # what is there is kept


def test_missing_parts_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="unpacked whole"):
        convert(tmp_path, tmp_path / "out")
    written(tmp_path / "Test" / "a.pkl", (SCAN, LABELS))
    with pytest.raises(BadInputError, match=r"atlas\.pkl"):
        convert(tmp_path, tmp_path / "out")
    written(tmp_path / "atlas.pkl", (SCAN,))
    with pytest.raises(BadInputError, match="label map"):
        convert(tmp_path, tmp_path / "out")
