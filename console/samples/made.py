"""A payload written as files of its kind, as a sender would send it: a family's example for the inbox."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

from models.payloads import (
    Expression,
    Image,
    Molecules,
    Note,
    Payload,
    Recording,
    Sequences,
    Table,
    Variants,
    Volume,
)

STEPS_PER_MV = 1000  #: of a WFDB record
LOWEST, HIGHEST = -(2**15) + 1, 2**15 - 1  # format 16 means "no sample" by what is below
VCF_COLUMNS = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", "SAMPLE")
Files = dict[str, bytes]


def files(payload: Payload, name: str) -> Files:
    """The payload as files by their names, all of one invented patient's one encounter.

    name: what the files are called by; the patient's number and the encounter's are made of it.
    """
    patient, writers = f"DEMO-{name.upper()}", _writers()
    if isinstance(payload, Image | Volume):
        return _dicom(payload, name, patient)
    found: Files = writers[type(payload)](payload, name)
    return {f"patient={patient}/encounter={patient}-1/{path}": data for path, data in found.items()}


def _writers() -> Mapping[type, Callable[[Any, str], Files]]:
    return {
        Note: lambda note, name: {f"{name}.txt": note.text.encode()},
        Table: _table,
        Variants: _variants,
        Expression: _expression,
        Sequences: _sequences,
        Recording: _recording,
        Molecules: lambda found, name: {f"{name}.smi": _lines(found.smiles)},
    }


def _table(table: Table, name: str) -> Files:
    return {f"{name}.csv": row({**table.values, **table.genotype})}


def _variants(found: Variants, name: str) -> Files:
    """Star alleles as a table; calls as a VCF."""
    made = {f"{name}.csv": row(found.diplotypes)} if found.diplotypes else {}
    if found.calls:
        head = ["##fileformat=VCFv4.2", *([f"##reference={found.assembly}"] if found.assembly else [])]
        rows = ["\t".join(VCF_COLUMNS)]
        for call in found.calls:
            sign = "|" if call.phased else "/"
            genotype = sign.join("." if allele < 0 else str(allele) for allele in call.alleles)
            place = (call.chromosome, str(call.position), call.rsid or ".", call.reference)
            passed = "PASS" if call.passed else "low"
            rows.append(
                "\t".join((*place, ",".join(call.alternates) or ".", ".", passed, ".", "GT", genotype))
            )
        made[f"{name}.vcf"] = _lines([*head, *rows])
    return made


def _expression(found: Expression, name: str) -> Files:
    return {f"{name}.csv": row(dict(zip(found.genes, found.values.tolist(), strict=True)))}


def _sequences(found: Sequences, name: str) -> Files:
    return {f"{name}.fasta": _lines(f">invented {n}\n{r}" for n, r in enumerate(found.records, 1))}


def _recording(ecg: Recording, name: str) -> Files:
    """A WFDB record of format 16."""
    steps = np.rint(np.nan_to_num(ecg.signals) * STEPS_PER_MV).clip(LOWEST, HIGHEST).astype("<i2")
    lines = [f"{name} {len(steps)} {ecg.rate_hz:g} {steps.shape[1]}"]
    for lead, row in zip(ecg.leads, steps, strict=True):
        total = int(row.astype(np.int64).sum()) & 0xFFFF
        checksum = total - 0x10000 if total > 0x7FFF else total
        lines.append(f"{name}.dat 16 {STEPS_PER_MV}/mV 16 0 {row[0]} {checksum} 0 {lead}")
    return {f"{name}.hea": _lines(lines), f"{name}.dat": steps.T.tobytes()}


def row(values: Mapping[str, object]) -> bytes:
    """One patient's values as a CSV of a header and a row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([list(values), list(values.values())])
    return out.getvalue().encode()


def _lines(lines: Iterable[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def as_json(records: Sequence[Mapping[str, object]]) -> bytes:
    """Several patients' values as one JSON list."""
    return json.dumps(records, indent=1).encode()


# ── DICOM ─────────────────────────────────────────────────────────────────────────────────────────


def _dicom(payload: Image | Volume, name: str, patient: str) -> Files:
    if isinstance(payload, Image):
        return {f"{name}.dcm": film(np.rint(payload.pixels * 255).astype(np.uint8), patient)}
    return {f"{name}/{n}.dcm": data for n, data in enumerate(slices(payload, patient), 1)}


def film(pixels: NDArray[np.uint8], patient: str, accession: str = "") -> bytes:
    """A frontal chest radiograph as a DX object around 8-bit grey pixels (rows, columns)."""
    found = _object(DigitalXRayImageStorageForPresentation, patient, "instance")
    found.Modality, found.BodyPartExamined, found.ViewPosition = "DX", "CHEST", "PA"
    found.AccessionNumber = accession
    return _written(found, pixels, bits=8)


def slices(volume: Volume, patient: str) -> list[bytes]:
    """A volume's slices as the MR objects of one series, which says how many it has."""
    step, down, along = (volume.affine[:3, axis] for axis in range(3))
    made = []
    for index, values in enumerate(volume.voxels):
        found = _object(MRImageStorage, patient, str(index))
        found.Modality, found.AccessionNumber, found.FrameOfReferenceUID = "MR", "", found.StudyInstanceUID
        found.InstanceNumber, found.NumberOfSeriesRelatedInstances = index + 1, len(volume.voxels)
        found.ScanningSequence, found.SequenceVariant, found.MRAcquisitionType = "GR", "SP", "3D"
        found.PixelSpacing = [f"{mm:g}" for mm in volume.spacing_mm[1:]]
        found.SliceThickness = f"{volume.spacing_mm[0]:g}"
        directions = [*(along / np.linalg.norm(along)), *(down / np.linalg.norm(down))]
        found.ImageOrientationPatient = [f"{part:.6g}" for part in directions]
        found.ImagePositionPatient = [f"{mm:.6g}" for mm in volume.affine[:3, 3] + index * step]
        made.append(_written(found, np.rint(values).astype("<u2"), bits=16))
    return made


def _object(sop_class: UID, patient: str, instance: str) -> Dataset:
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = sop_class
    uids = [generate_uid(entropy_srcs=[patient, part]) for part in ("study", "series", instance)]
    found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID = uids
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    found.PatientID, found.PatientName, found.PatientBirthDate = patient, "Demo^Invented", ""
    return found


def _written(found: Dataset, pixels: NDArray[Any], *, bits: int) -> bytes:
    found.Rows, found.Columns = pixels.shape
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BurnedInAnnotation = "NO"
    found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = bits, bits, bits - 1, 0
    found.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    out = io.BytesIO()
    found.save_as(out, enforce_file_format=True)
    return out.getvalue()
