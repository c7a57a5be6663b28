"""Which reader a file is for, by its content first and its name second."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Protocol, cast

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest import unpack
from ingest.foreign import foreign
from models.payloads import Payload

HEAD_BYTES = 4096
SIDECAR = ".sidecar"  #: what the JSON claimed with a note is named after it in the work area
# asked in this order: those that know theirs by its first bytes before those that judge by a name
ORDER = (
    "dicom", "ecg", "variants", "hl7", "cda", "fhir", "molecule", "table", "sequence", "note",
)  # fmt: skip


class Reader(Protocol):
    """What each reader module offers (ingest/readers/__init__.py)."""

    SUFFIXES: frozenset[str]  #: what files of its kind are named, lower case

    def claims(self, head: bytes, suffix: str) -> bool:
        """Does a file with these first bytes and this suffix look like mine?"""
        ...

    def whole(self, path: Path) -> str | None:
        """None when the file has reached its declared end, else what is missing."""
        ...

    def read(self, path: Path, *, sidecar: bytes | None = None, parts: Sequence[str] = ()) -> Evidence:
        """The file as Evidence; raises Rejected."""
        ...

    def payload(self, data: bytes, kind: Kind) -> Payload:
        """The archived bytes as what a model is given; raises Rejected."""
        ...


@cache
def by_name(name: str) -> Reader:
    """A reader module. Raises ModuleNotFoundError."""
    return cast(Reader, importlib.import_module(f"ingest.readers.{name}"))


@cache
def is_known(suffix: str) -> bool:
    """Is this lower-case suffix one that readers know, hence no part of anybody's name?"""
    return (
        suffix == unpack.SUFFIX
        or any(suffix in by_name(name).SUFFIXES for name in ORDER)
        or foreign(b"", suffix) is not None
    )


def sidecars(name: str) -> tuple[str, ...]:
    """What a JSON would be called that says whose this file is; none for what says so itself.

    Only of a note it may be called as the note is, but for the suffix: a table may be JSON itself.
    """
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    if suffix in by_name("note").SUFFIXES:
        return f"{name}.json", path.with_suffix(".json").as_posix()
    if suffix == ".json" or suffix in by_name("dicom").SUFFIXES or not is_known(suffix):
        return ()
    return (f"{name}.json",)


def name_of(path: Path, suffix: str) -> str:
    """The reader of a file. Raises Rejected `empty`, `not-dicom` or `unsupported-kind`."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise Rejected("empty", "the file holds no bytes", "Send it again; its transfer may have failed.")
    for name in ORDER:
        if by_name(name).claims(head, suffix):
            return name
        if name == "dicom" and suffix in by_name(name).SUFFIXES:
            raise Rejected(
                "not-dicom", f"named {suffix}, but it does not begin as DICOM does (DICM at byte 128)",
                "Export it again as DICOM Part 10, or name it by what it is.",
            )  # fmt: skip
    code, sentence, advice = foreign(head, suffix) or (
        "unsupported-kind",
        "none of the kinds of files that are read",
        "See docs/readers.md for what is read; remove it, or convert it.",
    )
    raise Rejected(code, sentence, advice)


def missing(path: Path, suffix: str) -> str | None:
    """What a file still lacks to be whole, None when nothing (or when no reader can tell)."""
    try:
        if suffix == unpack.SUFFIX:
            return unpack.whole(path)
        return by_name(name_of(path, suffix)).whole(path)
    except (Rejected, OSError):
        return None
