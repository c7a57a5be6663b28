"""Only the world's faults are tried again; memory is tried once more in smaller pieces; bugs stay visible."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from db import jobs
from db.archive import Archive
from db.errors import Misconfigured, Rejected, Unavailable
from db.inputs import accept
from db.jobs import Owed
from db.ledger import Sighting, see
from db.records import Code, Diagnosis, Evidence, Finding, Kind
from db.settings import Settings
from db.store import Store
from models.payloads import Note, Payload
from tests.bench import card
from worker.blame import is_memory, is_world
from worker.diagnose import Diagnoser
from worker.runtime import Runtime

YES = Diagnosis(findings=(Finding(code=Code(value="1", system="s", meaning="m"), positive=True),))


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    ("error", "world"),
    [
        (Unavailable("redis"), True), (OSError(errno.ENOSPC, "full"), True), (MemoryError(), True),
        (OutOfMemoryError(), True), (ConnectionResetError(errno.ECONNRESET, "gone"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (ValueError("x"), False), (RuntimeError("shape"), False),
        (FileNotFoundError(errno.ENOENT, "x"), False),
        (Rejected("truncated", "x"), False), (Misconfigured("x"), False), (KeyError("memory"), False),
    ],
)  # fmt: skip
def test_whose_fault_it_is(error: Exception, world: bool) -> None:
    assert is_world(error) is world


def test_a_word_about_memory_in_another_error_is_no_lack_of_it() -> None:
    assert not is_memory(ValueError("out of memory"))


class Small:
    """A model whose memory holds so many inputs at once, and that fails on the word `bug`."""

    device = "cpu"

    def __init__(self, holds: int) -> None:
        self.card = card("words", "note")
        self.holds = holds
        self.batches: list[int] = []

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """Notes the size of the batch."""
        self.batches.append(len(payloads))
        if len(payloads) > self.holds:
            raise MemoryError
        if any(isinstance(p, Note) and p.text == "bug" for p in payloads):
            raise ValueError("Canary^Clara")
        return [YES] * len(payloads)


Made = tuple[Diagnoser, Callable[..., list[tuple[str, int, str | None]]]]


@pytest.fixture
def worker(sqlite_store: Store, archive: Archive, settings: Settings) -> Callable[..., Made]:
    """A worker with a model of so much memory; called with notes, it reads them and tells the jobs."""

    def make(holds: int) -> Made:
        runtime = Runtime("cpu")
        runtime.models["words"] = Small(holds)
        diagnoser = Diagnoser(settings, sqlite_store, archive, runtime, "worker-1")

        def read(*notes: str) -> list[tuple[str, int, str | None]]:
            for words in notes:
                _owe(sqlite_store, archive, words)
            diagnoser.diagnose(jobs.take_owed(sqlite_store)[0][0])
            with sqlite_store.read() as connection:
                query = text("SELECT state, attempts, error FROM jobs ORDER BY state")
                return [tuple(row) for row in connection.execute(query)]  # type: ignore[misc]

        return diagnoser, read

    return make


def _owe(store: Store, archive: Archive, words: str) -> None:
    digest = archive.put_bytes(words.encode())
    with store.write() as writer:
        file_id = see(writer, [Sighting(name=words, suffix="", bytes=1)])[words]
        owed = Owed(model="words", version="1", weights_sha256="w" * 64)
        accept(writer, file_id, Evidence(kind=Kind.NOTE), digest=digest, size=1, owed=[owed])


def test_a_batch_too_large_for_the_memory_is_read_in_smaller_pieces(worker: Callable[..., Made]) -> None:
    diagnoser, read = worker(2)
    assert [row[0] for row in read("a", "b", "c", "d", "e")] == ["done"] * 5
    assert diagnoser.runtime.models["words"].batches == [5, 3, 2, 1, 2]  # type: ignore[attr-defined]


def test_an_input_too_large_for_the_memory_is_tried_again_later(worker: Callable[..., Made]) -> None:
    _, read = worker(0)
    ((state, attempts, error),) = read("a")
    assert (state, attempts) == ("owed", 1)
    assert str(error).startswith("forward: MemoryError")


def test_a_bug_fails_at_once_with_its_way_and_without_its_words(worker: Callable[..., Made]) -> None:
    _, read = worker(9)
    bad, good = sorted(read("bug", "good"), key=lambda row: row[0], reverse=True)
    assert (bad[0], bad[1], good[0]) == ("failed", 1, "done")
    assert f"{Path(__file__).name}:" in str(bad[2])
    assert "worker/stages.py:" in str(bad[2])
    assert "Canary" not in str(bad[2])


def test_every_fourth_batch_is_for_the_lanes_behind(worker: Callable[..., Made]) -> None:
    diagnoser, read = worker(9)
    turns = []
    for number in range(8):
        turns.append(diagnoser._is_turn_of_others())
        read(f"note {number}")
    assert turns == [False, False, False, True] * 2
