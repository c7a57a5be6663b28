"""A segmentation's mask and the instances it was read from become a DICOM SEG object."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from db.errors import Misconfigured, Rejected
from db.records import Finding
from ingest.quiet import quiet
from models.card import ModelCard

SERIES_NUMBER = 9100  #: far from what modalities count up to

# Patient and study attributes of Type 2: they must be there, and may be empty (PS3.3 C.7.1.1, C.7.2.1)
_MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
)


def segmentation(
    instances: Sequence[bytes], mask: bytes, findings: Sequence[Finding], card: ModelCard
) -> bytes:
    """The mask as a binary DICOM SEG (PS3.3 A.51) of the series, as a file's bytes.

    instances: the DICOM files that the volume was made of, in any order.
    mask: the artifact that the findings name: labels aligned with that volume.
    findings: each that has one label of its own becomes a segment, outlined whether answered or left open.
    The same inputs give the same UIDs. Raises Misconfigured when no finding has a segment, Rejected when
    the instances make no volume or one of another size.
    """
    from models.hippocampus_mr.mask import read_mask

    parts = [f for f in findings if _labels(f) is not None]
    if not parts:
        raise Misconfigured("none of these findings has an outline; ask for a segmentation's result")
    sources, planes = _sources(instances, read_mask(mask))
    stacked = np.stack([planes == _labels(f) for f in parts], -1).astype(np.uint8)
    with quiet():
        return _written(sources, stacked, parts, card, hashlib.sha256(mask).hexdigest())


def _labels(finding: Finding) -> int | None:
    """The finding's own label in the mask; None where it has none, or shares."""
    labels = finding.evidence.get("labels")
    if finding.evidence.get("kind") != "segmentation" or not isinstance(labels, Sequence):
        return None
    return int(labels[0]) if len(labels) == 1 else None


def _sources(instances: Sequence[bytes], mask: NDArray[np.uint8]) -> tuple[list[Dataset], NDArray[np.uint8]]:
    """The headers and the mask's planes in step with them: a plane an instance, or a plane a frame of one."""
    from ingest.volume import ordered

    slices = ordered(instances)
    if mask.shape != (len(slices), *slices[0].values.shape):
        raise Rejected(
            "sizes-differ", f"the mask is {mask.shape}, the series {len(slices)} x {slices[0].values.shape}"
        )
    used = sorted({s.source[0] for s in slices})
    if len(used) == 1:  # one enhanced object: the planes go in the order of its frames
        order = np.argsort([s.source[1] for s in slices])
        return [_header(instances[used[0]])], mask[order]
    return [_header(instances[s.source[0]]) for s in slices], mask


def _header(data: bytes) -> Dataset:
    ds = dcmread(BytesIO(data), force=True, stop_before_pixels=True)
    for keyword in _MAY_BE_EMPTY:
        if keyword not in ds:
            setattr(ds, keyword, None)
    return ds


def _written(
    sources: list[Dataset], planes: NDArray[np.uint8], parts: list[Finding], card: ModelCard, digest: str
) -> bytes:
    import highdicom
    from pydicom.uid import ExplicitVRLittleEndian

    seed = f"{sources[0].SeriesInstanceUID} {card.name} {card.version} {card.weights_sha256} {digest}"
    made = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=planes,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(n, part, card) for n, part in enumerate(parts, 1)],
        series_instance_uid=_uid(f"series {seed}"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=_uid(f"instance {seed}"),
        instance_number=1,
        manufacturer="wetread",
        manufacturer_model_name=card.name,
        software_versions=card.version,
        device_serial_number=card.weights_sha256[:16],
        content_label="WETREAD",
        content_description="Preliminary outlines by a model; not a medical device",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=True,
    )
    made.SeriesDescription = f"{card.name} outlines (preliminary)"
    out = BytesIO()
    made.save_as(out)
    return out.getvalue()


def _segment(number: int, part: Finding, card: ModelCard) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    told: Mapping[str, Any] = part.evidence
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=card.name,
        family=codes.cid7162.ArtificialIntelligence,
        version=card.version,
        source="wetread",
        parameters={"weights_sha256": card.weights_sha256},
    )
    segment = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=(part.site or part.code.meaning)[:64],
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=highdicom.sr.CodedConcept(*told["structure"]),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    if told.get("modifier"):
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [highdicom.sr.CodedConcept(*told["modifier"])]
    amount = f"{told['measured_mm3']:g} mm3" if "measured_mm3" in told else "not measured"
    segment.SegmentDescription = f"{part.code.meaning}: {amount}; preliminary"
    return segment


def _uid(seed: str) -> str:
    """A UID of a name: PS3.5 B.2, a UUID's number under 2.25."""
    return f"2.25.{int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], 'big') >> 1}"
