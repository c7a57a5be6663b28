"""Accepts settled files: claim, read, archive, record with the jobs they owe; or quarantine them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy.exc import IntegrityError

from db import inputs, ledger, metrics
from db.archive import Archive
from db.errors import Misconfigured, Rejected, Unavailable
from db.logs import get
from db.records import FileState
from db.settings import Settings
from db.store import Store, Writer
from ingest import contents, joining, quarantine, routing
from ingest.claimed import Claimed, Read, work_folder
from ingest.examine import Examiner
from ingest.rulebook import RuleBook
from ingest.underway import Threads, Underway
from models.card import ModelCard

log = get("ingest")
HALF_SECONDS = 3600  # older than any unpacking that is still at work


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
        self.examiner = Examiner(settings, store, cards, self.rulebook, self.work)
        self._unpacked: list[Claimed] = []
        self._threads = Threads()

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
        """Reads, archives and records claimed files; returns each one's new state. Raises as `finish`."""
        return self.finish(self.begin(claimed))

    def begin(self, claimed: Sequence[Claimed]) -> Underway:
        """Reads files, and has those accepted archived meanwhile.

        A batch is sealed while the one before it is recorded. Raises Unavailable with nothing archived.
        """
        underway = Underway(self.archive, self._threads, self.store.keys)
        try:
            for file in claimed:
                if not os.path.lexists(file.work):
                    continue  # another ingest was first
                read = self._if_there(file, lambda file=file: self._read(file))  # type: ignore[misc]
                if read is not None:
                    underway.reads.append(read)
            underway.settle()
        except BaseException:
            underway.abandon()
            raise
        return underway

    def finish(self, underway: Underway) -> list[FileState]:
        """Records what was begun, in one transaction, once it is durable; returns each one's new state.

        Raises Unavailable with nothing recorded when the archive or database cannot be written;
        the files stay in the work area for another try.
        """
        try:
            digests = underway.wait()
        finally:
            underway.abandon()
        reads = list(_with_digests(underway.reads, digests))
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

    @staticmethod
    def _if_there(file: Claimed, work: Callable[[], Read]) -> Read | None:
        """None when another ingest, which resumed in the same work area, finished the file meanwhile."""
        try:
            return work()
        except FileNotFoundError:
            _finished_elsewhere(file)
            return None

    def _read(self, file: Claimed) -> Read:
        return self.examiner.read(file)

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
            return self._record([self.examiner.fault(reads[0].file, reads[0].size, "record", error)])

    def _record(self, reads: Sequence[Read]) -> list[FileState]:
        for _ in range(3):
            try:
                with self.store.write() as writer:
                    found = [read.evidence for read in reads if read.evidence is not None]
                    digests = [read.digest for read in reads if read.digest is not None]
                    inputs.look_up(writer, digests, [evidence.uid for evidence in found], found)
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
            ledger.conclude_later(
                writer, read.file.id, FileState.IGNORED, reason="dicomdir-index", sentence=read.index
            )
            return FileState.IGNORED
        if read.evidence is not None and read.digest is not None:
            try:
                state = inputs.accept(
                    writer, read.file.id, read.evidence, digest=read.digest, size=read.size, owed=read.owed,
                    unread=read.unread, look_after=self.settings.series_quiet_seconds,
                    awaits_series=not read.owed and read.unread is None,
                    routed=routing.word(read.decision) if read.decision else None,
                )  # fmt: skip
            except Rejected as why:
                refusal = why
                self.examiner.refuse(read.file, read.size, why, "record")
            else:
                if read.digest not in self.archive:  # retention removed it while we looked
                    self.archive.put(read.file.work)
                _note_decision(writer, read)
                if joining.owe(writer, read.evidence, read.digest, self.cards, read.decision):
                    state = FileState.READY
        if refusal is not None:
            ledger.conclude_later(
                writer, read.file.id, FileState.QUARANTINED, reason=refusal.code, sentence=refusal.sentence,
                digest=read.digest,
            )  # fmt: skip
            state = FileState.QUARANTINED
        if read.file.sidecar_id is not None:
            ledger.conclude_later(writer, read.file.sidecar_id, FileState.IGNORED, reason="sidecar")
        for companion in read.file.companions:
            ledger.conclude_later(writer, companion, FileState.IGNORED, reason="companion")
        return state

    def _keep(self, file_id: str, work: Path) -> None:
        """A refused file that could not be sealed is its only copy: it moves beside its reason."""
        folder = self.settings.folder("quarantine")
        if os.path.lexists(work) and not (folder / file_id / quarantine.PAYLOAD).exists():
            quarantine.keep_unreadable(folder, file_id, work)

    def _tidy(self, read: Read, state: FileState) -> None:
        """After the commit: the work file goes; the log says what became of it."""
        if read.contents is not None:
            self._unpacked += contents.claims(read.file, read.contents)
        if state is FileState.QUARANTINED:
            self._keep(read.file.id, read.file.work)
        read.file.work.unlink(missing_ok=True)
        read.file.sidecar.unlink(missing_ok=True)
        reason = read.refusal.code if read.refusal else None
        log.info("file_taken", file=read.file.id, state=state.value, bytes=read.size, reason=reason)


def _with_digests(reads: Iterable[Read], digests: Mapping[Path, str | None]) -> Iterator[Read]:
    """What was read and is archived, or need not be; not what another ingest finished meanwhile."""
    for read in reads:
        if read.file.work not in digests:
            yield read
        elif (digest := digests[read.file.work]) is not None:
            yield replace(read, digest=digest)
        else:
            _finished_elsewhere(read.file)


def _finished_elsewhere(file: Claimed) -> None:
    """Raises Unavailable when the file that was not found is there after all."""
    if os.path.lexists(file.work):
        raise Unavailable("work area: a claimed file could not be opened; trying again")
    log.warning("finished_elsewhere", file=file.id)


def _note_decision(writer: Writer, read: Read) -> None:
    """Which rule decided, and why those before it did not, beside the record of the file."""
    decision = read.decision
    if decision is not None:
        writer.audit(
            f"file:{read.file.id}", "file:routed", rule=decision.rule, lane=decision.lane,
            policy=decision.policy, models=[owed.model for owed in read.owed], earlier=dict(decision.earlier),
        )  # fmt: skip
