"""An archive's entries become files of the ledger in their own right; manifests become what is expected."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from db import ledger, manifests, series
from db.errors import Unavailable
from db.keys import Keys
from db.records import FileState
from db.settings import Settings
from db.store import Writer
from db.tables import File
from ingest import apart, identify, media, unpack
from ingest.apart import Contents
from ingest.claimed import Claimed
from ingest.media import Manifest
from ingest.unpack import Entry, Limits
from ingest.watch import is_dropping


def limits(settings: Settings, work: Path) -> Limits:
    """What an archive may ask for here and now."""
    free = shutil.disk_usage(work).free - settings.disk_low_bytes
    return Limits(
        entries=settings.zip_entries_max,
        bytes=settings.zip_bytes_max,
        ratio=settings.zip_ratio_max,
        free=free,
    )


def opened(file_id: str, name: str, work: Path, keys: Keys, bounds: Limits) -> Contents:
    """Unpacks a claimed archive beside itself. Doing it again gives the same ids.

    name: the path it came under. Raises Rejected with nothing left behind, Unavailable when the disk fails.
    """
    archive = work / file_id
    found = unpack.entries(archive, bounds)
    ids = {e.index: keys.pseudonym("z", file_id, str(e.index)).removeprefix("z-") for e in found}
    kept = [e for e in found if not is_dropping(e.name)]
    by_name = {e.name: e for e in kept}
    beside = {note_.index: json.index for note_, json in _pairs(by_name)}
    notes = {json: note_ for note_, json in beside.items()}

    def target(entry: Entry) -> Path:
        if entry.index in notes:
            return work / f"{ids[notes[entry.index]]}{identify.SIDECAR}"
        return work / ids[entry.index]

    try:
        unpack.extract(archive, kept, target)
    except OSError as error:
        raise Unavailable(f"unpacking: {error.strerror}; is the disk full?") from None
    told = _manifests(kept, file_id, {e.index: target(e) for e in kept}, ids)
    stem = PurePosixPath(name).with_suffix("")
    seen: set[str] = set()
    sightings = {e.index: apart.sighting(file_id, stem, e, ids[e.index], seen) for e in found}
    return Contents(
        files=tuple(sightings[e.index] for e in kept),
        dropped=tuple(sightings[e.index] for e in found if is_dropping(e.name)),
        sidecars={ids[note_]: ids[json] for note_, json in beside.items()}, manifests=told,
        companions=apart.records(by_name, ids, work),
    )  # fmt: skip


def _pairs(by_name: dict[str, Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Each file with the sidecar that lies beside it."""
    for name, entry in by_name.items():
        for candidate in identify.sidecars(name):
            if candidate in by_name:
                yield entry, by_name[candidate]
                break


def _manifests(
    kept: list[Entry], parent: str, places: dict[int, Path], ids: dict[int, str]
) -> dict[str, tuple[str, Manifest]]:
    found = {}
    for entry in kept:
        folder, _, last = entry.name.rpartition("/")
        if last != media.MANIFEST or entry.size > media.MANIFEST_BYTES:
            continue
        told = media.manifest(places[entry.index].read_bytes())
        if told is not None:
            found[ids[entry.index]] = (f"{parent}!/{folder}".rstrip("/"), told)
    return found


def claims(container: Claimed, found: Contents) -> list[Claimed]:
    """A recorded container's files, which lie in the work area already, as claimed; its manifests go."""
    work = container.work.parent
    aside = {*found.sidecars.values(), *found.manifests}
    aside.update(part for parts in found.companions.values() for part in parts)
    for file_id in found.manifests:
        (work / file_id).unlink(missing_ok=True)
    return [
        Claimed(
            id=s.file_id, name=s.name, work=work / s.file_id, parent_id=container.id,
            sidecar_id=found.sidecars.get(s.file_id), companions=found.companions.get(s.file_id, ()),
        )
        for s in found.files
        if s.file_id not in aside
    ]  # fmt: skip


def record(writer: Writer, contents: Contents) -> None:
    """Enters an archive's files into the ledger, and what its manifests expect."""
    for group, state in ((contents.files, FileState.PENDING), (contents.dropped, FileState.IGNORED)):
        for start in range(0, len(group), 1000):
            ledger.see(writer, group[start : start + 1000], state)
    for file_id, (folder, told) in contents.manifests.items():
        expect(writer, file_id, folder, told)


def expect(writer: Writer, file_id: str, folder: str, told: Manifest) -> None:
    """Records what a manifest expects of its folder; the manifest itself is done with."""
    prefix = f"{folder}/" if folder else ""
    keys = {
        ledger.path_key(writer.keys, prefix + name): digest
        for name, digest in media.inputs(told.files).items()
    }
    folder_key = ledger.folder_key(writer.keys, prefix)
    manifests.add(writer, file_id, folder_key, told.count, keys)
    ledger.conclude(writer, file_id, FileState.IGNORED, reason="manifest")
    series.look_again(writer, File.folder_key == folder_key)
    named = list(keys)
    for start in range(0, len(named), 500):
        series.look_again(writer, File.path_key.in_(named[start : start + 500]))
