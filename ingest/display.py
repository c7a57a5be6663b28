"""A DICOM object's pixel data become one frame as it would be displayed."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi

from db.errors import Rejected
from ingest.elements import (
    code_string,
    first_item,
    functional_group,
    integer,
    number,
    spacing_mm,
    text,
    value,
)
from ingest.frames import decode
from ingest.terms import known
from models.payloads import Image

Pixels = NDArray[np.float32]

_SCHEMES = frozenset(("SCT", "SRT", "SNM3", "99SDM", "DCM", "RADLEX", "FMA"))  # 99SDM: SNOMED's former name
_WORDS = re.compile(r"[A-Z0-9 ,()/'-]{1,64}")


def image(ds: Dataset, own: Dataset | None) -> Image:
    """The middle frame of a data set with pixel data. Raises Rejected.

    own: the frame's own functional groups, where the object has such (PS3.3 C.7.6.16).
    """
    count = max(integer(ds, "NumberOfFrames") or 1, 1)
    if "NumberOfFrames" in ds and integer(ds, "NumberOfFrames") != count:
        del ds["NumberOfFrames"]  # no number: the decoder would stumble over it
    index = count // 2
    stored = decode(ds, index)
    bits = integer(ds, "BitsStored") or integer(ds, "BitsAllocated") or 8
    shown, colour = _coloured(ds, stored) if is_colour(ds, stored) else (_grey(ds, stored, own), False)
    return Image(
        pixels=np.ascontiguousarray(shown, dtype=np.float32),
        modality=known("modality", code_string(ds, "Modality")),
        body_part=code_string(ds, "BodyPartExamined"),
        view_position=code_string(ds, "ViewPosition"),
        description=_description(ds),
        spacing_mm=spacing_mm(ds) or _group_spacing(ds, own),
        burned_in=code_string(ds, "BurnedInAnnotation") == "YES",
        colour=colour,
        frames=count,
        bits_stored=bits,
    )


def _group_spacing(ds: Dataset, own: Dataset | None) -> tuple[float, float] | None:
    measures = functional_group(ds, own, "PixelMeasuresSequence")
    return spacing_mm(measures) if measures is not None else None


def _description(ds: Dataset) -> str:
    """The meanings of standard codes for anatomy and view; private codes may hold free text."""
    words = []
    for keyword in ("AnatomicRegionSequence", "ViewCodeSequence"):
        item = first_item(ds, keyword)
        if item is not None and text(item, "CodingSchemeDesignator").upper() in _SCHEMES:
            meaning = text(item, "CodeMeaning").upper()
            if text(item, "CodeValue") and _WORDS.fullmatch(meaning):
                words.append(meaning)
    return " ".join(words)


# ── grey ──────────────────────────────────────────────────────────────────────────────────────────


def _grey(ds: Dataset, stored: NDArray[Any], own: Dataset | None) -> Pixels:
    """Modality LUT, VOI LUT or window, presentation; 0..1, padding black (PS3.3 C.11.1, C.11.2)."""
    values, padding = clean(ds, stored)
    shown = _voi(ds, after_modality_lut(ds, values, own), padding, own)
    # PS3.3 C.7.6.3.1.2: MONOCHROME1, low values are bright; PresentationLUTShape INVERSE says it once more.
    photometric = code_string(ds, "PhotometricInterpretation")
    if photometric == "MONOCHROME1" or code_string(ds, "PresentationLUTShape") == "INVERSE":
        shown = np.float32(1) - shown
    if padding is not None:
        shown[padding] = 0
    return shown


def clean(ds: Dataset, stored: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The values with only their stored bits, and which of them are padding."""
    if stored.dtype.kind == "f":
        return stored, _padding(ds, stored, None)
    allocated = stored.dtype.itemsize * 8
    bits = integer(ds, "BitsStored") or allocated
    high = integer(ds, "HighBit")
    shift = (bits - 1 if high is None else high) - bits + 1
    if not 1 <= bits < allocated:
        return stored, _padding(ds, stored, None)
    if not 0 <= shift <= allocated - bits:
        shift = 0  # HighBit lies elsewhere than the bits it closes
    if shift == 0 and _fits(stored, bits):
        return stored, _padding(ds, stored, None)
    # overlays and private marks may sit in the bits that are not stored (PS3.5 8.1.1)
    cleaned = np.right_shift(np.left_shift(stored, allocated - bits - shift), allocated - bits)
    return cleaned, _padding(ds, stored, cleaned)


