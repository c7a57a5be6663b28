"""What the walk needs of the standard: value representations, and what each kind of object must end with."""

from __future__ import annotations

import re
import struct

from pydicom.config import IGNORE
from pydicom.uid import UID

UNDEFINED = 0xFFFFFFFF  #: length of what ends with a delimiter
DICOMDIR = "1.2.840.10008.1.3.10"

# PS3.5 table 6.2-1 and 7.1.2: these VRs have two reserved bytes and a 32-bit length
LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())

# Where objects without pixels end at the earliest: a required (or the only meaningful) last module.
_LAST: tuple[tuple[str, int], ...] = (
    ("1.2.840.10008.5.1.4.1.1.88.", 0x0040A730),  # structured reports: ContentSequence
    ("1.2.840.10008.5.1.4.1.1.11.", 0x00700082),  # presentation states: PresentationCreationDate
    ("1.2.840.10008.5.1.4.1.1.481.3", 0x30060080),  # RT structure set: RTROIObservationsSequence
    ("1.2.840.10008.5.1.4.1.1.481.2", 0x30040004),  # RT dose: DoseType, and then pixels if there are Rows
    ("1.2.840.10008.5.1.4.1.1.481.5", 0x300A0002),  # RT plan: RTPlanLabel
    ("1.2.840.10008.5.1.4.1.1.9.", 0x54000100),  # waveforms: WaveformSequence
    ("1.2.840.10008.5.1.4.1.1.104.", 0x00420011),  # encapsulated documents: EncapsulatedDocument
    ("1.2.840.10008.5.1.4.39.1", 0x00281203),  # colour palettes: BluePaletteColorLookupTableData
    (DICOMDIR, 0x00041220),  # DirectoryRecordSequence
)
_IMAGE = re.compile(r"Image Storage|(?<!Surface )Segmentation Storage|Parametric Map Storage")
_UID = re.compile(r"[0-9.]{1,64}")


def uid_name(uid: str) -> str:
    """The standard's name of a UID; "" for a private one, and for what is no UID."""
    if not _UID.fullmatch(uid):
        return ""
    name = UID(uid, IGNORE).name  # validation would warn, and quote it
    return "" if name == uid else name


def is_image_class(sop_class: str) -> bool:
    """Whether objects of this SOP class must have pixel data."""
    return _IMAGE.search(uid_name(sop_class)) is not None


def last_required(sop_class: str) -> int:
    """The tag that an object of a class without pixels reaches at least; 0 where none is known."""
    return next((last for prefix, last in _LAST if sop_class.startswith(prefix)), 0)


def plausible(head: bytes) -> bool:
    """Whether bytes without preamble begin like a DICOM data set: two elements of group 0002 or 0008."""
    for sign in "<>":
        following = _element_end(head, 0, sign)
        if following and (following + 8 > len(head) or _element_end(head, following, sign)):
            return True
    return False


def _element_end(head: bytes, start: int, sign: str) -> int:
    """Where the short element of group 0002 or 0008 that begins here would end; 0 when there is none."""
    if len(head) < start + 8:
        return 0
    group, element, length = struct.unpack_from(f"{sign}HHL", head, start)
    if group not in (2, 8) or element > 0x2000 or (group == 2 and element > 0x102):
        return 0
    vr, size = head[start + 4 : start + 6], 8
    if vr in SHORT_VRS:
        (length,) = struct.unpack_from(f"{sign}H", head, start + 6)
    elif vr in LONG_VRS and len(head) >= start + 12:
        (length,), size = struct.unpack_from(f"{sign}L", head, start + 8), 12
    elif length == UNDEFINED:
        return start + size  # an implicit sequence
    if length > 0x10000 or (element == 0 and length != 4):
        return 0
    return int(start + size + length)
