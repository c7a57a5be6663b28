"""Accepts a settled file: claim, read, archive, record with the jobs it owes; or quarantine it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from db import ledger, metrics
from db.archive import Archive, Batch, sha256_of
from db.errors import Misconfigured, Rejected, Unavailable
from db.jobs import Owed
from db.keys import Keys
from db.logs import get, place
from db.records import Evidence, FileState
from db.settings import Settings
from db.store import Store, Writer
from ingest import bundle, contents, identify, joining, media, quarantine, reading, routing, rules, unpack
from ingest.contents import Contents
from ingest.readers import note
from ingest.rulebook import RuleBook
from ingest.rules import Decision
from models.card import ModelCard

log = get("ingest")
HALF_SECONDS = 3600  # older than any unpacking that is still at work
SEALERS = 2  # hashing and sealing let go of the interpreter
SIDECAR_BYTES = 65_536  #: a handful of keys


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A file moved out of the inbox, so that nobody else takes it and it cannot change its name."""

    id: str
    name: str  #: path below the inbox it came from
    work: Path
    sidecar_id: str | None = None  #: the ledger's id of the JSON that came with it
    parent_id: str | None = None  #: the ledger's id of the archive it was unpacked from
    companions: tuple[str, ...] = ()  #: the ledger's ids of what is one input with it
    claimed_at: float = field(default_factory=time.perf_counter)

    @property
    def sidecar(self) -> Path:
        """Where the claimed sidecar lies, if there is one."""
        return self.work.with_name(self.work.name + identify.SIDECAR)


@dataclass(frozen=True, kw_only=True)
class Read:
    """A claimed file that was read and archived, or refused."""

    file: Claimed
    digest: str | None  #: of an input none until it is archived
    size: int
    evidence: Evidence | None = None
    owed: tuple[Owed, ...] = ()
    unread: str | None = None
    decision: Decision | None = None  #: the routing rules' word; None without a rules file
    refusal: Rejected | None = None
    stage: str = "read"
    contents: Contents | None = None  #: of an archive
    index: str | None = None  #: the sentence about a medium's index, which is not read itself


