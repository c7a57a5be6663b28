"""Whatever bytes come, a reader answers or refuses; nothing of the patient's leaves it in a refusal."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.uid import UID

from builders import SYNTAXES, dicom_bytes, note_bytes, report_dicom
from db.errors import Rejected
from db.records import Evidence
from ingest.readers import dicom, note
from ingest.structure import walk
from ingest.walk import PIXELS
from models.payloads import Image, Note

NAME, NUMBER, BORN, SENTENCE = "Zyxwvut^Quibble", "MRN-90210-Q", "19171107", "Grumbling knee since Tuesday"
CANARIES = ("Zyxwvut", "Quibble", NUMBER, BORN, "Grumbling", "Tuesday")
SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"

T = TypeVar("T")

EXAMPLES = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@cache
def originals() -> tuple[bytes, ...]:
    """Builders' objects in every transfer syntax, and pydicom's own small ones, good and bad."""
    who = {"patient_id": NUMBER, "name": NAME, "birth_date": BORN}
    made = [dicom_bytes(transfer_syntax=syntax, **who) for syntax in SYNTAXES]
    made += [report_dicom(SENTENCE, patient_id=NUMBER, name=NAME)]
    made += [dicom_bytes(pixels=np.zeros((3, 8, 8), np.uint8), **who)]
    small = sorted(p for p in SAMPLES.glob("*.dcm") if p.stat().st_size < 20_000)
    return tuple(made + [p.read_bytes() for p in small])


def damaged(data: bytes, seed: int) -> bytes:
    """One to eight flips, cuts, insertions, repetitions or runs of zeros, mostly in the header."""
    rng, out = random.Random(seed), bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(min(len(out), rng.choice((700, 2000, len(out)))) or 1)
        kind = rng.randrange(6)
        if kind == 0:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del out[at : at + rng.randint(1, 16)]
        elif kind == 2:
            out[at:at] = rng.randbytes(rng.randint(1, 16))
        elif kind == 3:
            out[at : at + 4] = rng.choice(
                (b"\xff\xff\xff\xff", bytes(4), b"\xfe\xff\x00\xe0", b"\xff\xff\xff\x7f")
            )
        elif kind == 4:
            out[at:at] = out[at : at + rng.randint(1, 64)]
        elif rng.random() < 0.3:
            del out[at:]
        if not out:
            break
    return bytes(out)


def answer(call: Callable[[], T]) -> T | None:
    """What the reader answers; None when it refuses, which it must do without a word of the patient's."""
    try:
        return call()
    except Rejected as error:
        refused = error
    assert refused.__cause__ is None
    assert refused.__suppress_context__ or refused.__context__ is None
    words = " ".join((str(refused), repr(refused), refused.sentence, refused.advice))
    assert not any(word in words for word in CANARIES)
    return None


def check_dicom(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    dicom.claims(data[:4096], ".dcm")
    gap = dicom.whole(path)
    assert gap is None or not any(word in gap for word in CANARIES)
    found = answer(lambda: dicom.read(path))
    assert found is None or isinstance(found, Evidence)
    assert not any(word in repr(found) for word in CANARIES)
    shown = answer(lambda: dicom.payload(data))
    if shown is not None:
        assert isinstance(shown, Image)
        assert shown.pixels.dtype == np.float32
        assert np.isfinite(shown.pixels).all()
        assert shown.pixels.min() >= 0
        assert shown.pixels.max() <= 1


@EXAMPLES
@given(which=st.integers(0, 10_000), seed=st.integers(0, 2**32))
def test_damaged_dicom_is_read_or_refused(tmp_path: Path, which: int, seed: int) -> None:
    files = originals()
    check_dicom(tmp_path / "x.dcm", damaged(files[which % len(files)], seed))


@cache
def compressed() -> tuple[tuple[bytes, int], ...]:
    """Small compressed objects, and where their pixel data begin."""
    found = []
    files = [*originals(), *(p.read_bytes() for p in sorted(SAMPLES.glob("*RLE*.dcm"))[:8])]
    for data in files:
        structure = walk(BytesIO(data), PIXELS)
        if structure.ranges and UID(structure.transfer_syntax, 0).name.startswith(("RLE", "JPEG", "High")):
            found.append((data, structure.ranges[0][1] + 12))
    return tuple(found)


@EXAMPLES
@given(which=st.integers(0, 10_000), seed=st.integers(0, 2**32))
def test_damaged_pixels_are_decoded_or_refused(which: int, seed: int) -> None:
    data, start = compressed()[which % len(compressed())]
    rng, out = random.Random(seed), bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(start, min(len(out), start + rng.choice((60, 300, 3000))))
        out[at : at + 1] = rng.choice((b"\xff", b"\0", b"\x7f", bytes([rng.randrange(256)])))
    answer(lambda: dicom.payload(bytes(out)))


@pytest.mark.parametrize("number", range(len(originals())))
def test_every_original_is_read_or_refused(tmp_path: Path, number: int) -> None:
    check_dicom(tmp_path / "x.dcm", originals()[number])


@EXAMPLES
@given(tail=st.binary(max_size=400), preamble=st.booleans())
def test_random_bytes_after_a_true_beginning_are_read_or_refused(
    tmp_path: Path, tail: bytes, preamble: bool
) -> None:
    head = bytes(128) + b"DICM" if preamble else b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192"
    check_dicom(tmp_path / "x.dcm", head + tail)


def check_note(path: Path, data: bytes, sidecar: bytes | None, parts: list[str]) -> None:
    path.write_bytes(data)
    note.claims(data[:4096], ".txt")
    note.foreign(data[:4096], "")
    found = answer(lambda: note.read(path, sidecar=sidecar, parts=parts))
    shown = answer(lambda: note.payload(data))
    if found is not None:
        assert isinstance(found, Evidence)
        assert not any(word in repr(found.facts) for word in CANARIES)
        assert isinstance(shown, Note)
        assert shown.text.strip()
        assert len(shown.text) == found.facts["characters"]
        assert not set(map(chr, (*range(9), 11, *range(14, 32), 127))) & set(shown.text)


@EXAMPLES
@given(
    data=st.binary(max_size=300) | st.text(max_size=300).map(str.encode),
    sidecar=st.none() | st.binary(max_size=60) | st.just(b'{"mrn": "MRN-90210-Q"}'),
    parts=st.lists(st.sampled_from(["patient=1", "patient=MRN-90210-Q", "encounter-2", "ward"]), max_size=3),
)
@example(data=b"\xff\xfe\x00\x00", sidecar=None, parts=[])
def test_any_text_is_read_or_refused(
    tmp_path: Path, data: bytes, sidecar: bytes | None, parts: list[str]
) -> None:
    check_note(tmp_path / "n.txt", data, sidecar, parts)


@EXAMPLES
@given(seed=st.integers(0, 2**32), parts=st.lists(st.sampled_from(["patient=1", f"patient={NUMBER}"])))
def test_a_damaged_note_is_read_or_refused(tmp_path: Path, seed: int, parts: list[str]) -> None:
    data = note_bytes(SENTENCE, mrn=NUMBER, patient_name=NAME, dob=BORN, encounter="E9")
    check_note(tmp_path / "n.txt", damaged(data, seed), None, parts)
