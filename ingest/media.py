"""What senders put beside their files to say what there is: manifests, done marks, a DICOMDIR."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ingest.readers import dicom, note

MANIFEST = "manifest.json"
MANIFEST_BYTES = 32 * 2**20
FILES = 10_000_000  #: that a manifest may promise: a database's integers end, JSON's do not
DICOMDIR = "DICOMDIR"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a folder should hold."""

    count: int
    files: Mapping[str, str | None] = field(default_factory=dict)  #: path below the folder -> SHA-256


def manifest(data: bytes) -> Manifest | None:
    """A manifest's bytes: `{"files": [{"name": ..., "sha256": ...} or a name, ...]}` or `{"count": n}`.

    None when they are something else; a name that leads out of the folder, or that no file can have, makes
    it so.
    """
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    listed = found.get("files")
    if listed is None:
        count = found.get("count")
        return Manifest(count=count) if type(count) is int and 0 < count <= FILES else None
    if not isinstance(listed, list) or not listed:
        return None
    files: dict[str, str | None] = {}
    for item in listed:
        entry = _entry({"name": item} if isinstance(item, str) else item)
        if entry is None:
            return None
        files[entry[0]] = entry[1]
    return Manifest(count=len(files), files=files)


def _entry(item: object) -> tuple[str, str | None] | None:
    if not isinstance(item, dict) or not isinstance(name := item.get("name"), str):
        return None
    digest = item.get("sha256")
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        return None
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can write
        return None
    if digest is not None and not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
        return None
    return path.as_posix(), None if digest is None else digest.lower()


def inputs(files: Mapping[str, str | None], aside: Collection[str] = ()) -> dict[str, str | None]:
    """Those of a manifest's files that become inputs: no index, no sidecar, nothing of `aside`."""
    folders: dict[str, set[str]] = {}
    for name in files:
        path = PurePosixPath(name)
        folders.setdefault(str(path.parent), set()).add(path.name)
    return {
        name: digest
        for name, digest in files.items()
        if name not in aside
        and PurePosixPath(name).name.upper() not in (DICOMDIR, MANIFEST.upper())
        and not note.is_sidecar(Path(name), folders[str(PurePosixPath(name).parent)])
    }


def is_index(name: str) -> bool:
    """Is a file so named a medium's index?"""
    return PurePosixPath(name).name.upper() == DICOMDIR


def referenced(path: Path) -> list[str]:
    """The files a DICOMDIR names, as paths below its folder. Raises Rejected and OSError."""
    return [name for name in dicom.referenced(path) if ".." not in PurePosixPath(name).parts]


def absent(folder: Path, names: Collection[str]) -> list[str]:
    """Which of these names are not below a folder; media are read in either case."""
    found = []
    for name in names:
        if not any((folder / spelled).is_file() for spelled in (name, name.lower())):
            found.append(name)
    return found
