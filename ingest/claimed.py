"""A file on its way from the inbox to the record: claimed, then read or refused."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from db.errors import Rejected
from db.jobs import Owed
from db.records import Evidence
from db.settings import Settings
from ingest import identify
from ingest.apart import Contents
from ingest.rules import Decision


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
