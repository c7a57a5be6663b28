"""What a model is given: arrays with their units and frames, and text; never a patient's identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Image:
    """One 2-D frame as it would be displayed.

    pixels: shape (rows, columns), float32 in 0..1, after modality LUT, VOI LUT or window and
        inversion of MONOCHROME1 / Presentation LUT INVERSE, so that dense tissue is bright
        (PS3.3 C.7.6.3.1.2, C.11.1, C.11.2). Colour is reduced to luminance.
    spacing_mm: (row, column) pixel spacing at the detector or patient, None when the file has none.
    """

    pixels: NDArray[np.float32]
    modality: str  #: DICOM Modality, "" when absent
    body_part: str = ""  #: BodyPartExamined, upper case, "" when absent
    view_position: str = ""  #: ViewPosition, upper case: PA, AP, LL, RL, ...
    description: str = ""  #: view/projection words from coded sequences, upper case; no free text
    spacing_mm: tuple[float, float] | None = None
    burned_in: bool = False  #: BurnedInAnnotation is YES
    colour: bool = False  #: the stored channels truly differ
    frames: int = 1  #: NumberOfFrames of the object this frame came from
    bits_stored: int = 8


@dataclass(frozen=True, kw_only=True)
class Note:
    """One clinical note: the text as archived, without its header block."""

    text: str
    language: str = "en"


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A series of parallel slices of one frame of reference, in slice order.

    voxels: shape (slices, rows, columns), float32, after modality LUT alone (no window), so that the
        values keep the scanner's (or Hounsfield's) unit.
    affine: shape (4, 4): voxel index (slice, row, column, 1) to millimetres in the patient's frame of
        DICOM, x to the left, y to the back, z to the head (LPS; PS3.3 C.7.6.2.1.1).
    """

    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]
    modality: str  #: DICOM Modality, "" when absent
    spacing_mm: tuple[float, float, float]  #: between slices, rows, columns
    body_part: str = ""  #: BodyPartExamined, upper case, "" when absent
    even: bool = True  #: the slices are parallel and equally far apart


Value = float | str  #: a number in the feature's unit, or the name of a category


@dataclass(frozen=True, kw_only=True)
class Table:
    """One patient's values by the names of models/features.py; what is not known is not there.

    genotype: gene -> diplotype ("*1/*3"), or rsID -> alleles ("A/G"), where the table holds some or
        variants of the same case were joined to it.
    """

    values: Mapping[str, Value]
    genotype: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One position of a VCF with this person's alleles."""

    chromosome: str  #: "10", without `chr`
    position: int  #: 1-based, of `assembly`
    rsid: str  #: "rs1799853", "" when the file names none
    reference: str
    alternates: tuple[str, ...]
    alleles: tuple[int, ...]  #: 0 reference, 1 the first alternate, ..., -1 not called
    phased: bool = False
    passed: bool = True  #: FILTER is PASS or not given


@dataclass(frozen=True, kw_only=True)
class Variants:
    """One person's genotypes: calls of a VCF, or diplotypes given as star alleles; or both."""

    calls: tuple[Call, ...] = ()
    diplotypes: Mapping[str, str] = field(default_factory=dict)  #: gene -> "*1/*3"
    assembly: str = ""  #: "GRCh37", "GRCh38", "" when the file does not say


@dataclass(frozen=True, kw_only=True)
class Expression:
    """One sample's gene expressions. values: shape (genes,), float32, as the file has them."""

    genes: tuple[str, ...]
    values: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """The sequences of one file, upper case, in order; findings name them by their 1-based place."""

    records: tuple[str, ...]
    alphabet: str  #: "dna" or "protein"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """An ECG. signals: shape (leads, samples), float32, millivolts; NaN where the file holds no sample."""

    signals: NDArray[np.float32]
    rate_hz: float
    leads: tuple[str, ...]  #: "MLII", "V5", "I", ...


@dataclass(frozen=True, kw_only=True)
class Molecules:
    """The structures of one file as SMILES, in order; findings name them by their 1-based place."""

    smiles: tuple[str, ...]


Payload = Image | Volume | Note | Table | Variants | Expression | Sequences | Recording | Molecules
