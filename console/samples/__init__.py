"""Sample cases for a first look: synthetic films, invented notes, pydicom's own files, and broken ones."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
FILMS = Path(__file__).parents[2] / "models" / "chest_xray" / "example"
FROM_PYDICOM = ("CT_small.dcm", "MR_small.dcm", "reportsi.dcm", "MR_truncated.dcm")


def write(folder: Path) -> int:
    """Writes every sample below a folder; returns how many."""
    files: dict[str, bytes] = {
        f"films/{path.stem}.dcm": film(_grey(path), f"DEMO-{path.stem}")
        for path in sorted(FILMS.glob("*.png"))
    }
    files |= {f"notes/{path.name}": path.read_bytes() for path in sorted(HERE.glob("*.txt"))}
    files |= {f"other/{name}": _pydicom(name) for name in FROM_PYDICOM}
    files["other/letter.dcm"] = b"Not a DICOM file, though it is named as one.\n"
    for name, data in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return len(files)


def film(pixels: NDArray[np.uint8], patient: str) -> bytes:
    """A frontal chest radiograph as a DX object around 8-bit grey pixels (rows, columns)."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    uids = [generate_uid(entropy_srcs=[patient, part]) for part in ("study", "series", "instance")]
    found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID = uids
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    found.PatientID, found.PatientName, found.PatientBirthDate = patient, "Demo^Film", ""
    found.Modality, found.BodyPartExamined, found.ViewPosition = "DX", "CHEST", "PA"
    found.AccessionNumber, found.BurnedInAnnotation = "", "NO"
    found.Rows, found.Columns = pixels.shape
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = 8, 8, 7, 0
    found.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    out = io.BytesIO()
    found.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _grey(path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))


def _pydicom(name: str) -> bytes:
    """A file of pydicom's own wheel."""
    import pydicom

    return (Path(pydicom.__file__).parent / "data" / "test_files" / name).read_bytes()