class Intake:
    """The way from the inbox to the record. Every step may be repeated after any stop."""

    def __init__(
        self, settings: Settings, store: Store, archive: Archive, cards: Sequence[ModelCard]
    ) -> None:
        self.settings = settings
        self.store = store
        self.archive = archive
        self.cards = cards
        self.inbox = settings.folder("inbox")
        self.work = work_folder(settings)
        self.rulebook = RuleBook(settings, store, cards)
        self._unpacked: list[Claimed] = []

    def claim(
        self,
        file_id: str,
        name: str,
        sidecar: tuple[str, str] | None = None,
        companions: tuple[str, ...] = (),
    ) -> Claimed | None:
        """Renames a file (and its sidecar, as (id, name)) into the work area; None when it is gone.

        companions: the ids of what is one input with it, and is gathered when it is read.
        Raises Misconfigured when the inbox does not let us.
        """
        claimed = Claimed(
            id=file_id, name=name, work=self.work / file_id, sidecar_id=sidecar[0] if sidecar else None,
            companions=companions,
        )  # fmt: skip
        work = claimed.work
        with metrics.stage("claim"):
            try:
                if sidecar is not None:
                    os.rename(self.inbox / sidecar[1], claimed.sidecar)
                os.rename(self.inbox / name, work)
            except FileNotFoundError:
                self._put_back(claimed, sidecar)
                return None
            except PermissionError as error:
                raise Misconfigured(
                    "the inbox does not let ingest move files; see `wetread doctor`"
                ) from error
        return claimed

    def _put_back(self, claimed: Claimed, sidecar: tuple[str, str] | None) -> None:
        """A sidecar whose note went away in between waits in the inbox for the next one."""
        if sidecar is not None and claimed.sidecar.is_file() and not os.path.lexists(claimed.work):
            os.rename(claimed.sidecar, self.inbox / sidecar[1])

    def unfinished(self) -> list[Claimed]:
        """Files that were claimed before the last stop and are not concluded."""
        with self.store.read() as connection:
            pending = ledger.open_files(connection, self.store.keys)
        found = []
        for file in pending:
            claimed = Claimed(id=file.id, name=file.name, work=self.work / file.id, parent_id=file.parent_id)
            if os.path.lexists(claimed.work):
                found.append(claimed)
        return found

    def sweep(self) -> None:
        """Removes work files whose rows were concluded just before the last stop."""
        self.archive.sweep()
        for path in self.work.iterdir():
            if path.name.startswith(".") and time.time() - path.lstat().st_mtime > HALF_SECONDS:
                path.unlink()  # half an archive's entry, from a stop long ago
                continue
            file_id = path.name.partition(".")[0]  # of a sidecar, or a record's signals: what they are of
            with self.store.read() as connection:
                state = ledger.state_of(connection, file_id)
            if state is FileState.QUARANTINED and path.name == file_id:
                self._keep(file_id, path)
            if state not in (None, FileState.PENDING):
                path.unlink(missing_ok=True)

    def process(self, claimed: Sequence[Claimed]) -> list[FileState]:
        """Reads and records claimed files in one transaction; returns each one's new state.

        Raises Unavailable with nothing recorded when the archive or database cannot be written;
        the files stay in the work area for another try.
        """
        reads = self._read_all(claimed)
        with metrics.stage("record"):
            states = self._recorded(reads)
        for read, state in zip(reads, states, strict=True):
            self._tidy(read, state)
            metrics.intake_seconds.observe(time.perf_counter() - read.file.claimed_at)
        return states

    def take_unpacked(self) -> list[Claimed]:
        """The files that archives held which were recorded since the last call."""
        found, self._unpacked = self._unpacked, []
        return found

    def _read_all(self, claimed: Sequence[Claimed]) -> list[Read]:
        """Reads files and archives those accepted; all are durable when it returns.

        One is sealed while the next is read: that is another process's work.
        """
        reads: list[tuple[Read, Future[str] | None]] = []
        with self.archive.batch() as batch, ThreadPoolExecutor(SEALERS, "archive") as beside:
            for file in claimed:
                read = self._if_there(file, lambda file=file: self._read(file))  # type: ignore[misc]
                if read is not None:
                    accepted = read.evidence is not None
                    reads.append((read, beside.submit(_sealed, batch, file) if accepted else None))
            found = [self._with_digest(read, sealing) for read, sealing in reads]
            with metrics.stage("archive"):
                batch.settle()
        return [read for read in found if read is not None]

    def _with_digest(self, read: Read, sealing: Future[str] | None) -> Read | None:
        if sealing is None:
            return read
        return self._if_there(read.file, lambda: replace(read, digest=sealing.result()))

    @staticmethod
    def _if_there(file: Claimed, work: Callable[[], Read]) -> Read | None:
        """None when another ingest, which resumed in the same work area, finished the file meanwhile."""
        try:
            return work()
        except FileNotFoundError:
            if os.path.lexists(file.work):
                raise
            log.warning("finished_elsewhere", file=file.id)
            return None

    def _read(self, file: Claimed) -> Read:
        size = file.work.lstat().st_size
        try:
            if file.work.is_symlink() or not file.work.is_file():
                raise Rejected(
                    "not-a-file",
                    "a link, pipe, socket or device, expected a regular file",
                    "Send the file itself.",
                )
            if size > self.settings.file_max_bytes:
                raise Rejected(
                    "too-large", f"{size} bytes, at most {self.settings.file_max_bytes} are read",
                    "Raise file_max_bytes if it is right, and release it.",
                )  # fmt: skip
            if self._is_archive(file):
                with metrics.stage("unpack"):
                    found: Evidence | Contents = self._unpack(file)
            else:
                with metrics.stage("read"):
                    found = self._evidence(file)
        except PermissionError:
            return self._refuse(
                file,
                size,
                Rejected("unreadable", "ingest may not read it", "Give its user read access; release it."),
            )
        except Rejected as why:
            if why.code == "dicomdir" and (sentence := self._index(file)) is not None:
                return Read(file=file, digest=None, size=size, index=sentence)
            return self._refuse(file, size, why)
        except (Unavailable, Misconfigured, FileNotFoundError):
            raise
        except Exception as error:  # noqa: BLE001 - our bug must not stop the other files
            return self._fault(file, size, "read", error)
        if isinstance(found, Contents):
            return Read(file=file, digest=sha256_of(file.work), size=size, contents=found)
        decision = self._decide(found, file.name)
        owed, unread = routing.owed(found, self.cards, decision)
        return Read(
            file=file, digest=None, size=size, evidence=found, owed=tuple(owed), unread=unread,
            decision=decision,
        )  # fmt: skip

    def _claims(self, archive: Claimed, found: Contents) -> list[Claimed]:
        """An archive's files, which lie in the work area already, as claimed."""
        aside = {*found.sidecars.values(), *found.manifests}
        aside.update(part for parts in found.companions.values() for part in parts)
        for file_id in found.manifests:
            (self.work / file_id).unlink(missing_ok=True)
        return [
            Claimed(
                id=s.file_id, name=s.name, work=self.work / s.file_id, parent_id=archive.id,
                sidecar_id=found.sidecars.get(s.file_id), companions=found.companions.get(s.file_id, ()),
            )
            for s in found.files
            if s.file_id not in aside
        ]  # fmt: skip

    def _is_archive(self, file: Claimed) -> bool:
        with file.work.open("rb") as opened:
            return unpack.claims(opened.read(4), PurePosixPath(file.name).suffix.lower())

    def _unpack(self, file: Claimed) -> Contents:
        """An archive's files, unpacked beside it. Raises Rejected with none of them left."""
        if file.parent_id is not None:
            raise Rejected(
                "zip-nested", "an archive inside an archive, which is not unpacked", "Send it by itself."
            )
        bounds = contents.limits(self.settings, self.work)
        return contents.opened(file.id, file.name, self.work, self.store.keys, bounds)

    def _index(self, file: Claimed) -> str | None:
        """What a DICOMDIR says and how much of it is here; None when it cannot be read."""
        try:
            names = media.referenced(file.work)
        except Rejected:
            return None
        missing = self._absent(file.name, names, file)
        lack = f"; {missing} of them are not here" if missing else ""
        return f"an index of {len(names)} files, which are read by themselves{lack}"

    def lacks(self, name: str) -> bool:
        """Do files that this DICOMDIR in the inbox names lack, here and on record? False for a bad one."""
        try:
            return self._absent(name, media.referenced(self.inbox / name)) > 0
        except (Rejected, OSError):
            return False

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

    def _decide(self, evidence: Evidence, name: str) -> Decision | None:
        """Which rule fires, where there are rules."""
        in_force = self.rulebook.current()
        if not in_force.digest:
            return None
        return in_force.decide(rules.subject(evidence, name, self.settings.site))

    def _evidence(self, file: Claimed) -> Evidence | Contents:
        """What the file is; of a table of several people, its rows."""
        path = PurePosixPath(file.name)
        suffix = path.suffix.lower()
        if suffix == bundle.HEADER:
            bundle.gather(file.work, self.inbox / path.parent)
        reader = identify.name_of(file.work, suffix)
        if reader == "table" and (rows := reading.rows(file.work)) is not None:
            return contents.taken_apart(file.id, file.name, self.work, self.store.keys, rows)
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

    def _fault(self, file: Claimed, size: int, stage_: str, error: Exception) -> Read:
        """Our own bug met by one file: the file is set aside, and the bug shown."""
        metrics.errors.labels(stage_, type(error).__name__).inc()
        log.error(f"{stage_}_failed", file=file.id, error=place(error))
        fault = Rejected(
            "internal-error", f"a fault of wetread's own: {place(error)}", "Report it; release it later."
        )
        return self._refuse(file, size, fault, stage_)

    def _refuse(self, file: Claimed, size: int, why: Rejected, stage: str = "read") -> Read:
        place_ = self.settings.folder("quarantine") / file.id
        digest = quarantine.put(place_, file.work, self.store.keys, why, stage=stage, now=self.store.now())
        return Read(file=file, digest=digest, size=size, refusal=why, stage=stage)

    def _recorded(self, reads: Sequence[Read]) -> list[FileState]:
        """Records all together; where one cannot be recorded, each alone, and that one is refused."""
        try:
            return self._record(reads)
        except (Unavailable, Misconfigured):
            raise
        except Exception as error:
            if len(reads) > 1:
                return [state for read in reads for state in self._recorded([read])]
            if reads[0].refusal is not None:
                raise
            return self._record([self._fault(reads[0].file, reads[0].size, "record", error)])

    def _record(self, reads: Sequence[Read]) -> list[FileState]:
        for _ in range(3):
            try:
                with self.store.write() as writer:
                    return [self._record_one(writer, read) for read in reads]
            except IntegrityError:  # another ingest recorded the same bytes meanwhile: look again
                continue
        raise Unavailable("database: the same inputs are being recorded elsewhere; trying again")

    def _record_one(self, writer: Writer, read: Read) -> FileState:
        refusal = read.refusal
        if read.contents is not None:
            won = ledger.conclude(
                writer, read.file.id, FileState.DONE, reason="unpacked", digest=read.digest,
                sentence=f"its {len(read.contents.files)} {read.contents.what} are read by themselves",
            )  # fmt: skip
            if won:
                contents.record(writer, read.contents)
            return FileState.DONE
        if read.index is not None:
            ledger.conclude(
                writer, read.file.id, FileState.IGNORED, reason="dicomdir-index", sentence=read.index
            )
            return FileState.IGNORED
        if read.evidence is not None and read.digest is not None:
            try:
                state = ledger.accept(
                    writer, read.file.id, read.evidence, digest=read.digest, size=read.size, owed=read.owed,
                    unread=read.unread, look_after=self.settings.series_quiet_seconds,
                    awaits_series=not read.owed and read.unread is None,
                    routed=routing.word(read.decision) if read.decision else None,
                )  # fmt: skip
            except Rejected as why:
                refusal = why
                self._refuse(read.file, read.size, why, "record")
            else:
                if read.digest not in self.archive:  # retention removed it while we looked
                    self.archive.put(read.file.work)
                _note_decision(writer, read)
                if joining.owe(writer, read.evidence, read.digest, self.cards, read.decision):
                    state = FileState.READY
        if refusal is not None:
            ledger.conclude(
                writer, read.file.id, FileState.QUARANTINED, reason=refusal.code, sentence=refusal.sentence,
                digest=read.digest,
            )  # fmt: skip
            state = FileState.QUARANTINED
        if read.file.sidecar_id is not None:
            ledger.conclude(writer, read.file.sidecar_id, FileState.IGNORED, reason="sidecar")
        for companion in read.file.companions:
            ledger.conclude(writer, companion, FileState.IGNORED, reason="companion")
        return state

    def _keep(self, file_id: str, work: Path) -> None:
        """A refused file that could not be sealed is its only copy: it moves beside its reason."""
        folder = self.settings.folder("quarantine")
        if os.path.lexists(work) and not (folder / file_id / quarantine.PAYLOAD).exists():
            quarantine.keep_unreadable(folder, file_id, work)

    def _tidy(self, read: Read, state: FileState) -> None:
        """After the commit: the work file goes; the log says what became of it."""
        if read.contents is not None:
            self._unpacked += self._claims(read.file, read.contents)
        if state is FileState.QUARANTINED:
            self._keep(read.file.id, read.file.work)
        read.file.work.unlink(missing_ok=True)
        read.file.sidecar.unlink(missing_ok=True)
        reason = read.refusal.code if read.refusal else None
        log.info("file_taken", file=read.file.id, state=state.value, bytes=read.size, reason=reason)


