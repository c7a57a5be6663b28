"""One DICOM element at a time, as the plain value that it should be, or as nothing when it is not."""

from __future__ import annotations

import math
import re
from functools import cache, lru_cache
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

# VRs whose values follow from their bytes and byte order alone: no character set, no other element
_PLAIN = frozenset(("AS", "CS", "DA", "DS", "FD", "IS", "SL", "SS", "UI", "UL", "US"))
_SHORT = 128  #: bytes of a value that is remembered
_PATIENT = 0x0010  #: group of what is the patient's, of which nothing is remembered

_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")  # VR CS, PS3.5 table 6.2-1


def tags(*keywords: str) -> frozenset[int]:
    """The tags of these elements, and of the character set that their text is in."""
    return frozenset(tag for word in (*keywords, "SpecificCharacterSet") if (tag := tag_for_keyword(word)))


def value(ds: Dataset, keyword: str) -> Any:
    """The element's value; None when it is absent, empty or cannot be converted.

    A wrong VR or an impossible value must not cost the whole object; whoever needs it finds it absent.
    """
    try:
        found = _found(ds, keyword)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises anything on a malformed value, and quotes it
        return None
    return None if isinstance(found, str | bytes | list) and not found else found


def _found(ds: Dataset, keyword: str) -> Any:
    """The element's value as pydicom converts it; None when it is absent."""
    tag = _tag(keyword)
    element = None if tag is None else ds.get_item(tag, keep_deferred=True)
    if tag is None or element is None:
        return None
    if isinstance(element, RawDataElement) and tag.group != _PATIENT and element.value is not None:
        vr = element.VR or dictionary_VR(tag)
        if vr in _PLAIN and len(element.value) <= _SHORT:
            return _converted(tag, vr, element.value, element.is_little_endian)
    return ds[tag].value


@cache
def _tag(keyword: str) -> BaseTag | None:
    tag = tag_for_keyword(keyword)
    return None if tag is None else BaseTag(tag)


@lru_cache(4096)
def _converted(tag: BaseTag, vr: str, data: bytes, little: bool) -> Any:
    """What bytes say; remembered, since a series' slices say nearly the same and pydicom takes 10 us each."""
    raw = RawDataElement(tag, vr, len(data), data, 0, False, little, True)
    return convert_raw_data_element(raw).value


def text(ds: Dataset, keyword: str) -> str:
    """The (first) value as text without padding; "" when there is none."""
    found = value(ds, keyword)
    if isinstance(found, MultiValue | list):
        found = found[0] if found else None
    if found is None or isinstance(found, bytes | Dataset):
        return ""
    return str(found).strip(" \0\t\r\n")


def code_strings(ds: Dataset, keyword: str) -> list[str]:
    """The values of an element of VR CS; those that are no code string are left out."""
    found = value(ds, keyword)
    parts = found if isinstance(found, MultiValue | list) else [found]
    words = [str(part).strip(" \0").upper() for part in parts if isinstance(part, str)]
    return [word for word in words if _CODE_STRING.fullmatch(word)]


def code_string(ds: Dataset, keyword: str) -> str:
    """The first value of an element of VR CS, upper case; "" when there is none."""
    return next(iter(code_strings(ds, keyword)), "")


def numbers(ds: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers, or None."""
    found = value(ds, keyword)
    parts = list(found) if isinstance(found, MultiValue | list | tuple) else [found]
    try:
        plain = tuple(float(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        return None
    return plain if len(plain) == count and all(map(math.isfinite, plain)) else None


def number(ds: Dataset, keyword: str) -> float | None:
    """The first value as a finite number, or None."""
    found = value(ds, keyword)
    if isinstance(found, MultiValue | list):
        found = found[0] if found else None
    try:
        plain = float(found) if found is not None else None
    except (TypeError, ValueError, OverflowError):
        return None
    return plain if plain is not None and math.isfinite(plain) else None


def integer(ds: Dataset, keyword: str) -> int | None:
    """The first value as a whole number, or None."""
    plain = number(ds, keyword)
    return int(plain) if plain is not None and plain.is_integer() and abs(plain) < 2**53 else None


def first_item(ds: Dataset, keyword: str) -> Dataset | None:
    """The first item of a sequence, or None."""
    found = value(ds, keyword)
    try:
        item = found[0] if found else None
    except (TypeError, IndexError, KeyError):
        return None
    return item if isinstance(item, Dataset) else None


def spacing_mm(ds: Dataset) -> tuple[float, float] | None:
    """(row, column) spacing in mm: PixelSpacing, else ImagerPixelSpacing, at the detector (PS3.3 10.7)."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        pair = numbers(ds, keyword, 2)
        if pair and pair[0] > 0 and pair[1] > 0:
            return pair[0], pair[1]
    return None


def functional_group(ds: Dataset, own: Dataset | None, keyword: str) -> Dataset | None:
    """A functional group of this frame's `own`, else the one shared by all (PS3.3 C.7.6.16)."""
    for groups in (own, first_item(ds, "SharedFunctionalGroupsSequence")):
        if groups is not None and (found := first_item(groups, keyword)) is not None:
            return found
    return None
