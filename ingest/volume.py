"""The instances of a series become one volume: slices in the order of their places, values, millimetres."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from db.errors import Rejected
from ingest import display, frames
from ingest.elements import code_string, functional_group, integer, numbers, tags, text, value
from ingest.readers import dicom
from ingest.streams import too_large
from ingest.structure import Structure
from ingest.terms import known
from ingest.walk import PER_FRAME
from models.payloads import Volume

FEWEST = 3  #: slices that make a volume
FRAMES_LIMIT = 4096  #: of one multi-frame object
PARALLEL = 1e-3  #: by how much direction cosines of parallel slices may differ
EVEN = 0.02  #: share of the slice distance by which places may lie off the even ladder
_AGAIN = "Export the series again from its source."
_TAGS = dicom.IMAGE_TAGS | tags(
    "ImageOrientationPatient", "ImagePositionPatient", "FrameOfReferenceUID", "SOPInstanceUID"
)

Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One slice: what it measures, and where it lies in the patient (PS3.3 C.7.6.2.1.1)."""

    values: NDArray[np.float32]  #: (rows, columns), after the modality LUT
    position: Vector  #: mm, LPS, of the first pixel's centre
    along_row: Vector  #: direction cosines of a row, towards greater columns
    along_column: Vector  #: likewise of a column, towards greater rows
    spacing_mm: tuple[float, float]  #: between rows, between columns
    modality: str
    body_part: str
    frame_of_reference: str
    source: tuple[int, int]  #: place of the instance in what was given, and of the frame in it

    @property
    def normal(self) -> Vector:
        """Unit vector across the slice."""
        return np.cross(self.along_row, self.along_column)


def assemble(instances: Sequence[bytes]) -> Volume:
    """The instances of one series as a volume (see models.payloads.Volume), whatever order they come in.

    Raises Rejected: `too-few-slices`, `no-geometry`, `not-grey`, `mixed-modalities`, `mixed-sizes`,
    `mixed-spacings`, `mixed-orientations`, `mixed-frames-of-reference`, `repeated-positions`, `too-large`,
    and what ingest/readers/dicom.py refuses an instance for.
    """
    found = ordered(instances)
    places = np.stack([s.position for s in found])
    step = (places[-1] - places[0]) / (len(found) - 1)
    first = found[0]
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = first.along_column * first.spacing_mm[0]
    affine[:3, 2] = first.along_row * first.spacing_mm[1]
    affine[:3, 3] = first.position
    apart = float(step @ first.normal)
    ladder = places[0] + np.arange(len(found))[:, None] * step
    off = np.abs(places - ladder).max()
    lean = float(np.linalg.norm(step - apart * first.normal))
    return Volume(
        voxels=np.stack([s.values for s in found]),
        affine=affine,
        modality=first.modality,
        spacing_mm=(apart, *first.spacing_mm),
        body_part=first.body_part,
        even=bool(off <= EVEN * apart and lean <= EVEN * apart),
    )


def ordered(instances: Sequence[bytes]) -> list[Slice]:
    """Every slice of a series along the normal, lowest first. Raises Rejected, as `assemble` does."""
    found: list[Slice] = []
    total = 0
    for index, data in enumerate(instances):
        for one in _slices(data, index):
            total += one.values.nbytes
            if total > frames.DECODED_LIMIT:
                raise too_large(f"the slices together would take more than {frames.DECODED_LIMIT >> 20} MiB")
            found.append(one)
    if len(found) < FEWEST:
        raise Rejected(
            "too-few-slices", f"a volume takes at least {FEWEST} slices, there are {len(found)}", _AGAIN
        )
    _refuse_mixed(found)
    normal = found[0].normal
    found.sort(key=lambda s: float(s.position @ normal))
    along = np.array([float(s.position @ normal) for s in found])
    if (np.diff(along) < 1e-3).any():
        raise Rejected(
            "repeated-positions",
            "several slices lie in the same place",
            "Send each phase, echo or direction as a series of its own.",
        )
    return found