def _inside(connection: Connection, keys: Keys, file: Claimed) -> str:
    """The folder of an archive's entry, as paths in archives are known."""
    stem = PurePosixPath(ledger.name_of(connection, keys, str(file.parent_id))).with_suffix("")
    folder = PurePosixPath(file.name).relative_to(stem).parent.as_posix()
    return f"{file.parent_id}!" if folder == "." else f"{file.parent_id}!/{folder}"


def _note_decision(writer: Writer, read: Read) -> None:
    """Which rule decided, and why those before it did not, beside the record of the file."""
    decision = read.decision
    if decision is not None:
        writer.audit(
            f"file:{read.file.id}", "file:routed", rule=decision.rule, lane=decision.lane,
            policy=decision.policy, models=[owed.model for owed in read.owed], earlier=dict(decision.earlier),
        )  # fmt: skip


def _sealed(batch: Batch, file: Claimed) -> str:
    """Puts a file that was read into the archive's batch; its SHA-256."""
    with metrics.stage("archive"):
        return batch.put(file.work)


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


def work_folder(settings: Settings) -> Path:
    """Where claimed files lie: in the home, or in the inbox when no rename leads from it to the home.

    Tried, not guessed: two mounts of one file system look alike, and still refuse a rename.
    """
    inbox, work = settings.folder("inbox"), settings.folder("work")
    probe = inbox / f".wetread-probe-{os.getpid()}"
    try:
        probe.touch()
        os.rename(probe, work / probe.name)
        (work / probe.name).unlink()
    except OSError:
        probe.unlink(missing_ok=True)
        work = inbox / ".wetread-work"
        work.mkdir(mode=0o700, exist_ok=True)
    return work
