"""Small DICOM series as a scanner writes them, with all that other objects refer to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from DeepLargeDeformRegLib.core.geometry import ImageGrid

PATIENT = "Müller^Jürgen"  # in ISO_IR 100, as archives of Western Europe have it


def write_series(folder: Path, voxels: npt.NDArray[np.int16], grid: ImageGrid, **tags: Any) -> dict[str, Path]:
    """Write a CT series, one file a slice, in files whose names do not tell their order; the files by their UID.

    Args:
        folder: made.
        voxels: ``(D, H, W)``, Hounsfield units.
        grid: where they are.
        tags: of all files, by keyword; None leaves one out that would be there.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True)
    shared: dict[str, Any] = {
        **{"SpecificCharacterSet": "ISO_IR 100", "PatientName": PATIENT, "PatientID": "4711", "PatientSex": "M"},
        **{"PatientBirthDate": "19500101", "StudyInstanceUID": generate_uid(), "StudyDate": "20260102"},
        **{"StudyTime": "101112", "AccessionNumber": "17", "StudyID": "1", "ReferringPhysicianName": ""},
        **{"SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid(), "Modality": "CT"},
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        **{"RescaleSlope": 1, "RescaleIntercept": -1000, "SamplesPerPixel": 1, "BitsAllocated": 16, "BitsStored": 16},
        **{"HighBit": 15, "PixelRepresentation": 1, "PhotometricInterpretation": "MONOCHROME2"},
    }
    axes, files = grid.direction_matrix, {}
    for index, plane in enumerate(voxels):
        data = Dataset()
        for keyword, value in (shared | tags).items():
            if value is not None:
                setattr(data, keyword, value)
        data.SOPClassUID, data.SOPInstanceUID, data.InstanceNumber = CTImageStorage, generate_uid(), index + 1
        data.ImagePositionPatient = [f"{value:.6f}" for value in grid.to_physical((0.0, 0.0, float(index)))]
        data.ImageOrientationPatient = [f"{value:.10f}" for value in (*axes[:, 0], *axes[:, 1])]
        data.PixelSpacing, data.SliceThickness = [grid.spacing[1], grid.spacing[0]], grid.spacing[2]
        data.Rows, data.Columns = plane.shape
        data.PixelData = (plane + 1000).astype("<i2").tobytes()
        data["PixelData"].VR = "OW"
        data.file_meta = FileMetaDataset()
        data.file_meta.MediaStorageSOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{index * 7 % 997:03d}.dcm"
        data.save_as(path, enforce_file_format=True)
        files[str(data.SOPInstanceUID)] = path
    return files
