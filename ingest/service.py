"""The ingest service: watches, takes in, hints; one loop on one thread, which any stop may interrupt."""

from __future__ import annotations

import gc
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import PurePosixPath

from sqlalchemy import Connection

from db import ledger, metrics, services
from db.errors import Misconfigured, Unavailable
from db.ledger import Sighting
from db.logs import get, place
from db.records import FileState
from db.settings import Settings
from db.store import Store
from ingest import identify, reading
from ingest.assembly import Assembly
from ingest.beside import Beside, Fate
from ingest.claimed import Claimed
from ingest.conveyor import Conveyor
from ingest.dispatch import Dispatch
from ingest.intake import Intake
from ingest.mounts import watching
from ingest.pace import Pace
from ingest.pressure import Pressure
from ingest.readiness import Readiness
from ingest.watch import Events, Inbox, Settled

log = get("ingest")
ENTERED = 5000  # rows of files newly seen a transaction: more share its pages, others wait longer for it
BATCHES = 16  # taken in one turn at most, so that the loop goes on to say that it lives
FAULT = "waiting: fault"  # for something else than room; the log says for what
SCAN_PAUSES = 9  # times a scan's own duration that pass before the next: scans take a tenth of the time


class Ingest:
    """The loop's state: the inbox as seen, the ledger's ids of its files, work not yet recorded."""

    def __init__(
        self, settings: Settings, store: Store, intake: Intake, dispatch: Dispatch,
        name: str = "ingest", clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.store = store
        self.intake = intake
        self.dispatch = dispatch
        self.name = name
        self.clock = clock
        self.assembly = Assembly(settings, store, intake.cards, intake.rulebook)
        self.inbox = Inbox(settings.folder("inbox"), settings.settle_seconds, settings.done_suffix)
        self.beside = Beside(self.inbox, store)
        self.watching = watching(settings.folder("inbox"), settings.watch_mode)
        self.ids: dict[str, str] = {}  #: path below the inbox -> ledger id
        self._readiness = Readiness(settings, self.inbox, self.ids, intake.examiner.lacks)
        self.conveyor = Conveyor(intake, settings.intake_batch)
        self.state = "starting"
        self._pressure = Pressure(settings)
        self._trouble: Unavailable | None = None  #: what the last turn could not do without
        self._full = False  #: as many were taken as one turn takes: more may wait
        self._worked = False  #: files were entered or taken since the last pause
        self._pace = Pace(settings.tick_seconds, clock)
        self._next_scan = 0.0
        self._next_relay = 0.0
        self._next_beat = 0.0

    def resume(self) -> None:
        """Picks up what the last stop left: claimed files, files that went away meanwhile."""
        self.intake.sweep()
        unfinished = self.intake.unfinished()
        claimed = {file.id for file in unfinished}
        with self.store.read() as connection:
            pending = ledger.open_files(connection, self.store.keys)
            self.inbox.droppings = self._known_droppings(connection)
        gone = [
            f.id for f in pending if f.id not in claimed and not os.path.lexists(self.inbox.root / f.name)
        ]
        self._withdraw(gone)
        self.conveyor.add(*unfinished)  # last: the database may be away meanwhile, and this be tried again

    def _known_droppings(self, connection: Connection) -> set[str]:
        known = ledger.droppings(connection)
        probe = Inbox(self.inbox.root, self.settings.settle_seconds, self.settings.done_suffix)
        _, dropped = probe.scan(0.0)
        return {name for name in dropped if ledger.path_key(self.store.keys, name) in known}

    def tick(self, hints: Sequence[object] = ()) -> None:
        """One turn: look, take in what has settled, hint what is owed, say that we live.

        Raises Unavailable when the database or the archive is away; the next turn tries again. Without the
        archive what is owed is hinted all the same, and the beat says what is the matter.
        """
        now = self.clock()
        for path in hints:
            self._enter(*self.inbox.hint(self.inbox.root / str(path), now))
        if now >= self._next_scan:
            with metrics.scan_seconds.time():
                self._enter(*self.inbox.scan(now))
            self._next_scan = self._scan_after(now, self.clock())
        took = self._tried(now)
        if now >= self._next_relay:
            self.assembly.look()
        if took or now >= self._next_relay:
            self.dispatch.relay()
        if now >= self._next_relay:
            self.dispatch.reconcile()
            self._next_relay = now + self.settings.relay_seconds
        if now >= self._next_beat:
            services.beat(self.store, self.name, self.state)
            self._next_beat = now + self.settings.heartbeat_seconds
        if self._trouble is not None:
            raise self._trouble

    def _tried(self, now: float) -> int:
        """How many files were taken; what stood in the way is kept for the end of the turn."""
        try:
            took, self._trouble = self._take(now), None
        except Unavailable as why:
            took, self._trouble = 0, why
        if self._trouble is None and self.state == FAULT:
            self._say("ready")
        elif self._trouble is not None:
            self._say(FAULT)
        return took

    def _say(self, state: str) -> None:
        """Whoever asks for the state is told of another one at once."""
        if state != self.state:
            log.info("intake_state", state=state)
            self.state, self._next_beat = state, 0.0

    def pause(self) -> tuple[float, float]:
        """Seconds until the next turn: at least, and at most where no event calls for it before."""
        worked, self._worked = self._worked, False
        least, most = self._pace.pause(self.inbox.due, worked=worked)
        return (0.0, 0.0) if self._full else (least, most)

    def _scan_after(self, started: float, ended: float) -> float:
        """When to scan next: a scan of a large folder may not fill the time between scans."""
        often = self.settings.scan_seconds if self.watching.events else self.settings.poll_seconds
        return ended + max(often, SCAN_PAUSES * (ended - started))

    def _enter(self, new: Sequence[str], dropped: Sequence[str]) -> None:
        """Writes files newly seen into the ledger."""
        for names, state in ((new, FileState.PENDING), (dropped, FileState.IGNORED)):
            for start in range(0, len(names), ENTERED):
                part = [self._sighting(name) for name in names[start : start + ENTERED]]
                self._worked = True
                with self.store.write() as writer:
                    found = ledger.see(writer, part, state)
                if state is FileState.PENDING:
                    self.ids.update(found)

    def _sighting(self, name: str) -> Sighting:
        seen = self.inbox.files.get(name)
        suffix = PurePosixPath(name).suffix.lower()
        # only a file type is kept in plain: "report.jane" has a suffix as well
        shown = suffix if identify.is_known(suffix) else ""
        return Sighting(name=name, suffix=shown, bytes=seen.size if seen else 0)

    def _take(self, now: float) -> int:
        """Claims, reads and records settled files, a batch a transaction; returns how many."""
        size = self.settings.intake_batch
        self._full = False
        settled, gone = self.inbox.settled(now, limit=BATCHES * size)
        self._withdraw([self.ids.pop(name) for name in gone if name in self.ids])
        if self._must_wait():
            return 0
        if len(settled) > size:
            reading.foresee([self.inbox.root / item.name for item in settled if item.regular])
        count = self.conveyor.drain()  # while these cannot be recorded, nothing more is claimed
        for start in range(0, len(settled), size):
            waits = self._must_wait()
            if not waits and len(self.conveyor.held) >= self._pressure.room:
                count += self.conveyor.drain()  # these may owe the jobs that fill the queue
                waits = self._must_wait()
            if waits:
                break
            for item in settled[start : start + size]:
                if (claimed := self._claim(item, now)) is not None:
                    self.conveyor.add(claimed)
            count += self.conveyor.push()
        count += self.conveyor.drain()
        self._full = count > 0 and len(settled) == BATCHES * size
        self._worked |= count > 0
        return count

    def _free_bytes(self) -> int:
        """Of the fullest disk that intake writes to: archive and quarantine may be mounts of their own."""
        folders = (self.settings.home, *map(self.settings.folder, ("archive", "quarantine", "work")))
        return min(shutil.disk_usage(folder).free for folder in folders)

    def _must_wait(self) -> bool:
        """Is the disk or the queue too full to take more?"""
        with self.store.read() as connection:
            waits = self._pressure.look(self._free_bytes(), connection)
        if waits or self._trouble is None:  # whether that is over is known once something was taken
            self._say(f"waiting: {waits}" if waits else "ready")
        return waits is not None

    def _claim(self, item: Settled, now: float) -> Claimed | None:
        """Claims a settled file, unless it is still incomplete or waits for its companion."""
        file_id = self.ids.get(item.name)
        if file_id is None or item.name not in self.inbox.files:  # another ingest's, or taken as a sidecar
            self._adopt(item.name)
            return None
        if self._stands_beside(item, file_id, now) or (
            item.regular and not self._readiness.is_complete(item, now)
        ):
            return None
        sidecar = self._readiness.sidecar_of(item.name)
        parts = self._readiness.parts_of(item)
        beside = [*parts, *([sidecar[1]] if sidecar else [])]
        if not all(self.inbox.rested(name, now) for name in beside):  # it is still being written
            return None
        try:
            claimed = self.intake.claim(file_id, item.name, sidecar, tuple(parts.values()))
        except Misconfigured as error:
            log.error("cannot_claim", file=file_id, reason=str(error))
            self.inbox.postpone(item.name, now + self.settings.truncated_after_seconds)
            return None
        if claimed is None:
            return None  # gone, or another ingest's: the next look at the inbox tells
        metrics.stage_seconds.labels("settle", "").observe(item.quiet_seconds)
        for name in (item.name, *beside):
            self.inbox.forget(name)
            self.ids.pop(name, None)
        return claimed

    def _stands_beside(self, item: Settled, file_id: str, now: float) -> bool:
        """Is it a done mark or a manifest, taken away now or later?"""
        fate = self.beside.handle(item, file_id, (file.name for file in self.conveyor.held))
        if fate is Fate.TAKEN:
            self.inbox.forget(item.name)
            self.ids.pop(item.name, None)
        elif fate is Fate.STUCK:
            self.inbox.postpone(item.name, now + self.settings.truncated_after_seconds)
        return fate is not Fate.NONE

    def _adopt(self, name: str) -> None:
        """A file without an id is entered again: its row may have been concluded elsewhere meanwhile."""
        if name in self.inbox.files:
            self._enter([name], [])

    def _withdraw(self, ids: Sequence[str]) -> None:
        """Files whose sender took them back before they were read: not those that another ingest claimed."""
        gone = [file_id for file_id in ids if not os.path.lexists(self.intake.work / file_id)]
        if not gone:
            return
        with self.store.write() as writer:
            for file_id in gone:
                ledger.conclude(writer, file_id, FileState.IGNORED, reason=ledger.WITHDRAWN)


def run(ingest: Ingest, stop: threading.Event) -> None:
    """Turns the loop until told to stop; the world's faults are waited out."""
    events = Events(ingest.inbox.root)
    if ingest.watching.events:
        events.start()
    log.info(
        "watching", mode="events" if ingest.watching.events else "polling", on=ingest.watching.file_system
    )
    try:
        _resumed(ingest, stop)
        gc.freeze()  # what is loaded by now stays: the collector need not walk it again with every batch
        log.info("ingest_ready", held=len(ingest.conveyor.held))
        while not stop.is_set():
            try:
                ingest.tick(list(events.drain()))
                least, most = ingest.pause()
            except Unavailable as error:
                metrics.errors.labels("ingest", "Unavailable").inc()
                log.warning("waiting", reason=str(error))
                least = most = random.uniform(0.5, 1.5)  # several hosts must not ask all at once
            except Exception as error:  # noqa: BLE001 - a turn that fails must not end the watch over the others
                metrics.errors.labels("ingest", type(error).__name__).inc()
                log.error("turn_failed", error=place(error))
                least = most = 1.0
            if not stop.wait(least):
                events.wait(most - least)
    finally:
        events.stop()
        with suppress(Unavailable):
            services.gone(ingest.store, ingest.name)
        log.info("ingest_stopped")


def _resumed(ingest: Ingest, stop: threading.Event) -> None:
    """Picks up what the last stop left, as soon as the database lets us."""
    while not stop.is_set():
        try:
            ingest.resume()
        except Unavailable as error:
            metrics.errors.labels("ingest", "Unavailable").inc()
            log.warning("waiting", reason=str(error))
            stop.wait(random.uniform(0.5, 1.5))
        else:
            return
