"""Writes invented films as DICOM files, each marked as synthetic in the header and for quality control."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.chest_xray_gan import CLASSES, HERE
from models.synthesis import wgan

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SIDE = 448  #: pixels of the films written: 16 times the generator's, smoothly enlarged
ROOT = "2.25."  #: UIDs made of random numbers need no registration (PS3.5 B.2)
MARK = "SYNTHETIC: invented by a generator, no person's film"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def synthesise(n: int, out: Path, *, seed: int = 0) -> list[Path]:
    """Writes n films `synthetic-<seed>-<number>.dcm`, normal and pneumonia in turn, and gives their paths.

    Secondary captures (nothing was radiographed), 8 bits, of the patient SYNTHETIC-<seed>-<number>, born
    of no one: QualityControlImage YES, ImageComments and SeriesDescription say synthetic. The same seed
    gives the same pixels and the same UIDs. Raises ValueError when n is less than 1.
    """
    if n < 1:
        raise ValueError(f"at least one film is to be made, got {n}")
    out.mkdir(parents=True, exist_ok=True)
    generator, _ = wgan.load(HERE)
    labels = np.arange(n, dtype=np.int64) % len(CLASSES)
    films = wgan.invent(generator, labels, seed)
    found = []
    for number, (film, label) in enumerate(zip(films, labels, strict=True)):
        name = f"synthetic-{seed}-{number + 1:04d}"
        path = out / f"{name}.dcm"
        dataset(enlarged(film), CLASSES[label], name, seed).save_as(path, enforce_file_format=True)
        found.append(path)
    return found


def enlarged(film: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(SIDE, SIDE) grey values of a film within -1..1, bicubically enlarged."""
    import PIL.Image

    small = PIL.Image.fromarray(np.round((film + 1) * 127.5).clip(0, 255).astype(np.uint8))
    return np.asarray(small.resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC), dtype=np.uint8)


def _uid(*words: object) -> str:
    """A UID under 2.25 that is the same for the same words."""
    import hashlib

    digest = hashlib.sha256("|".join(map(str, words)).encode()).digest()[:16]
    return ROOT + str(int.from_bytes(digest, "big"))


def dataset(pixels: NDArray[np.uint8], kind: str, name: str, seed: int) -> Dataset:
    """The film as a secondary capture (PS3.3 A.8.1), marked as synthetic."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.MediaStorageSOPClassUID = UID(SECONDARY_CAPTURE)
    file.file_meta.MediaStorageSOPInstanceUID = UID(_uid("instance", name, seed, pixels.tobytes().hex()))
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID
    file.StudyInstanceUID, file.SeriesInstanceUID = _uid("study", name, seed), _uid("series", name, seed)
    file.PatientID = name.upper()
    file.PatientName, file.PatientBirthDate, file.PatientSex = "SYNTHETIC^FILM", "", ""
    file.PatientComments = MARK
    file.StudyID, file.SeriesNumber, file.InstanceNumber = "1", 1, 1
    file.StudyDate = file.StudyTime = file.AccessionNumber = file.ReferringPhysicianName = ""
    file.Modality, file.ConversionType = "DX", "SYN"
    file.BodyPartExamined, file.ViewPosition, file.PatientOrientation = "CHEST", "AP", ["L", "F"]
    file.Manufacturer, file.SeriesDescription = "wetread", f"SYNTHETIC {kind}"
    file.ImageType = ["DERIVED", "SECONDARY", "SYNTHETIC"]
    file.ImageComments, file.QualityControlImage, file.BurnedInAnnotation = MARK, "YES", "NO"
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
    file.BitsAllocated, file.BitsStored, file.HighBit = 8, 8, 7
    file.PixelData = pixels.tobytes()
    return file
