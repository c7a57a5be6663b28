"""Makers of small valid inputs: DICOM objects in any transfer syntax, notes, and trees of files."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Collection, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit, RLELossless

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG = str(JPEGBaseline8Bit)
RLE = str(RLELossless)
SYNTAXES = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN, RLE, JPEG)

SOP_CLASSES = {
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "OT": "1.2.840.10008.5.1.4.1.1.7",
}
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
ROOT = "1.2.826.0.1.3680043.10.1"  # under pydicom's root

_serial = itertools.count(1)


def new_uid() -> str:
    """A UID that no other call in this process gives."""
    return f"{ROOT}.{next(_serial)}"


def dicom_bytes(
    *,
    rows: int = 8,
    columns: int = 8,
    modality: str = "DX",
    patient_id: str = "P-1",
    issuer: str = "",
    name: str = "Canary^Clara",
    birth_date: str = "19500102",
    accession: str = "",
    study_uid: str = f"{ROOT}.100",
    series_uid: str = f"{ROOT}.100.1",
    sop_uid: str = "",
    photometric: str = "MONOCHROME2",
    bits: int = 8,
    pixels: NDArray[Any] | None = None,
    transfer_syntax: str = EXPLICIT,
    body_part: str = "CHEST",
    view: str = "PA",
    drop: Collection[str] = (),
    **extra: Any,
) -> bytes:
    """A DX, CR, CT, MR or secondary capture image as a DICOM file.

    pixels: stored values, shape (rows, columns), (rows, columns, 3) or (frames, rows, columns) with
        NumberOfFrames among the extras; their shape goes before `rows` and `columns`. Default: a gradient.
    drop: keywords to leave out in the end; extra: keyword=value, set last.
    """
    if pixels is None:
        pixels = np.linspace(0, 2**bits - 1, rows * columns).reshape(rows, columns)
        pixels = pixels.astype(np.uint8 if bits <= 8 else np.uint16)
    sop_uid = sop_uid or new_uid()
    ds = _file(SOP_CLASSES.get(modality, SOP_CLASSES["OT"]), sop_uid, transfer_syntax)
    ds.Modality = modality
    _patient(ds, patient_id, issuer, name, birth_date)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, series_uid
    ds.AccessionNumber = accession
    ds.BodyPartExamined, ds.ViewPosition = body_part, view
    ds.InstanceNumber, ds.SeriesNumber = 1, 1
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.PixelSpacing = [0.2, 0.2]
    ds.BurnedInAnnotation = "NO"
    if photometric in ("MONOCHROME1", "MONOCHROME2"):
        ds.PresentationLUTShape = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
    _pixels(ds, pixels, photometric, bits)
    for keyword, value in extra.items():
        setattr(ds, keyword, value)
    for keyword in drop:
        delattr(ds, keyword)
    return _written(ds)


def film_dicom(pixels: NDArray[Any], **more: Any) -> bytes:
    """A chest film of 12 bits from floats in 0..1, bright where tissue is dense; `more` as in dicom_bytes."""
    stored = np.rint(np.clip(pixels, 0, 1) * 4095).astype(np.uint16)
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    return dicom_bytes(**{"bits": 12, "pixels": stored, **window, **more})


def report_dicom(text: str = "No pneumothorax.", **identity: str) -> bytes:
    """A Basic Text SR: a DICOM object without pixels."""
    ds = _file(BASIC_TEXT_SR, new_uid(), EXPLICIT)
    ds.Modality = "SR"
    _patient(ds, identity.get("patient_id", "P-1"), "", identity.get("name", "Canary^Clara"), "19500102")
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{ROOT}.100", f"{ROOT}.100.2"
    ds.InstanceNumber, ds.SeriesNumber = 1, 2
    ds.ValueType, ds.CompletionFlag, ds.VerificationFlag = "CONTAINER", "COMPLETE", "UNVERIFIED"
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", text
    ds.ContentSequence = [item]
    return _written(ds)


def note_bytes(text: str, **header: str) -> bytes:
    """A UTF-8 note; each keyword becomes a header line: `patient_id="7"` is `Patient-ID: 7`."""
    lines = "".join(f"{key.replace('_', '-').title()}: {value}\n" for key, value in header.items())
    lines = lines.replace("-Id:", "-ID:").replace("Mrn:", "MRN:")
    return f"{lines}\n{text}".encode() if lines else text.encode()


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of these files."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def write_tree(root: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Writes each file under the root, making folders as needed; the paths, in order."""
    paths = [root / name for name in files]
    for path, data in zip(paths, files.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return paths


def _file(sop_class: str, sop_uid: str, transfer_syntax: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(sop_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = UID(f"{ROOT}.0")
    encoding = {
        "is_implicit_VR": transfer_syntax == IMPLICIT,
        "is_little_endian": transfer_syntax != BIG_ENDIAN,
    }
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128), **encoding)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, sop_uid
    ds.StudyDate, ds.StudyTime = "20240102", "030405"
    return ds


def _patient(ds: Dataset, number: str, issuer: str, name: str, birth_date: str) -> None:
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = number, name, birth_date, "O"
    if issuer:
        ds.IssuerOfPatientID = issuer


def _pixels(ds: FileDataset, pixels: NDArray[Any], photometric: str, bits: int) -> None:
    samples = 3 if pixels.shape[-1] == 3 and photometric in ("RGB", "YBR_FULL") else 1
    frames = pixels.reshape(-1, *pixels.shape[-3 if samples == 3 else -2 :])
    ds.Rows, ds.Columns = frames.shape[1:3]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = samples, photometric
    if samples == 3:
        ds.PlanarConfiguration = 0
    if len(frames) > 1:
        ds.NumberOfFrames = len(frames)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = pixels.dtype.itemsize * 8, bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax == JPEG:
        ds.PixelData = encapsulate([_jpeg(frame) for frame in frames])
        ds["PixelData"].is_undefined_length = True
        ds["PixelData"].VR = "OB"
        ds.LossyImageCompression = "01"
    elif syntax == RLE:
        ds.PixelData = pixels.tobytes()
        ds.compress(RLELossless, pixels, generate_instance_uid=False)
    else:
        stored = pixels.astype(pixels.dtype.newbyteorder(">")) if syntax == BIG_ENDIAN else pixels
        data = stored.tobytes()
        ds.PixelData = data + b"\0" * (len(data) % 2)
        ds["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"


def _jpeg(frame: NDArray[Any]) -> bytes:
    out = BytesIO()
    Picture.fromarray(frame).save(out, "JPEG", quality=95)
    return out.getvalue()


def _written(ds: FileDataset) -> bytes:
    out = BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()
