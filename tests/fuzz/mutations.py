"""The files that are mutated, how, and what must hold of every reader whatever comes."""

from __future__ import annotations

import math
import random
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from builders import SYNTAXES, dicom_bytes, note_bytes, report_dicom
from console import samples
from db.errors import Rejected
from db.records import Evidence, Kind
from ingest import identify, media, unpack
from ingest.foreign import foreign
from ingest.readers import table
from models.payloads import Image, Note, Payload, Recording, Table

BOUNDS = unpack.Limits(entries=100, bytes=2**24, ratio=200, free=2**30)
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


def _words(name: str, content: bytes) -> tuple[str, ...]:
    """The patient's name, number and birth date as its reader finds them, if long enough."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(content)
        try:
            reader = identify.by_name(identify.name_of(path, Path(name).suffix.lower()))
            whose = reader.read(path).identity
        except Exception:  # noqa: BLE001 - damaged samples are samples too
            return ()
    parts = (whose.name, whose.number, whose.birth_date) if whose else ()
    words = {piece for part in parts for piece in re.split(r"[\s^,]+", part) if len(piece) > 5}
    return tuple(sorted(w for w in words if not w.isdigit() or len(w) == 8))


def _zipped() -> bytes:
    """An archive of two objects and a note in folders."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.dcm", dicom_bytes(patient_id=NUMBER, name=NAME))
        archive.writestr("a/b/2.dcm", dicom_bytes(InstanceNumber=2))
        archive.writestr("note.txt", SENTENCE)
    return out.getvalue()


@cache
def originals(data: Path | None) -> tuple[Original, ...]:
    """Builders' objects in every transfer syntax, pydicom's own, and the data folder's `dicom` and `ehr`."""
    who = {"patient_id": NUMBER, "name": NAME, "birth_date": BORN}
    made = [Original(f"built-{s}", dicom_bytes(transfer_syntax=s, **who), CANARIES) for s in SYNTAXES]
    made += [
        Original("built-sr", report_dicom(SENTENCE, patient_id=NUMBER, name=NAME), CANARIES),
        Original("built-frames", dicom_bytes(pixels=np.zeros((3, 8, 8), np.uint8), **who), CANARIES),
        Original("built.txt", note_bytes(SENTENCE, mrn=NUMBER, patient_name=NAME, dob=BORN), CANARIES),
        Original("built.zip", _zipped(), CANARIES),
    ]
    folders = [Path(pydicom.__file__).parent / "data", Path(samples.__file__).parent]
    folders += [data / part for part in ("dicom", "ehr") if data is not None]
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and 0 < p.stat().st_size <= LARGEST):
            if path.suffix in (".py", ".pyc", ".json" if "pydicom" in folder.parts else ".pyc"):
                continue
            content = path.read_bytes()
            made.append(Original(path.name, content, _words(path.name, content)))
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
    named, code = _refusal(lambda: identify.name_of(path, suffix), original.words)
    yield f"identify {code}"
    foreign(data[:4096], suffix)
    for name in sorted({"dicom", "note", named or "dicom"}):
        yield from _reader(name, path, data, original.words)
    if named == "table":
        _, code = _refusal(lambda: table.split(path), original.words)
        yield f"table.split {code}"
    if suffix == unpack.SUFFIX:
        yield from _unpacked(path, original.words)
    if Path(original.name).name.upper() == "DICOMDIR":
        _, code = _refusal(lambda: media.referenced(path), original.words)
        yield f"media.referenced {code}"


def _reader(name: str, path: Path, data: bytes, words: tuple[str, ...]) -> Iterator[str]:
    reader = identify.by_name(name)
    _refusal(lambda: reader.whole(path), words)
    sidecar = data[:300] if data[:1] in b"{[" else None
    found, code = _refusal(lambda: reader.read(path, sidecar=sidecar, parts=["patient=7"]), words)
    yield f"{name}.read {code}"
    if found is not None:
        assert isinstance(found, Evidence)
        if any(word in repr(dict(found.facts)) for word in words):
            raise Leak("facts")
    kinds = (
        (found.kind, *found.also) if found is not None else (Kind.IMAGE if name == "dicom" else Kind.NOTE,)
    )
    for kind in kinds:
        if kind is Kind.DOCUMENT:
            continue
        given, code = _refusal(lambda kind=kind: reader.payload(data, kind), words)  # type: ignore[misc]
        yield f"{name}.payload {code}"
        if given is not None:
            _sound(given, found)


def _sound(given: Payload, found: Evidence | None) -> None:
    """Numbers are finite and within what a payload promises; texts are as long as their facts say."""
    if isinstance(given, Image):
        assert given.pixels.dtype == np.float32
        assert np.isfinite(given.pixels).all()
        assert given.pixels.min() >= 0
        assert given.pixels.max() <= 1
    if isinstance(given, Note) and found is not None and "characters" in found.facts:
        assert len(given.text) == found.facts["characters"]
    if isinstance(given, Table):
        assert all(math.isfinite(v) for v in given.values.values() if isinstance(v, float))
    if isinstance(given, Recording):
        assert len(given.leads) == len(given.signals)
        assert not np.isinf(given.signals).any()


def _unpacked(path: Path, words: tuple[str, ...]) -> Iterator[str]:
    """An archive's entries land in a folder of their own and nowhere else."""
    entries, code = _refusal(lambda: unpack.entries(path, BOUNDS), words)
    yield f"unpack.entries {code}"
    if entries is None:
        return
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        target = Path(folder) / "in"
        target.mkdir()
        _, code = _refusal(lambda: unpack.extract(path, entries, lambda e: target / str(e.index)), words)
        yield f"unpack.extract {code}"
        assert [p.name for p in Path(folder).iterdir()] == ["in"]
