"""Files on their way into the archive, while others are read or recorded."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from db import metrics
from db.archive import Archive, Batch
from db.sealing import SealingKey
from ingest import sealer
from ingest.claimed import Read

SEALERS = 2  #: threads; hashing and sealing let go of the interpreter
MANY = 16  #: from so many files on, another process seals them: beside a few its start would be felt
BATCHES = 2  #: one is synced while the next is sealed


class Underway:
    """Files that were read and are being archived; none of them is recorded."""

    def __init__(self, archive: Archive, threads: Threads, keys: SealingKey) -> None:
        self.reads: list[Read] = []
        self._batch = archive.begin()
        self._threads = threads
        self._keys = keys
        self._archived: Future[dict[Path, str | None]] | None = None

    def settle(self) -> None:
        """Has the accepted files sealed and made durable; nothing is added any more."""
        files = [read.file.work for read in self.reads if read.evidence is not None]
        self._archived = self._threads.batches.submit(self._archive, files)

    def wait(self) -> dict[Path, str | None]:
        """Once they are durable, the SHA-256 of each, None of one that is gone. Raises Unavailable."""
        return {} if self._archived is None else self._archived.result()

    def abandon(self) -> None:
        """Lets go of the batch once no thread works at it; what was settled stays, all else goes."""
        if self._archived is not None:
            wait([self._archived])
        self._batch.abandon()

    def _archive(self, files: Sequence[Path]) -> dict[Path, str | None]:
        with metrics.stage("archive"):
            if len(files) < MANY:
                digests = list(self._threads.sealers.map(partial(_sealed, self._batch), files))
            else:
                digests = self._batch.put_all(files, partial(sealer.seal, keys=self._keys))
            self._batch.settle()
        return dict(zip(files, digests, strict=True))


class Threads:
    """Who seals, and who waits for the disk; started when first needed."""

    def __init__(self) -> None:
        self.sealers = ThreadPoolExecutor(SEALERS, "seal")
        self.batches = ThreadPoolExecutor(BATCHES, "archive")


def _sealed(batch: Batch, file: Path) -> str | None:
    """Puts a file into the archive's batch; its SHA-256, None when another ingest finished it."""
    try:
        return batch.put(file)
    except FileNotFoundError:
        return None
