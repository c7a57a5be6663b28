"""What a model is given: arrays with their units and frames, and text; never a patient's identity."""

from __future__ import annotations

from dataclasses import dataclass

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


Payload = Image | Note
