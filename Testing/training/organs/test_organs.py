"""Training of the organ network, end to end on made-up scans and label maps of a few voxels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.anatomy.model import FOLDER, load_segmentation
from DeepLargeDeformRegLib.engine.models import Channel

from training.organs.config import OrganConfig, PhaseEntry, ScanEntry, load_config, patient_sources
from training.organs.evaluate import measure
from training.organs.objective import segmentation_loss
from training.organs.patients import kept_on_disk, organ_map_source
from training.organs.publish import publish
from training.organs.samples import OrganSamples
from training.organs.structures import CLASS, organ_of
from training.organs.train import folder_of, train
from training.synthesis.draw import Draw

SPACING = 12.0
SIZE = (30, 24, 20)
NAMES = {5: "liver", 1: "spleen", 2: "kidney_right", 3: "kidney_left", 52: "aorta", 30: "vertebrae_L2"}
WriteMap = Callable[[str], Path]


def organ_array() -> np.ndarray:
    """Blocks where a patient has organs, on voxels of 12 mm."""
    array = np.zeros(SIZE[::-1], np.uint8)
    array[8:14, 7:15, 6:14] = 5
    array[9:13, 12:16, 20:24] = 1
    array[5:9, 14:17, 9:12] = 2
    array[5:9, 14:17, 18:21] = 3
    array[2:18, 13:14, 15:16] = 52
    array[:, 17:20, 13:17] = 30
    return array


def write_case(folder: Path, with_image: bool) -> Path:
    """A label map with its names, and a scan of it."""
    folder.mkdir(parents=True)
    grid = ImageGrid.axis_aligned(SIZE, (SPACING,) * 3)
    array = organ_array()
    sitk.WriteImage(grid.to_image(array), str(folder / "labels.nii.gz"))
    (folder / "meta.json").write_text(json.dumps({"labels": {str(k): v for k, v in NAMES.items()}}))
    if with_image:
        image = np.full(array.shape, -1000.0, np.float32)
        image[:, 3:-2, 3:-3] = -90.0
        image[array > 0] = 60.0 + array[array > 0]
        sitk.WriteImage(grid.to_image(image), str(folder / "image.nii.gz"))
    return folder


def phase(name: str, groups: dict[str, float], only: tuple[str, ...] = ()) -> PhaseEntry:
    """A phase of two steps."""
    return PhaseEntry(name=name, steps=2, learning_rate=0.01, groups=groups, only=only)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OrganConfig:
    """Two scans, one label map, one head; no livers alone, which need whole ones (see the synthesis tests)."""
    monkeypatch.setattr("training.organs.config.liver_sources", lambda *_: [])
    known = ("liver", "spleen", "right kidney", "left kidney")
    scans = tuple(
        ScanEntry(folder=str(write_case(tmp_path / name, with_image=True)), known=known) for name in ("one", "two")
    )
    (tmp_path / "livers.txt").write_text("")
    return OrganConfig(
        name="small-organs",
        title="Organs of a test",
        purpose="tests",
        license="Apache-2.0",
        citation="",
        training_data=("made up",),
        size=(16, 16, 16),
        spacing_mm=SPACING,
        channels=(Channel("window", -160, 240),),
        filters=(4, 8),
        scans=scans,
        organ_maps=(str(write_case(tmp_path / "map", with_image=False)),),
        liver_folder=str(tmp_path),
        livers=str(tmp_path / "livers.txt"),
        heads=str(write_case(tmp_path / "heads" / "head", with_image=False).parent),
        phases=(
            PhaseEntry(
                name="first", steps=2, learning_rate=0.01, groups={"organ maps": 0.8, "others": 0.2}, only=("x",)
            ),
            PhaseEntry(name="last", steps=2, learning_rate=0.01, groups={"scans": 1.0}),
        ),
    )


def test_from_label_maps_to_a_model_that_loads(
    config: OrganConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    weights = train(config, runs)
    assert weights == folder_of(runs, config, "") / "last.safetensors"
    left_out = train(config, runs, "one")
    # The first phase saw no scan with labels, so that it is shared.
    assert not (left_out.parent / "first.safetensors").exists()
    rows = list(measure(config, runs))
    assert {row["weights"] for row in rows if row["scan"] == "one"} == {"never saw this scan"}
    # Its second phase saw the other scan, its first one did not.
    assert {row["weights"] for row in rows if row["scan"] == "two"} == {"phase first, which never saw this scan"}
    (weights.parent / "first.safetensors").unlink()
    seen = {row["weights"] for row in measure(config, runs) if row["scan"] == "two"}
    assert seen == {"trained on this scan"}
    published = publish(config, runs, tmp_path / "models" / FOLDER)
    monkeypatch.setenv("DEEPLARGEDEFORMREG_MODELS", str(tmp_path / "models"))
    assert load_segmentation("small-organs").card == published
    assert len(published.figures) == len(rows)


def test_a_sample_is_the_same_each_time(config: OrganConfig, tmp_path: Path) -> None:
    sources = [kept_on_disk(one, tmp_path / "kept", 0) for one in patient_sources(config, Path())]
    grid = ImageGrid.axis_aligned(config.size, (SPACING,) * 3)
    samples = OrganSamples(sources, {"scans": 0.5, "organ maps": 0.4, "others": 0.1}, {}, grid, 6, seed=3)
    for number in range(3):
        image, shares, known = samples[number]
        again = samples[number]  # the second time from the files of the first
        assert torch.equal(image, again[0])
        assert torch.equal(shares, again[1])
        assert shares.sum(dim=0).allclose(torch.ones(8, 8, 8))
        assert bool(known[0])


def test_a_painted_patient_has_the_organs_where_the_map_has_them(config: OrganConfig) -> None:
    patient = organ_map_source(Path(config.organ_maps[0]), SPACING).make(Draw(1)).patient
    volume = float((patient.labels == CLASS["liver"]).sum()) * patient.grid.voxel_volume
    # Nearest-neighbor sampling of 384 voxels onto another lattice of the same spacing.
    assert volume == pytest.approx((organ_array() == 5).sum() * SPACING**3, rel=0.25)


def test_a_class_that_is_not_known_counts_neither_way() -> None:
    shares = torch.zeros(1, 3, 4, 4, 4)
    shares[:, 1, :2] = 1.0
    shares[:, 0, 2:] = 1.0
    known = torch.tensor([[True, True, False]])
    right = torch.where(shares > 0, 8.0, -8.0)
    other = right.clone()
    other[:, 2, 2:] = 20.0  # says "the third class" where nothing is labelled
    assert float(segmentation_loss(right, shares, known)) < 0.01
    assert float(segmentation_loss(other, shares, known)) < 0.01
    assert float(segmentation_loss(other, shares, torch.ones_like(known))) > 1.0


@pytest.mark.parametrize(
    ("name", "organ"),
    [
        ("kidney right", "right kidney"),
        ("left kidney", "left kidney"),
        ("segment 4", "liver"),
        ("rib left 7", "bone"),
        ("lung lower lobe left", "lungs"),
        ("kidney cyst left", ""),
        ("pancreas", ""),
    ],
)
def test_names_of_many_sources_are_understood(name: str, organ: str) -> None:
    assert organ_of(name) == CLASS.get(organ, 0)


def test_the_shipped_configuration_reads_and_an_unknown_one_is_refused() -> None:
    config = load_config("abdomen-ct-organs")
    assert [phase.name for phase in config.phases] == ["painted", "real"]
    with pytest.raises(BadInputError, match="abdomen-ct-organs"):
        load_config("no-such-organs")
