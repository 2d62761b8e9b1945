"""From a configuration's data section to samples: real scans, lists of pairs, and synthetic pairs."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError, OutputError

from training.config import ROOT, AugmentationConfig, Config, DataConfig, GridConfig, LossConfig, load_config
from training.pairs import sources
from training.pairs.disk import DiskScans
from training.pairs.samples import PackedScan

CONFIG = ROOT / "training" / "configs" / "hippocampus-mr-lapirn-gpu.yaml"


def write_scan(folder: Path, name: str, place: tuple[int, int, int], origin: tuple[float, float, float]) -> None:
    """A scan of 8x8x8 voxels with one bright labeled cube whose first voxel (z, y, x) is given."""
    array = np.zeros((8, 8, 8), np.float32)
    z, y, x = place
    array[z : z + 2, y : y + 2, x : x + 2] = 100
    for kind, values in (("images", array), ("labels", (array > 0).astype(np.uint8)), ("masks", array > 0)):
        image = sitk.GetImageFromArray(values.astype(np.float32 if kind == "images" else np.uint8))
        image.SetOrigin(origin)
        (folder / kind).mkdir(exist_ok=True)
        sitk.WriteImage(image, str(folder / kind / f"{name}.nii.gz"))


def make_config(folder: Path, **data: object) -> Config:
    base = replace(load_config(CONFIG), grid=GridConfig((8, 8, 8), (1.0, 1.0, 1.0)))
    settings = {"kind": "subjects", "reader": "image-label", "folder": str(folder), "labels": (1,)}
    settings |= {"label_names": ("cube",)} | data
    return replace(base, data=DataConfig(**settings), augmentation=AugmentationConfig())  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_scan(tmp_path, "a", (1, 1, 1), (0, 0, 0))
    write_scan(tmp_path, "b", (5, 4, 3), (50, 0, 0))
    (tmp_path / "pairs.csv").write_text("fixed,moving\na,b\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("align", ["centers", "labels", "masks"])
def test_scans_are_aligned_as_configured(folder: Path, align: str) -> None:
    source = sources.training_source(make_config(folder, align=align))
    sample = source.draw(torch.Generator().manual_seed(0))
    assert sample.fixed.labels is not None
    assert sample.moving.labels is not None
    assert float(sample.fixed.labels.sum()) == float(sample.moving.labels.sum()) == 8
    assert torch.equal(sample.fixed.labels, sample.moving.labels) == (align != "centers")
    assert not sample.same_patient


@pytest.mark.parametrize("align", ["centers", "labels"])
def test_an_odd_grid_is_laid_on_voxels_rather_than_between_them(folder: Path, align: str) -> None:
    config = replace(make_config(folder, align=align), grid=GridConfig((7, 7, 7), (1.0, 1.0, 1.0)))
    sample = sources.training_source(config).draw(torch.Generator().manual_seed(0))
    for scan in (sample.fixed, sample.moving):
        assert scan.labels is not None
        assert sorted(scan.labels.unique().tolist()) == [0.0, 1.0]
        assert float(scan.labels.sum()) == 8


@pytest.mark.parametrize("kind", ["subjects", "pairs"])
def test_scans_on_the_disk_are_those_in_memory(folder: Path, kind: str, tmp_path: Path) -> None:
    config = make_config(folder, kind=kind, train=str(folder / "pairs.csv") if kind == "pairs" else "", masks=True)
    config = replace(config, augmentation=AugmentationConfig(noise=0.1, probability=0.5))
    scans = tmp_path / "scans"
    both = sources.training_source(config), sources.training_source(config, on_disk=scans)
    assert list(scans.iterdir()) == [], "no file has a name that could be left behind"
    for number in range(4):
        one, other = (source.draw(torch.Generator().manual_seed(number)) for source in both)
        for side in ("fixed", "moving"):
            for name in ("image", "labels", "mask"):
                first, second = (getattr(getattr(sample, side), name) for sample in (one, other))
                assert torch.equal(first, second)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(OutputError, match="do not fit"):
        DiskScans(tmp_path).moved(PackedScan(torch.zeros(1, 2, 2, 2)))


def test_scans_that_stay_where_they_are(folder: Path) -> None:
    pairs = str(folder / "pairs.csv")
    config = make_config(folder, kind="pairs", train=pairs, validation=pairs, align="loaded", masks=True)
    (sample,) = sources.validation_samples(config)
    assert float(sample.fixed.image.max()) == 1
    # The moving scan lies 50 mm to the left, out of the fixed one's grid.
    assert float(sample.moving.image.max()) == 0
    assert sample.fixed.mask is not None
    assert torch.equal(sample.fixed.mask, sample.fixed.labels)  # type: ignore[arg-type]


def test_boxes_fill_the_grid_and_points_go_along(folder: Path) -> None:
    """A cube of 2 mm and one of 4 mm, both stretched to the grid less its margin; their corners are points."""
    array = np.zeros((8, 8, 8), np.uint8)
    array[3:7, 3:7, 3:7] = 1
    for kind in ("images", "labels", "masks"):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / kind / "b.nii.gz"))
    header = "fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z"
    rows = ["0.5,0.5,0.5,2.5,2.5,2.5", "2.5,2.5,2.5,6.5,6.5,6.5"]
    (folder / "points.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    table = folder / "table.csv"
    columns = "fixed,moving,fixed_labels,moving_labels,fixed_mask,moving_mask,keypoints"
    row = ",".join(f"{kind}/{name}.nii.gz" for kind in ("images", "labels", "masks") for name in ("a", "b"))
    table.write_text(f"{columns}\n{row},points.csv\n", encoding="utf-8")
    config = make_config(table, kind="pairs", reader="csv", train="train", align="boxes", masks=True)
    config = replace(config, grid=GridConfig((22, 22, 22), (3.0, 3.0, 3.0)))
    sample = sources.training_source(config).draw(torch.Generator().manual_seed(0))
    assert sample.fixed_points is not None
    assert sample.moving_points is not None
    for scan, points in ((sample.fixed, sample.fixed_points), (sample.moving, sample.moving_points)):
        # 22 voxels are 1.1 boxes: the box takes 20 of them, from 1 voxel within the border, which is 1.5 mm outside
        # of the first voxel's center.
        assert points.unique(dim=0).flatten().tolist() == pytest.approx([1.5] * 3 + [61.5] * 3, abs=1e-3)
        assert scan.labels is not None
        through_the_middle = scan.labels[0, 11, 11], scan.labels[0, 11, :, 11], scan.labels[0, :, 11, 11]
        assert [int((line > 0.5).sum()) for line in through_the_middle] == [20, 20, 20]


def write_points(folder: Path, name: str, offset: float) -> None:
    rows = [f"{1 + n},{offset},0,{1 + n},{offset},0" for n in range(3)]
    header = "fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z"
    (folder / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def test_keypoints_are_trained_on_and_landmarks_measured_on(folder: Path) -> None:
    write_points(folder, "keypoints.csv", 1.0)
    write_points(folder, "landmarks.csv", 2.0)
    table = folder / "table.csv"
    for keypoints, expected in (("keypoints.csv", 1.0), ("", None)):
        row = f"images/a.nii.gz,images/b.nii.gz,landmarks.csv,{keypoints}"
        table.write_text(f"fixed,moving,landmarks,keypoints\n{row}\n", encoding="utf-8")
        data = {"kind": "pairs", "reader": "csv", "labels": (), "label_names": (), "align": "loaded"}
        config = make_config(table, **data, train="train", validation="train")
        drawn = sources.training_source(config).draw(torch.Generator().manual_seed(0))
        assert (drawn.fixed_points is None) == (expected is None)
        assert drawn.fixed_points is None or bool((drawn.fixed_points[:, 1] == expected).all())
        (measured,) = sources.validation_samples(config)
        assert measured.fixed_points is not None
        assert bool((measured.fixed_points[:, 1] == 2.0).all())
    config = replace(config, losses=(*config.losses, LossConfig(name="keypoint", weight=[0.0, 0.3, 0.3])))
    with pytest.raises(BadInputError, match="has no keypoints, which the loss needs"):
        sources.training_source(config)


def test_a_scan_without_what_the_others_have_is_refused(folder: Path) -> None:
    (folder / "masks" / "b.nii.gz").unlink()
    pairs = str(folder / "pairs.csv")
    config = make_config(folder, kind="pairs", validation=pairs, masks=True)
    (sample,) = sources.validation_samples(config)  # the mask is that of the structures
    assert torch.equal(sample.moving.mask, sample.moving.labels)  # type: ignore[arg-type]
    (folder / "labels" / "b.nii.gz").unlink()
    (sample,) = sources.validation_samples(replace(config, data=replace(config.data, masks=False)))
    assert sample.moving.labels is None  # what is only validated on may have landmarks alone
    with pytest.raises(BadInputError, match="b has no labels"):
        sources.training_source(make_config(folder))


def test_missing_data_say_so(folder: Path) -> None:
    with pytest.raises(BadInputError, match="no folder nowhere"):
        sources.training_source(make_config(folder / "nowhere"))
    names = folder / "names.txt"
    names.write_text("a\nbb\n", encoding="utf-8")
    with pytest.raises(BadInputError, match="no subject bb"):
        sources.training_source(make_config(folder, train=str(names)))


def test_the_hippocampus_configuration_reads_the_real_data(shared_data: Path) -> None:
    config = load_config(CONFIG)
    config = replace(config, data=replace(config.data, folder=str(shared_data / "hippocampus")))
    samples = sources.validation_samples(config)
    assert len(samples) == 20
    for sample in samples:
        assert sample.fixed.labels is not None
        assert sample.fixed.image.shape == (1, *reversed(config.grid.size))
        # A hippocampus of 1 mm voxels has some thousand; nothing of it is cut off by the grid.
        assert 1500 < float(sample.fixed.labels.sum()) < 7000
        rim = sample.fixed.labels.clone()
        rim[:, 2:-2, 2:-2, 2:-2] = 0
        assert float(rim.sum()) == 0
    train = (ROOT / config.data.train).read_text(encoding="utf-8").split()
    held_aside = (ROOT / config.data.validation).read_text(encoding="utf-8").replace("\n", ",").split(",")
    test = (shared_data / "hippocampus" / "test_pairs.csv").read_text(encoding="utf-8").replace("\n", ",").split(",")
    assert len(train) == 190
    assert not set(train) & set(held_aside)
    assert not (set(train) | set(held_aside)) & set(filter(lambda name: name.startswith("hippocampus"), test))


@pytest.mark.parametrize("name", ["liver-ct-synthetic", "lung-ct-synthetic"])
def test_synthetic_pairs_arrive_on_the_training_grid(name: str, shared_data: Path, tmp_path: Path) -> None:
    config = load_config(ROOT / "training" / "configs" / f"{name}.yaml")
    folder = shared_data / Path(config.data.folder).relative_to("../shared/data")
    names = tmp_path / "names.txt"
    listed = (ROOT / config.data.train).read_text(encoding="utf-8").split()
    names.write_text("\n".join(listed[:2]), encoding="utf-8")
    grid = GridConfig((32, 32, 32), (9.0, 9.0, 9.0), -1000.0)
    config = replace(config, grid=grid, data=replace(config.data, folder=str(folder), train=str(names)))
    source = sources.training_source(config)
    samples = [source.draw(torch.Generator().manual_seed(number)) for number in range(4)]
    assert any(sample.same_patient for sample in samples)
    for sample in samples:
        assert sample.fixed.labels is not None
        assert sample.fixed.image.shape == (2, 32, 32, 32)
        assert sample.fixed.labels.shape == (len(config.data.labels), 32, 32, 32)
        assert 0 <= float(sample.fixed.image.min()) < float(sample.fixed.image.max()) <= 1
        assert (sample.fixed_points is not None) == sample.same_patient
        if sample.fixed_points is not None:
            extent = torch.tensor(grid.spacing_mm) * 31
            assert bool((sample.fixed_points > -9).all())
            assert bool((sample.fixed_points < extent + 9).all())
