"""Done marks and manifests in the inbox: honoured, taken away, counted as ignored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path, PurePosixPath

from db import ledger, metrics, series
from db.errors import Misconfigured, Unavailable
from db.logs import get, place
from db.records import FileState
from db.store import Store
from ingest import contents, media
from ingest.watch import Inbox, Settled, bases

log = get("ingest")


class Fate(Enum):
    """What became of a file that stands beside others."""

    NONE = "an input like any other"
    LATER = "not yet"
    TAKEN = "taken away and counted"
    STUCK = "not now: the inbox does not let us"


class Beside:
    """What lies in the inbox to speak of other files."""

    def __init__(self, inbox: Inbox, store: Store) -> None:
        self._inbox = inbox
        self._store = store

    def handle(self, item: Settled, file_id: str, held: Iterable[str] = ()) -> Fate:
        """Takes a mark once all it speaks of is taken, and a manifest at once.

        held: the names of files that are claimed and not yet recorded. One that we stumble over is judged as
        an input, lest it be met again at every turn. Raises Unavailable, Misconfigured.
        """
        try:
            return self._handle(item, file_id, held)
        except (Unavailable, Misconfigured):
            raise
        except OSError as error:
            log.error("cannot_take_mark", file=file_id, error=place(error))
            return Fate.STUCK
        except Exception as error:  # noqa: BLE001 - our bug with one file must not stop the others
            metrics.errors.labels("ingest", type(error).__name__).inc()
            log.error("beside_failed", file=file_id, error=place(error))
            return Fate.NONE

    def _handle(self, item: Settled, file_id: str, held: Iterable[str]) -> Fate:
        if not item.regular:
            return Fate.NONE
        base = self._inbox.marks.get(item.name)
        if base is not None:
            if self._inbox.has_covered(base) or any(base in bases(name) for name in held):
                return Fate.LATER
            self._done(file_id, base)
        elif not self._manifest(item, file_id):
            return Fate.NONE
        (self._inbox.root / item.name).unlink(missing_ok=True)
        return Fate.TAKEN

    def _done(self, file_id: str, base: str) -> None:
        """A folder's mark says that its series are done; a file's said only that the file is."""
        with self._store.write() as writer:
            folders = [f"{folder}/" if folder else "" for folder in _folders(self._inbox.root, base)]
            series.declare(writer, [ledger.folder_key(self._store.keys, folder) for folder in folders])
            ledger.conclude(writer, file_id, FileState.IGNORED, reason="done-mark")
        log.info("done_mark_taken", file=file_id, folders=len(folders))

    def _manifest(self, item: Settled, file_id: str) -> bool:
        path = PurePosixPath(item.name)
        if path.name != media.MANIFEST or item.size > media.MANIFEST_BYTES:
            return False
        try:
            told = media.manifest((self._inbox.root / item.name).read_bytes())
        except OSError:
            return False
        if told is None:
            return False
        with self._store.write() as writer:
            folder = "" if path.parent == PurePosixPath(".") else path.parent.as_posix()
            contents.expect(writer, file_id, folder, told)
        log.info("manifest_taken", file=file_id, files=told.count)
        return True


def _folders(root: Path, base: str) -> Iterator[str]:
    """A folder below the inbox and all in it; none when it is no folder. Links are not followed."""
    top = root / base
    if top.is_symlink() or not top.is_dir():
        return
    for folder, _, _ in os.walk(top):
        found = Path(folder).relative_to(root).as_posix()
        yield "" if found == "." else found
