"""Which reader a file is for, by its content first and its name second."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, cast

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest import unpack
from ingest.readers import dicom, note
from models.payloads import Payload

HEAD_BYTES = 4096
SIDECAR = ".sidecar"  #: what the JSON claimed with a note is named after it in the work area


def is_known(suffix: str) -> bool:
    """Is this lower-case suffix one that readers know, hence no part of anybody's name?"""
    return (
        suffix == unpack.SUFFIX
        or suffix in dicom.SUFFIXES
        or suffix in note.SUFFIXES
        or note.foreign(b"", suffix) is not None
    )


class Reader(Protocol):
    """What each reader module offers (ingest/readers/__init__.py)."""

    def whole(self, path: Path) -> str | None:
        """None when the file has reached its declared end, else what is missing."""
        ...

    def read(self, path: Path) -> Evidence:
        """The file as Evidence; raises Rejected."""
        ...


def reader(path: Path, suffix: str) -> Reader:
    """The reader module of a file. Raises Rejected `empty`, `not-dicom` or `unsupported-kind`."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise Rejected("empty", "the file holds no bytes", "Send it again; its transfer may have failed.")
    if dicom.claims(head, suffix):
        return cast(Reader, dicom)
    if suffix in dicom.SUFFIXES:
        raise Rejected(
            "not-dicom", f"named {suffix}, but it does not begin as DICOM does (DICM at byte 128)",
            "Export it again as DICOM Part 10, or name it by what it is.",
        )  # fmt: skip
    if note.claims(head, suffix):
        return cast(Reader, note)
    code, sentence, advice = note.foreign(head, suffix) or (
        "unsupported-kind",
        "neither DICOM nor a plain-text note (.txt, .text, .note, .md)",
        "See docs/readers.md for what is read; remove it, or convert it.",
    )
    raise Rejected(code, sentence, advice)


def missing(path: Path, suffix: str) -> str | None:
    """What a file still lacks to be whole, None when nothing (or when no reader can tell)."""
    try:
        if suffix == unpack.SUFFIX:
            return unpack.whole(path)
        return reader(path, suffix).whole(path)
    except (Rejected, OSError):
        return None


def payload(kind: str, data: bytes) -> Payload:
    """Archived bytes as what a model is given. Raises Rejected."""
    return note.payload(data) if kind == Kind.NOTE else dicom.payload(data)
