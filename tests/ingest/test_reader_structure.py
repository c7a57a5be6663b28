"""A truncated DICOM file is never whole, a complete one always is, and no bomb is inflated."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from builders import DEFLATED, EXPLICIT, IMPLICIT, JPEG, RLE, SYNTAXES, dicom_bytes, report_dicom
from db.errors import Rejected
from ingest.readers import dicom
from ingest.structure import walk
from ingest.walk import DEPTH_LIMIT, ELEMENT_LIMIT

ITEM = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
SEQUENCE = b"\x40\x00\x30\xa7SQ\x00\x00\xff\xff\xff\xff"  # (0040,A730), undefined length


def gap(data: bytes) -> str | None:
    return walk(BytesIO(data)).gap


def nested_sequence(undefined: bool) -> Sequence:
    inner, outer = Dataset(), Dataset()
    inner.CodeValue, inner.CodingSchemeDesignator, inner.CodeMeaning = "39607008", "SCT", "Lung"
    outer.CodeValue, outer.CodingSchemeDesignator, outer.CodeMeaning = "51185008", "SCT", "Chest"
    inner.is_undefined_length_sequence_item = outer.is_undefined_length_sequence_item = undefined
    outer.AnatomicRegionModifierSequence = [inner]
    outer["AnatomicRegionModifierSequence"].is_undefined_length = undefined
    return Sequence([outer])


def with_sequence(transfer_syntax: str, undefined: bool) -> bytes:
    data = dicom_bytes(transfer_syntax=transfer_syntax, AnatomicRegionSequence=nested_sequence(undefined))
    ds = pydicom.dcmread(BytesIO(data))
    ds["AnatomicRegionSequence"].is_undefined_length = undefined
    out = BytesIO()
    ds.save_as(out)
    return out.getvalue()


@pytest.mark.parametrize("undefined", [True, False], ids=["undefined-length", "defined-length"])
@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
def test_cut_at_any_byte_is_not_whole(transfer_syntax: str, undefined: bool) -> None:
    data = with_sequence(transfer_syntax, undefined)
    assert gap(data) is None
    # PS3.5 A.5: a deflated data set may be followed by one byte of padding, which nobody misses
    assert [end for end in range(len(data) - (transfer_syntax == DEFLATED)) if gap(data[:end]) is None] == []


def test_a_report_cut_at_any_byte_is_not_whole() -> None:
    data = report_dicom()
    assert gap(data) is None
    assert [end for end in range(len(data)) if gap(data[:end]) is None] == []


@pytest.mark.parametrize("transfer_syntax", [RLE, JPEG])
def test_several_frames_cut_at_any_byte_are_not_whole(transfer_syntax: str) -> None:
    data = dicom_bytes(
        transfer_syntax=transfer_syntax, pixels=np.arange(192, dtype=np.uint8).reshape(3, 8, 8)
    )
    assert gap(data) is None
    assert [end for end in range(len(data)) if gap(data[:end]) is None] == []


def test_a_file_without_preamble_cut_at_any_byte_is_not_whole() -> None:
    data = dicom_bytes()[132:]
    assert gap(data) is None
    assert [end for end in range(len(data)) if gap(data[:end]) is None] == []


@pytest.mark.parametrize("zeros", [1, 7, 8, 100])
def test_zero_padding_after_the_last_element_is_fine(zeros: int) -> None:
    assert gap(dicom_bytes() + bytes(zeros)) is None


def test_zeros_where_data_should_be_are_not_padding() -> None:
    data = dicom_bytes()
    assert gap(data[:500] + bytes(len(data))) is not None


def test_missing_bytes_are_counted_in_the_sentence() -> None:
    # 8 x 8 x 16 bits = 128 bytes, the last element of the file
    data = dicom_bytes(bits=12)
    assert gap(data[:-28]) == "element (7FE0,0010) declares 128 bytes, 100 are there"


def test_pixels_too_few_for_rows_and_columns_are_missing() -> None:
    data = dicom_bytes().replace(b"\x28\x00\x10\x00US\x02\x00\x08\x00", b"\x28\x00\x10\x00US\x02\x00\x09\x00")
    assert gap(data) == "the pixel data are 64 bytes, rows x columns x frames need 72"


def test_whole_and_read_agree_about_a_file_cut_in_half(tmp_path: Path) -> None:
    data = dicom_bytes(rows=64, columns=64)
    path = tmp_path / "half.dcm"
    path.write_bytes(data[: len(data) // 2])
    assert dicom.whole(path) is not None
    with pytest.raises(Rejected, match="truncated"):
        dicom.read(path)


def deflated(body: bytes) -> bytes:
    head = dicom_bytes(transfer_syntax=DEFLATED)
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return head[: walk(BytesIO(head)).body] + engine.compress(body) + engine.flush()


def test_a_deflate_bomb_is_refused_in_little_memory_and_time(tmp_path: Path) -> None:
    size = 2**30
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = dicom_bytes(transfer_syntax=DEFLATED)
    element = struct.pack("<HH2sHL", 0x0009, 0x1010, b"OB", 0, size)
    packed = [engine.compress(element), *(engine.compress(bytes(2**20)) for _ in range(1024)), engine.flush()]
    path = tmp_path / "bomb.dcm"
    path.write_bytes(head[: walk(BytesIO(head)).body] + b"".join(packed))
    assert path.stat().st_size < 2 * 2**20
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(Rejected, match="too-large"):
        dicom.read(path)
    assert time.process_time() - start < 60  # a busy processor takes several times its two seconds
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert dicom.whole(path) is None  # waiting would not help


def test_damage_in_a_deflated_data_set_is_told() -> None:
    data = deflated(b"")
    assert gap(data[:-2] + b"\xff\xff\xff") == "the deflated data set is damaged"


@pytest.mark.parametrize("depth", [DEPTH_LIMIT + 1, 20_000])
def test_deep_nesting_is_refused(tmp_path: Path, depth: int) -> None:
    data = dicom_bytes()
    end = data.rindex(b"\xe0\x7f\x10\x00")
    path = tmp_path / "deep.dcm"
    path.write_bytes(data[:end] + (SEQUENCE + ITEM) * depth)
    with pytest.raises(Rejected, match="malformed"):
        dicom.read(path)


def test_four_gigabytes_declared_are_not_waited_for_in_memory(tmp_path: Path) -> None:
    data = dicom_bytes()
    end = data.rindex(b"\xe0\x7f\x10\x00")
    path = tmp_path / "long.dcm"
    path.write_bytes(data[:end] + b"\xe0\x7f\x10\x00OW\x00\x00\xfe\xff\xff\xff" + bytes(64))
    assert dicom.whole(path) == "element (7FE0,0010) declares 4294967294 bytes, 64 are there"


def test_what_the_walk_finds() -> None:
    found = walk(BytesIO(dicom_bytes()))
    assert (found.transfer_syntax, found.pixels, found.image) == (EXPLICIT, 0x7FE00010, True)
    assert found.sop_class == "1.2.840.10008.5.1.4.1.1.1.1"


def test_a_million_items_cost_neither_time_nor_memory(tmp_path: Path) -> None:
    data = dicom_bytes()
    end = data.rindex(b"\xe0\x7f\x10\x00")
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 1_000_000 + b"\xfe\xff\xdd\xe0\0\0\0\0"
    path = tmp_path / "items.dcm"
    path.write_bytes(data[:end] + SEQUENCE + items + data[end:])
    start = time.process_time()
    assert dicom.whole(path) is None
    assert dicom.read(path).facts["rows"] == 8
    assert dicom.payload(path.read_bytes()).pixels.shape == (8, 8)
    assert time.process_time() - start < 20  # parsed item by item it would take minutes


def test_more_elements_than_the_limit_are_refused(tmp_path: Path) -> None:
    data = dicom_bytes()
    end = data.rindex(b"\xe0\x7f\x10\x00")
    path = tmp_path / "items.dcm"
    path.write_bytes(data[:end] + SEQUENCE + b"\xfe\xff\x00\xe0\0\0\0\0" * (ELEMENT_LIMIT + 1))
    with pytest.raises(Rejected, match="too-large"):
        dicom.read(path)


def test_a_monstrous_identifier_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.dcm"
    path.write_bytes(
        dicom_bytes(transfer_syntax=IMPLICIT).replace(
            b"\x10\x00\x20\x00\x04\x00\x00\x00P-1 ",
            b"\x10\x00\x20\x00" + struct.pack("<L", 2**20) + b"P" * 2**20,
        )
    )
    with pytest.raises(Rejected, match=r"too-large: element \(0010,0020\)"):
        dicom.read(path)
