"""What a DICOM object's header says: whose it is, which it is, and the facts that are recorded of it."""

from __future__ import annotations

import math
import re

from pydicom.dataset import Dataset

from db.errors import Rejected
from db.records import Identity
from ingest.elements import code_string, code_strings, first_item, integer, numbers, spacing_mm, tags, text
from ingest.standard import uid_name
from ingest.structure import Structure
from ingest.terms import all_known, known

_UID = re.compile(r"[0-9][0-9.]{0,63}")

# Nothing else is parsed of a header: pydicom takes 40 microseconds for each item of each sequence it meets.
TAGS = tags(
    *("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("AccessionNumber", "IssuerOfAccessionNumberSequence"),
    *("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate"),
    *("Modality", "BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality", "ImageType"),
    *("InstanceNumber", "SeriesNumber", "NumberOfFrames", "Rows", "Columns"),
    *("BitsStored", "PhotometricInterpretation", "PixelSpacing", "ImagerPixelSpacing"),
    *("BurnedInAnnotation", "ImageOrientationPatient", "ImagePositionPatient"),
    *("AcquisitionNumber", "ImagesInAcquisition", "InConcatenationTotalNumber"),
    *("NumberOfSeriesRelatedInstances", "NumberOfStudyRelatedInstances", "NumberOfStudyRelatedSeries"),
    *("SamplesPerPixel", "BitsAllocated", "PixelRepresentation", "PlanarConfiguration"),
)


def uid(ds: Dataset, keyword: str) -> str:
    """A UID that the object cannot do without. Raises Rejected (`no-sop-instance-uid`, `bad-uid`)."""
    value = text(ds, keyword)
    if not value:
        raise Rejected(
            "no-sop-instance-uid",
            f"the object has no {keyword}",
            "Export it again as a DICOM file with its study, series and instance UIDs.",
        )
    if not _UID.fullmatch(value):
        raise Rejected("bad-uid", f"{keyword} is not a UID: up to 64 digits and dots", "Export it again.")
    return value


def accession(ds: Dataset) -> str:
    """The accession number, with its issuer (HL7 CX form) when the object names one."""
    number = text(ds, "AccessionNumber")
    issuer = first_item(ds, "IssuerOfAccessionNumberSequence")
    if not number or issuer is None:
        return number
    name = text(issuer, "LocalNamespaceEntityID") or text(issuer, "UniversalEntityID")
    return f"{number}^^^{name}" if name else number


def identity(ds: Dataset) -> Identity | None:
    """Whose the object is; None when it names nobody."""
    number, name = text(ds, "PatientID"), text(ds, "PatientName")
    if not number and not name:
        return None
    born = text(ds, "PatientBirthDate")
    return Identity(
        number=number,
        issuer=text(ds, "IssuerOfPatientID"),
        name=name,
        birth_date=born if re.fullmatch(r"[0-9]{8}", born) else "",
    )


def facts(ds: Dataset, structure: Structure) -> dict[str, str | int | float | bool | None]:
    """The standard's words, numbers and UIDs only: free text, and a code string too, may hold anything."""
    spacing = spacing_mm(ds)
    side = code_string(ds, "ImageLaterality") or code_string(ds, "Laterality")
    return {
        "modality": known("modality", code_string(ds, "Modality")),
        "sop_class_uid": structure.sop_class if _UID.fullmatch(structure.sop_class) else "",
        "sop_class_name": uid_name(structure.sop_class),
        "transfer_syntax_uid": structure.transfer_syntax if _UID.fullmatch(structure.transfer_syntax) else "",
        "rows": integer(ds, "Rows"),
        "columns": integer(ds, "Columns"),
        "frames": integer(ds, "NumberOfFrames") or (1 if structure.pixels else None),
        "bits_stored": integer(ds, "BitsStored"),
        "photometric": known("photometric", code_string(ds, "PhotometricInterpretation")),
        "body_part": known("body_part", code_string(ds, "BodyPartExamined")),
        "view_position": known("view_position", code_string(ds, "ViewPosition")),
        "laterality": known("laterality", side),
        "image_type": all_known("image_type", code_strings(ds, "ImageType")[:8]),
        "instance_number": integer(ds, "InstanceNumber"),
        "series_number": integer(ds, "SeriesNumber"),
        "acquisition_number": integer(ds, "AcquisitionNumber"),
        "images_in_acquisition": integer(ds, "ImagesInAcquisition"),
        "concatenation_total": integer(ds, "InConcatenationTotalNumber"),
        "series_instances": integer(ds, "NumberOfSeriesRelatedInstances"),
        "study_instances": integer(ds, "NumberOfStudyRelatedInstances"),
        "study_series": integer(ds, "NumberOfStudyRelatedSeries"),
        "pixel_spacing": f"{spacing[0]:g}\\{spacing[1]:g}" if spacing else None,  # mm: row, column
        **_place(ds),
        "burned_in": {"YES": True, "NO": False}.get(code_string(ds, "BurnedInAnnotation")),
        "has_pixels": bool(structure.pixels),
    }


def _place(ds: Dataset) -> dict[str, float | str | None]:
    """The plane a slice lies in, and how far along its normal, in mm (PS3.3 C.7.6.2.1.1)."""
    axes, position = numbers(ds, "ImageOrientationPatient", 6), numbers(ds, "ImagePositionPatient", 3)
    found: dict[str, float | str | None] = {
        "orientation": None, "slice_position_mm": None,
        "image_orientation": _joined(axes, 4),  # direction cosines of row and column
        "image_position": _joined(position, 3),  # mm: x, y, z of the first pixel's centre
    }  # fmt: skip
    if axes is None:
        return found
    (a, b, c), (d, e, f) = axes[:3], axes[3:]
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    largest = max(range(3), key=lambda axis: abs(normal[axis]))
    found["orientation"] = ("sagittal", "coronal", "transverse")[largest]
    if position is not None:
        along = sum(n * p for n, p in zip(normal, position, strict=True))
        found["slice_position_mm"] = round(along, 4) if math.isfinite(along) else None
    return found


def _joined(parts: tuple[float, ...] | None, digits: int) -> str | None:
    return None if parts is None else "\\".join(f"{round(part, digits) + 0.0:.10g}" for part in parts)
