"""The files that are mutated, how, and what must hold of every reader whatever comes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from builders import SYNTAXES, dicom_bytes, note_bytes, report_dicom
from db.errors import Rejected
from db.records import Evidence
from ingest import identify
from ingest.foreign import foreign
from ingest.readers import dicom, note
from models.payloads import Image, Note

LARGEST = 300_000  #: bytes of an original; larger ones say nothing more and take longer
NAME, NUMBER, BORN, SENTENCE = "Zyxwvut^Quibble", "MRN-90210-Q", "19171107", "Grumbling knee since Tuesday"
CANARIES = ("Zyxwvut", "Quibble", NUMBER, BORN, "Grumbling", "Tuesday")
TOKENS = (
    b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", bytes(4), b"\xff\xff\xff\x7f", b"\xfe\xff\x00\xe0",
    b"\xfe\xff\x0d\xe0",
    b"\xfe\xff\xdd\xe0", b"SQ", b"UN", b"OB", b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.5",
    b"\xe0\x7f\x10\x00",
    b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"../../x", b"\x1b[31m", b"\r\n", b"Patient-ID: 1\n",
    b"\xef\xbb\xbf", b"\xff\xfe",
)  # fmt: skip


@dataclass(frozen=True)
class Original:
    """A file to mutate, and the words of its patient."""

    name: str
    data: bytes
    words: tuple[str, ...]


def _patient(data: bytes) -> tuple[str, ...]:
    """The patient's name, number and birth date, as far as they are long enough to be told from chance."""
    try:
        ds = pydicom.dcmread(BytesIO(data), force=True, stop_before_pixels=True)
        parts = [str(ds.get(word, "")) for word in ("PatientName", "PatientID", "PatientBirthDate")]
    except Exception:  # noqa: BLE001 - damaged samples are samples too
        return ()
    words = {piece for part in parts for piece in part.replace("^", " ").split() if len(piece) > 5}
    return tuple(sorted(w for w in words if not w.isdigit() or len(w) == 8))


@cache
def originals(data: Path | None) -> tuple[Original, ...]:
    """Builders' objects in every transfer syntax, pydicom's own, and the data folder's `dicom` and `ehr`."""
    who = {"patient_id": NUMBER, "name": NAME, "birth_date": BORN}
    made = [Original(f"built-{s}", dicom_bytes(transfer_syntax=s, **who), CANARIES) for s in SYNTAXES]
    made += [
        Original("built-sr", report_dicom(SENTENCE, patient_id=NUMBER, name=NAME), CANARIES),
        Original("built-frames", dicom_bytes(pixels=np.zeros((3, 8, 8), np.uint8), **who), CANARIES),
        Original("built.txt", note_bytes(SENTENCE, mrn=NUMBER, patient_name=NAME, dob=BORN), CANARIES),
    ]
    folders = [Path(pydicom.__file__).parent / "data"]
    folders += [data / part for part in ("dicom", "ehr") if data is not None]
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and 0 < p.stat().st_size <= LARGEST):
            if path.suffix in (".py", ".pyc", ".json" if "pydicom" in folder.parts else ".pyc"):
                continue
            content = path.read_bytes()
            suffix = path.suffix.lower()
            words = _patient(content) if dicom.claims(content[:4096], suffix) else ()
            made.append(Original(path.name, content, words))
    return tuple(made)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to eight flips, cuts, insertions, repetitions, telling tokens or truncations, mostly in the header.

    Most keep every length, so that what comes behind is still read.
    """
    out = bytearray(data)
    kinds = (0, 6, 7) if rng.random() < 0.6 else range(7)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(min(len(out), rng.choice((400, 1200, 4000, len(out)))) or 1)
        kind = rng.choice(kinds)
        if kind == 0:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del out[at : at + rng.randint(1, 64)]
        elif kind == 2:
            out[at:at] = rng.randbytes(rng.randint(1, 16))
        elif kind == 3:
            token = rng.choice(TOKENS)
            out[at : at + (len(token) if rng.random() < 0.7 else 0)] = token
        elif kind == 4:
            out[at:at] = out[at : at + rng.randint(1, 512)] * rng.randint(1, 4)
        elif kind == 5 and rng.random() < 0.3:
            del out[at:]
        elif kind == 7:
            token = rng.choice(TOKENS)[: len(out) - at]
            out[at : at + len(token)] = token
        else:
            out[at] ^= 1 << rng.randrange(8)
        if not out:
            break
    return bytes(out)


def mutation(seed: int, index: int, files: tuple[Original, ...]) -> tuple[Original, bytes]:
    """The index-th mutation of a run: the same for the same seed and files."""
    rng = random.Random(f"{seed}:{index}")
    original = files[rng.randrange(len(files))]
    return original, mutated(original.data, rng)


class Leak(Exception):  # noqa: N818
    """A reader's words hold the patient's."""


def _refusal(call: Callable[[], Any], words: tuple[str, ...]) -> tuple[Any, str]:
    try:
        return call(), "read"
    except Rejected as error:
        told = " ".join((str(error), error.sentence, error.advice))
        code = error.code
        chained = error.__cause__ is not None or not (error.__suppress_context__ or error.__context__ is None)
    if chained or any(word in told for word in words):
        raise Leak(code)
    return None, code


def outcomes(path: Path, original: Original, data: bytes) -> Iterator[str]:
    """What each reader made of the bytes. Raises what it should not have, AssertionError or Leak."""
    path.write_bytes(data)
    suffix = Path(original.name).suffix.lower()
    gap = identify.missing(path, suffix)
    if gap is not None and any(word in gap for word in original.words):
        raise Leak("gap")
    _, code = _refusal(lambda: identify.name_of(path, suffix), original.words)
    yield f"identify {code}"
    dicom.whole(path)
    found, code = _refusal(lambda: dicom.read(path), original.words)
    yield f"dicom.read {code}"
    if found is not None:
        assert isinstance(found, Evidence)
        if any(word in repr(dict(found.facts)) for word in original.words):
            raise Leak("facts")
    shown, code = _refusal(lambda: dicom.payload(data), original.words)
    yield f"dicom.payload {code}"
    if shown is not None:
        assert isinstance(shown, Image)
        assert shown.pixels.dtype == np.float32
        assert np.isfinite(shown.pixels).all()
        assert shown.pixels.min() >= 0
        assert shown.pixels.max() <= 1
    foreign(data[:4096], suffix)
    sidecar = data[:300] if data[:1] in b"{[" else None
    found, code = _refusal(lambda: note.read(path, sidecar=sidecar, parts=["patient=7"]), original.words)
    yield f"note.read {code}"
    shown, code = _refusal(lambda: note.payload(data), original.words)
    yield f"note.payload {code}"
    if found is not None:
        assert isinstance(shown, Note)
        assert len(shown.text) == found.facts["characters"]