def _refuse_mixed(found: list[Slice]) -> None:
    first = found[0]
    axes = np.concatenate([first.along_row, first.along_column])
    for code, what, same in (
        ("mixed-modalities", "modalities", lambda s: s.modality == first.modality),
        ("mixed-sizes", "sizes", lambda s: s.values.shape == first.values.shape),
        (
            "mixed-spacings",
            "pixel spacings",
            lambda s: np.allclose(s.spacing_mm, first.spacing_mm, rtol=1e-3),
        ),
        (
            "mixed-orientations",
            "orientations",
            lambda s: np.abs(np.concatenate([s.along_row, s.along_column]) - axes).max() <= PARALLEL,
        ),
        (
            "mixed-frames-of-reference",
            "frames of reference",
            lambda s: s.frame_of_reference == first.frame_of_reference,
        ),
    ):
        if not all(same(s) for s in found):
            raise Rejected(code, f"the slices are of several {what}", _AGAIN)


# ── one instance ──────────────────────────────────────────────────────────────────────────────────


def _slices(data: bytes, index: int) -> Iterator[Slice]:
    """The slices of one instance, frame by frame."""
    structure, ds, _ = dicom.described(data, _TAGS)
    with dicom.guarded("the frames' description could not be understood"):
        groups = _groups(data, structure)
        count = max(integer(ds, "NumberOfFrames") or 1, 1)
        if count > FRAMES_LIMIT:
            raise too_large(f"one object has {count} frames")
        if "NumberOfFrames" in ds and integer(ds, "NumberOfFrames") != count:
            del ds["NumberOfFrames"]  # no number: the decoder would stumble over it
    for frame in range(count):
        with dicom.guarded("the pixel description could not be understood"):
            yield _slice(ds, groups[frame] if frame < len(groups) else None, (index, frame))


def _groups(data: bytes, structure: Structure) -> Sequence[Dataset]:
    """The functional groups of every frame of an enhanced object (PS3.3 C.7.6.16), else none."""
    if structure.frame_group is None:
        return ()
    whole = dcmread(BytesIO(data), force=True, stop_before_pixels=True, specific_tags=[PER_FRAME])
    return value(whole, "PerFrameFunctionalGroupsSequence") or ()


def _slice(ds: Dataset, own: Dataset | None, source: tuple[int, int]) -> Slice:
    # the geometry is asked for first: a scout or a report page costs no decoding
    axes = _numbers(ds, own, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    position = _numbers(ds, own, "PlanePositionSequence", "ImagePositionPatient", 3)
    spacing = _numbers(ds, own, "PixelMeasuresSequence", "PixelSpacing", 2)
    along_row, along_column = axes[:3], axes[3:]
    upright = abs(float(along_row @ along_column)) < 1e-2
    unit = np.allclose([np.linalg.norm(along_row), np.linalg.norm(along_column)], 1, atol=1e-2)
    if not (upright and unit) or (spacing <= 0).any():
        raise _no_geometry("an orientation that is no pair of directions, or a spacing that is not positive")
    return Slice(
        values=_values(ds, own, source[1]),
        position=position,
        along_row=along_row / np.linalg.norm(along_row),
        along_column=along_column / np.linalg.norm(along_column),
        spacing_mm=(float(spacing[0]), float(spacing[1])),
        modality=known("modality", code_string(ds, "Modality")),
        body_part=code_string(ds, "BodyPartExamined"),
        frame_of_reference=text(ds, "FrameOfReferenceUID"),
        source=source,
    )


def _values(ds: Dataset, own: Dataset | None, frame: int) -> NDArray[np.float32]:
    """A frame's values after the modality LUT alone."""
    stored: NDArray[Any] = frames.decode(ds, frame)
    if display.is_colour(ds, stored):
        raise Rejected("not-grey", "the slices are in colour; a volume holds one value a voxel", _AGAIN)
    cleaned, _ = display.clean(ds, stored)
    return np.ascontiguousarray(display.after_modality_lut(ds, cleaned, own), dtype=np.float32)


def _numbers(ds: Dataset, own: Dataset | None, group: str, keyword: str, count: int) -> Vector:
    """An element of this frame's or of the shared functional groups, else of the object itself."""
    within = functional_group(ds, own, group)
    found = (within is not None and numbers(within, keyword, count)) or numbers(ds, keyword, count)
    if not found:
        raise _no_geometry(f"no {keyword}")
    return np.array(found, np.float64)


def _no_geometry(what: str) -> Rejected:
    return Rejected(
        "no-geometry", f"a slice has {what}", "Send the original objects, with their place in the patient."
    )
