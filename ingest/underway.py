"""Files on their way into the archive, by threads of their own, while others are read or recorded."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from db import metrics
from db.archive import Archive, Batch
from ingest.claimed import Claimed, Read

SEALERS = 2  # hashing and sealing let go of the interpreter


class Underway:
    """Files that were read and are being archived; none of them is recorded."""

    def __init__(self, archive: Archive, threads: Threads) -> None:
        self.reads: list[tuple[Read, Future[str] | None]] = []  #: the accepted with their digests to come
        self._batch = archive.begin()
        self._threads = threads
        self._settled: Future[None] | None = None

    def add(self, read: Read) -> None:
        """A file that was read; an accepted one is sealed from now on."""
        accepted = read.evidence is not None
        sealing = self._threads.sealers.submit(_sealed, self._batch, read.file) if accepted else None
        self.reads.append((read, sealing))

    def settle(self) -> None:
        """Has the batch made durable once all of it is sealed; nothing is added any more."""
        self._settled = self._threads.syncer.submit(_settle, self._batch, self._sealings())

    def wait(self) -> None:
        """Returns once it is durable. Raises Unavailable."""
        if self._settled is not None:
            self._settled.result()

    def abandon(self) -> None:
        """Lets go of the batch once no thread works at it; what was settled stays, all else goes."""
        wait(self._sealings())
        if self._settled is not None:
            wait([self._settled])
        self._batch.abandon()

    def _sealings(self) -> list[Future[str]]:
        return [sealing for _, sealing in self.reads if sealing is not None]


class Threads:
    """Who seals, and who waits for the disk; started when first needed."""

    def __init__(self) -> None:
        self.sealers = ThreadPoolExecutor(SEALERS, "seal")
        self.syncer = ThreadPoolExecutor(1, "sync")


def _sealed(batch: Batch, file: Claimed) -> str:
    """Puts a file that was read into the archive's batch; its SHA-256."""
    with metrics.stage("archive"):
        return batch.put(file.work)


def _settle(batch: Batch, sealings: Sequence[Future[str]]) -> None:
    """Makes a batch durable once all of it is sealed. Raises Unavailable."""
    wait(sealings)
    for sealing in sealings:
        with suppress(FileNotFoundError):  # another ingest finished that one
            sealing.result()
    with metrics.stage("archive"):
        batch.settle()
