"""``python -m training.data.ixi FOLDER --output FOLDER``: the brains of IXI, as TransMorph has them, as images.

A pickle a subject holds its scan and its label map; they lie in folders ``Train``, ``Val`` and ``Test``, beside
``atlas.pkl`` (Chen et al., Medical Image Analysis 2022). Written are ``images`` and ``labels``, ``train.txt``,
``validation.txt`` and, with the atlas as the moving scan of every pair, ``test_pairs.csv``, as the reader
``image-label`` takes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from DeepLargeDeformRegLib.core.errors import BadInputError, RegistrationError
from DeepLargeDeformRegLib.core.files import write_label_map, write_volume
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, Volume
from rich.console import Console
from rich.progress import track

from .pickles import read_arrays
from .splits import write_names, write_pair_names

ATLAS = "atlas"
_SPLITS = {"Train": "train", "Val": "validation", "Test": "test"}
# Left, inferior, anterior: the axes in which FreeSurfer's arrays lie. The pickles themselves have no header.
_DIRECTION = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, -1.0, 0.0)

_console = Console(highlight=False)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with Train, Val, Test and atlas.pkl.")],
    output: Annotated[Path, typer.Option(help="Folder for images, labels and splits.")],
) -> None:
    """Write TransMorph's pickles of IXI as images; code in them is not run."""
    try:
        names = convert(folder, output)
        _console.print(", ".join(f"{len(found)} of {split}" for split, found in names.items()))
    except RegistrationError as error:
        _console.print(f"[red]{error.message}[/red]", soft_wrap=True)
        raise typer.Exit(error.exit_code) from error


def convert(folder: Path, output: Path) -> dict[str, list[str]]:
    """Convert all subjects; what is there already is kept.

    Returns:
        Names by split.

    Raises:
        BadInputError: if there are no pickles, or one holds anything but a scan and its label map.
        OutputError: if a file cannot be written.
    """
    files = {split: sorted((folder / source).glob("*.pkl")) for source, split in _SPLITS.items()}
    atlas = next((path for path in (folder / "atlas.pkl", folder / "Atlas" / "atlas.pkl") if path.is_file()), None)
    if not any(files.values()):
        raise BadInputError(f"{folder.name} has no pickles in Train, Val or Test; was it unpacked whole?")
    if files["test"] and atlas is None:
        raise BadInputError(f"{folder.name} has no atlas.pkl, which is the moving scan of every test pair.")
    for kind in ("images", "labels"):
        (output / kind).mkdir(parents=True, exist_ok=True)
    listed = [(path, path.stem) for paths in files.values() for path in paths]
    for path, name in track([*listed, *([(atlas, ATLAS)] if atlas else [])], "Converting", console=_console):
        _write(path, name, output)
    names = {split: [path.stem for path in paths] for split, paths in files.items() if paths}
    for split in ("train", "validation"):
        if split in names:
            write_names(names[split], output / f"{split}.txt", f"IXI as TransMorph divides it: {split}")
    if "test" in names:
        write_pair_names([(name, ATLAS) for name in names["test"]], output / "test_pairs.csv")
    return names


def _write(path: Path, name: str, output: Path) -> None:
    image, labels = (output / kind / f"{name}.nii.gz" for kind in ("images", "labels"))
    if image.exists() and labels.exists():
        return
    arrays = read_arrays(path)
    if len(arrays) != 2 or arrays[0].ndim != 3 or arrays[0].shape != arrays[1].shape:
        raise BadInputError(f"{path.name} does not hold a 3D scan and a label map of the same size.")
    scan, values = arrays[0].astype(np.float32), arrays[1]
    if not np.array_equal(values, np.rint(values)):
        raise BadInputError(f"The second array of {path.name} has values that are no labels.")
    # The pickles' axes are (x, y, z); ours are (z, y, x).
    grid = ImageGrid(scan.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), _DIRECTION)
    write_label_map(LabelMap(values.astype(np.int16).T, grid), labels)
    write_volume(Volume(scan.T, grid), image)


if __name__ == "__main__":
    typer.run(main)
