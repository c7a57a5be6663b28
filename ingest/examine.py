"""Says of a claimed file what it is: an input, a container of inputs, an index; or refuses it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from sqlalchemy import Connection

from db import ledger, metrics
from db.archive import sha256_of
from db.errors import Misconfigured, Rejected, Unavailable
from db.keys import Keys
from db.logs import get, place
from db.records import Evidence
from db.settings import Settings
from db.store import Store
from ingest import apart, bundle, contents, identify, matching, media, quarantine, reading, routing, unpack
from ingest.apart import Contents
from ingest.claimed import Claimed, Read
from ingest.readers import note
from ingest.rulebook import RuleBook
from ingest.rules import Decision
from ingest.whose import SIDECAR_BYTES
from models.card import ModelCard

log = get("ingest")


class Examiner:
    """Reads claimed files where they lie. Every step may be repeated after any stop."""

    def __init__(
        self, settings: Settings, store: Store, cards: Sequence[ModelCard], rulebook: RuleBook, work: Path
    ) -> None:
        self.settings = settings
        self.store = store
        self.cards = cards
        self.rulebook = rulebook
        self.inbox = settings.folder("inbox")
        self.work = work

    def read(self, file: Claimed) -> Read:
        """What the file is, or why it is refused; a refused one lies in quarantine.

        Raises Unavailable, and FileNotFoundError when it is gone.
        """
        info = file.work.lstat()
        size = info.st_size
        try:
            found = self._found(file, info)
        except PermissionError:
            return self.refuse(
                file,
                size,
                Rejected("unreadable", "ingest may not read it", "Give its user read access; release it."),
            )
        except Rejected as why:
            if why.code == "dicomdir" and (sentence := self._index(file)) is not None:
                return Read(file=file, digest=None, size=size, index=sentence)
            return self.refuse(file, size, why)
        except (Unavailable, Misconfigured, FileNotFoundError):
            raise
        except Exception as error:  # noqa: BLE001 - our bug must not stop the other files
            return self.fault(file, size, "read", error)
        if isinstance(found, Contents):
            return Read(file=file, digest=sha256_of(file.work), size=size, contents=found)
        decision = self._decide(found, file.name)
        owed, unread = routing.owed(found, self.cards, decision)
        return Read(
            file=file, digest=None, size=size, evidence=found, owed=tuple(owed), unread=unread,
            decision=decision,
        )  # fmt: skip

    def fault(self, file: Claimed, size: int, stage_: str, error: Exception) -> Read:
        """Our own bug met by one file: the file is set aside, and the bug shown."""
        metrics.errors.labels(stage_, type(error).__name__).inc()
        log.error(f"{stage_}_failed", file=file.id, error=place(error))
        why = Rejected(
            "internal-error", f"a fault of wetread's own: {place(error)}", "Report it; release it later."
        )
        return self.refuse(file, size, why, stage_)

    def refuse(self, file: Claimed, size: int, why: Rejected, stage: str = "read") -> Read:
        """Puts a file into quarantine with its reason."""
        place_ = self.settings.folder("quarantine") / file.id
        digest = quarantine.put(place_, file.work, self.store.keys, why, stage=stage, now=self.store.now())
        return Read(file=file, digest=digest, size=size, refusal=why, stage=stage)

    def lacks(self, name: str) -> bool:
        """Do files that this DICOMDIR in the inbox names lack, here and on record? False for a bad one."""
        try:
            return self._absent(name, media.referenced(self.inbox / name)) > 0
        except (Rejected, OSError):
            return False

    def _found(self, file: Claimed, info: os.stat_result) -> Evidence | Contents:
        if not stat.S_ISREG(info.st_mode):
            raise Rejected(
                "not-a-file", "a link, pipe, socket or device, expected a regular file",
                "Send the file itself.",
            )  # fmt: skip
        if info.st_size > self.settings.file_max_bytes:
            raise Rejected(
                "too-large", f"{info.st_size} bytes, at most {self.settings.file_max_bytes} are read",
                "Raise file_max_bytes if it is right, and release it.",
            )  # fmt: skip
        if self._is_archive(file):
            with metrics.stage("unpack"):
                return self._unpack(file)
        with metrics.stage("read"):
            return self._evidence(file)

    def _is_archive(self, file: Claimed) -> bool:
        suffix = PurePosixPath(file.name).suffix.lower()
        if suffix != unpack.SUFFIX:
            return False
        with file.work.open("rb") as opened:
            return unpack.claims(opened.read(4), suffix)

    def _unpack(self, file: Claimed) -> Contents:
        """An archive's files, unpacked beside it. Raises Rejected with none of them left."""
        if file.parent_id is not None:
            raise Rejected(
                "zip-nested", "an archive inside an archive, which is not unpacked", "Send it by itself."
            )
        bounds = contents.limits(self.settings, self.work)
        return contents.opened(file.id, file.name, self.work, self.store.keys, bounds)

    def _evidence(self, file: Claimed) -> Evidence | Contents:
        """What the file is; of a table of several people, its rows."""
        path = PurePosixPath(file.name)
        suffix = path.suffix.lower()
        if suffix == bundle.HEADER:
            bundle.gather(file.work, self.inbox / file.name)
        reader = "dicom" if reading.is_foreseen(file.work) else identify.name_of(file.work, suffix)
        if reader == "table" and (rows := reading.rows(file.work)) is not None:
            return apart.rows(file.id, file.name, self.work, self.store.keys, rows)
        if reader == "note":
            if file.work.stat().st_size > self.settings.note_max_bytes:
                raise Rejected(
                    "too-large", f"a note of more than {self.settings.note_max_bytes} bytes",
                    "Split it, or raise note_max_bytes and release it.",
                )  # fmt: skip
            return note.read(
                file.work, sidecar=_sidecar(file.sidecar), parts=path.parts[:-1],
                max_bytes=self.settings.note_max_bytes,
            )  # fmt: skip
        return reading.read(file.work, reader=reader, sidecar=_sidecar(file.sidecar), parts=path.parts[:-1])

    def _decide(self, evidence: Evidence, name: str) -> Decision | None:
        """Which rule fires, where there are rules."""
        in_force = self.rulebook.current()
        if not in_force.digest:
            return None
        return in_force.decide(matching.subject(evidence, name, self.settings.site))

    def _index(self, file: Claimed) -> str | None:
        """What a DICOMDIR says and how much of it is here; None when it cannot be read."""
        try:
            names = media.referenced(file.work)
        except Rejected:
            return None
        missing = self._absent(file.name, names, file)
        lack = f"; {missing} of them are not here" if missing else ""
        return f"an index of {len(names)} files, which are read by themselves{lack}"

    def _absent(self, name: str, named: Sequence[str], file: Claimed | None = None) -> int:
        """How many of the files that an index names are neither in the inbox nor ever were."""
        keys, folder = self.store.keys, PurePosixPath(name).parent
        absent = media.absent(self.inbox / folder, named)
        with self.store.read() as connection:
            packed = file is not None and file.parent_id is not None
            prefix = _inside(connection, keys, file) if file and packed else folder.as_posix()
            known = {n: ledger.path_key(keys, f"{prefix}/{n}".removeprefix("./"))
                     for one in absent for n in (one, one.lower())}  # fmt: skip
            seen = ledger.seen(connection, list(known.values()))
        return sum(not seen & {known[one], known[one.lower()]} for one in absent)


def _inside(connection: Connection, keys: Keys, file: Claimed) -> str:
    """The folder of an archive's entry, as paths in archives are known."""
    stem = PurePosixPath(ledger.name_of(connection, keys, str(file.parent_id))).with_suffix("")
    folder = PurePosixPath(file.name).relative_to(stem).parent.as_posix()
    return f"{file.parent_id}!" if folder == "." else f"{file.parent_id}!/{folder}"


def _sidecar(path: Path) -> bytes | None:
    """What a note's sidecar says, None where there is none. Raises Rejected when it is no small file."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(info.st_mode) or info.st_size > SIDECAR_BYTES:
        raise Rejected(
            "bad-sidecar", f"the sidecar is no regular file of at most {SIDECAR_BYTES} bytes",
            "Send the note with a sidecar as docs/readers.md describes it.",
        )  # fmt: skip
    return path.read_bytes()