def _fits(stored: NDArray[Any], bits: int) -> bool:
    """Whether every value is one of so many bits: then nothing is in the others."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if stored.dtype.kind == "i" else (0, (1 << bits) - 1)
    return low <= int(stored.min()) and int(stored.max()) <= high


def _padding(ds: Dataset, stored: NDArray[Any], cleaned: NDArray[Any] | None) -> NDArray[np.bool_] | None:
    """Where PixelPaddingValue, or its range, stands (PS3.3 C.7.5.1.1.2)."""
    low = number(ds, "PixelPaddingValue")
    if low is None:
        return None
    high = number(ds, "PixelPaddingRangeLimit")
    low, high = min(low, low if high is None else high), max(low, low if high is None else high)
    found: NDArray[np.bool_] = np.zeros(stored.shape, dtype=bool)
    span = 0 if stored.dtype.kind == "f" else 1 << stored.dtype.itemsize * 8
    for array in (stored, cleaned):
        if array is not None:
            for offset in (0, span, -span):  # the value is written signed by some, unsigned by others
                found |= (array >= low + offset) & (array <= high + offset)
    return found if found.any() and not found.all() else None


def after_modality_lut(ds: Dataset, values: NDArray[Any], own: Dataset | None) -> Pixels:
    """Stored values become what they measure, CT numbers in HU."""
    if first_item(ds, "ModalityLUTSequence") is not None:
        return np.asarray(apply_modality_lut(values, ds), dtype=np.float32)
    source = functional_group(ds, own, "PixelValueTransformationSequence") or ds
    slope, intercept = number(source, "RescaleSlope"), number(source, "RescaleIntercept")
    measured = values.astype(np.float32)
    if slope:
        measured = measured * np.float32(slope) + np.float32(intercept or 0)
    return measured


def _voi(ds: Dataset, measured: Pixels, padding: NDArray[np.bool_] | None, own: Dataset | None) -> Pixels:
    """Contrast: the VOI LUT, else the first window, else the 0.5 to 99.5 percentile."""
    lut = first_item(ds, "VOILUTSequence")
    if lut is not None:
        shown = _voi_lut(ds, lut, measured)
        if shown is not None:
            return shown
    source = functional_group(ds, own, "FrameVOILUTSequence") or ds
    centre, width = number(source, "WindowCenter"), number(source, "WindowWidth")
    if centre is not None and width is not None and width > 0:
        return _window(measured, centre, width, code_string(source, "VOILUTFunction"))
    if integer(ds, "BitsStored") == 1:
        return measured.clip(0, 1)
    inside = measured if padding is None else measured[~padding]
    low, high = (float(v) for v in np.percentile(inside[np.isfinite(inside)], (0.5, 99.5)))
    if high <= low:
        low, high = float(np.nanmin(inside)), float(np.nanmax(inside))
    if not high > low:
        return np.zeros_like(measured)
    return _unit((measured - np.float32(low)) / np.float32(high - low))


def _voi_lut(ds: Dataset, lut: Dataset, measured: Pixels) -> Pixels | None:
    """The first VOI LUT applied, in 0..1; None when its descriptor is unusable."""
    descriptor = value(lut, "LUTDescriptor")
    if not descriptor or len(descriptor) != 3 or not 1 <= int(descriptor[2]) <= 16:
        return None
    shown = apply_voi(np.rint(measured).astype(np.int32), ds)
    return _unit(shown.astype(np.float32) / np.float32(2 ** int(descriptor[2]) - 1))


def _window(measured: Pixels, centre: float, width: float, function: str) -> Pixels:
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1, C.11.2.1.3.2, for an output range of 0..1."""
    if function == "SIGMOID":
        steps = np.clip(-4 * (measured - np.float32(centre)) / np.float32(width), -80, 80)
        return _unit(1 / (1 + np.exp(steps)))
    if function == "LINEAR_EXACT":
        return _unit((measured - np.float32(centre)) / np.float32(width) + np.float32(0.5))
    span = np.float32(max(width - 1, 1e-6))
    return _unit((measured - np.float32(centre - 0.5)) / span + np.float32(0.5))


def _unit(shown: Pixels) -> Pixels:
    return np.clip(np.nan_to_num(shown, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)


# ── colour ────────────────────────────────────────────────────────────────────────────────────────


def is_colour(ds: Dataset, stored: NDArray[Any]) -> bool:
    """Whether a frame's values are colours: of several samples, or of a palette."""
    return stored.ndim == 3 or code_string(ds, "PhotometricInterpretation") == "PALETTE COLOR"


def _coloured(ds: Dataset, stored: NDArray[Any]) -> tuple[Pixels, bool]:
    """Luminance in 0..1 (ITU-R BT.601), and whether the channels truly differ."""
    depth = integer(ds, "BitsStored") or stored.dtype.itemsize * 8
    if stored.ndim == 2:
        stored = apply_color_lut(clean(ds, stored)[0], ds)
        depth = stored.dtype.itemsize * 8
    if stored.shape[-1] != 3:
        raise Rejected("undecodable", "the image is neither grey nor of three colours", "Export it as RGB.")
    channels = _unit(stored.astype(np.float32) / np.float32(2**depth - 1))
    red, green, blue = (channels[..., i] for i in range(3))
    # lossy compression of a grey picture moves its channels apart by a few hundredths at most
    apart = max(float(np.abs(red - green).max()), float(np.abs(green - blue).max()))
    return np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue, apart > 0.04
