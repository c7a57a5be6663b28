"""What a container is taken apart into: a table's rows, an archive's WFDB records, each a file of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from db.errors import Unavailable
from db.keys import Keys
from db.ledger import Sighting
from ingest import bundle, identify
from ingest.media import Manifest
from ingest.unpack import Entry


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a container held, laid in the work area and not yet recorded."""

    files: tuple[Sighting, ...]  #: to be read; each lies at work/<file_id>
    dropped: tuple[Sighting, ...]  #: an operating system's droppings, left packed
    sidecars: dict[str, str] = field(default_factory=dict)  #: a note's file id -> its sidecar's
    companions: dict[str, tuple[str, ...]] = field(default_factory=dict)  #: a header's id -> its signals'
    what: str = "files"  #: `rows` of a table
    manifests: dict[str, tuple[str, Manifest]] = field(default_factory=dict)  #: file id -> (folder, manifest)


def rows(file_id: str, name: str, work: Path, keys: Keys, found: list[bytes]) -> Contents:
    """A table's rows as files of their own beside it. Doing it again gives the same ids.

    Raises Unavailable when the disk fails.
    """
    stem, seen = PurePosixPath(name).with_suffix(""), set[str]()
    sightings = []
    for n, row in enumerate(found):
        row_id = keys.pseudonym("z", file_id, f"row {n}").removeprefix("z-")
        try:
            (work / row_id).write_bytes(row)
        except OSError as error:
            raise Unavailable(f"taking a table apart: {error.strerror}; is the disk full?") from None
        entry = Entry(index=n, name=f"row-{n + 1:06}.json", size=len(row))
        sightings.append(sighting(file_id, stem, entry, row_id, seen))
    return Contents(files=tuple(sightings), dropped=(), what="rows")


def records(by_name: dict[str, Entry], ids: dict[int, str], work: Path) -> dict[str, tuple[str, ...]]:
    """Each unpacked WFDB header with its signal files, which are laid beside it."""
    found = {}
    for name, entry in by_name.items():
        if PurePosixPath(name).suffix.lower() != bundle.HEADER:
            continue
        header = ids[entry.index]
        folder = PurePosixPath(name).parent
        signals = [by_name.get((folder / s).as_posix()) for s in bundle.signals(work / header)]
        there = [s for s in signals if s is not None]
        if not there or len(there) < len(signals):
            continue
        for n, signal in enumerate(there):
            (work / ids[signal.index]).rename(work / f"{header}{bundle.SIGNAL}{n}")
        found[header] = tuple(ids[s.index] for s in there)
    return found


def sighting(parent: str, stem: PurePosixPath, entry: Entry, file_id: str, seen: set[str]) -> Sighting:
    """A part as the ledger sees it; `seen` grows: a name that an archive holds twice is two files."""
    suffix = PurePosixPath(entry.name).suffix.lower()
    key = f"{parent}!/{entry.name}"
    if key in seen:
        key = f"{parent}!{entry.index}/{entry.name}"
    seen.add(key)
    return Sighting(
        name=(stem / entry.name).as_posix(), suffix=suffix if identify.is_known(suffix) else "",
        bytes=entry.size, file_id=file_id, parent_id=parent, key=key,
    )  # fmt: skip
