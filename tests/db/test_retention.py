"""Retention: payloads go by state and age, never while a job is open; what was concluded from them stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from db import claims, conclusions, inputs, jobs, ledger, reports, retention
from db.archive import Archive
from db.jobs import Claimed, Conclusion, Owed
from db.ledger import Sighting
from db.records import Code, Diagnosis, Evidence, Finding, Kind
from db.settings import Settings
from db.store import Store

START = datetime(2024, 3, 1, tzinfo=UTC)
YES = Diagnosis(findings=(Finding(code=Code(value="1", system="s", meaning="m"), positive=True),))


class Kept:
    """A store and its archive, with their time in the test's hand, and terms of 30 and 90 days."""

    def __init__(self, store: Store, archive: Archive, settings: Settings) -> None:
        self.store, self.archive = store, archive
        self.time = START
        store.now = lambda: self.time
        self.settings = settings.model_copy(update={"retain_done_days": 30, "retain_failed_days": 90})
        self._files = 0

    def days(self, count: float) -> None:
        self.time += timedelta(days=count)

    def send(self, words: str) -> str:
        """A note that owes one job, its bytes archived; the digest."""
        self._files += 1
        name = f"{self._files}.txt"
        digest = self.archive.put_bytes(words.encode())
        owed = [Owed(model="words", version="1", weights_sha256="w" * 64)]
        with self.store.write() as writer:
            file_id = ledger.see(writer, [Sighting(name=name, suffix=".txt", bytes=1)])[name]
            inputs.accept(
                writer, file_id, Evidence(kind=Kind.NOTE), digest=digest, size=len(words), owed=owed
            )
        return digest

    def claim(self) -> Claimed:
        (hint,) = jobs.take_owed(self.store)
        (job,) = claims.claim(self.store, hint[0], worker="w", lease_seconds=60)
        return job

    def read(self, picture: bytes | None = None) -> Claimed:
        job = self.claim()
        artifacts = {"picture": self.archive.put_bytes(picture)} if picture else {}
        done = Conclusion(job=job, diagnosis=YES, device="cpu", artifacts=artifacts)
        assert conclusions.conclude(self.store, [done]) == [True]
        return job

    def due(self) -> list[str]:
        with self.store.read() as connection:
            return [f"{d.state} {d.digest}" for d in retention.due(connection, self.settings, self.time)]

    def apply(self) -> int:
        with self.store.read() as connection:
            chosen = retention.due(connection, self.settings, self.time)
        return len(retention.remove(self.store, self.archive, self.settings, chosen))


@pytest.fixture
def kept(store: Store, archive: Archive, settings: Settings) -> Kept:
    """On each database in turn."""
    return Kept(store, archive, settings)


def test_a_read_input_is_due_after_its_term_and_not_before(kept: Kept) -> None:
    digest = kept.send("a")
    kept.read()
    kept.days(29.9)
    assert kept.due() == []
    kept.days(0.2)
    assert kept.due() == [f"done {digest}"]


def test_a_term_counts_from_the_reading_not_from_the_arrival(kept: Kept) -> None:
    kept.send("a")
    kept.days(29)
    kept.read()
    kept.days(29)
    assert kept.due() == []


@pytest.mark.parametrize("state", ["owed", "queued", "running"])
def test_an_input_with_an_open_job_is_never_due(kept: Kept, state: str) -> None:
    kept.send("a")
    if state == "queued":
        jobs.take_owed(kept.store)
    if state == "running":
        kept.claim()
    kept.days(9999)
    assert kept.due() == []


def test_a_failed_input_has_a_term_of_its_own(kept: Kept) -> None:
    digest = kept.send("a")
    jobs.give_back(kept.store, kept.claim(), "e", final=True, max_attempts=3)
    kept.days(89)
    assert kept.due() == []
    kept.days(2)
    assert kept.due() == [f"failed {digest}"]


def test_without_terms_all_is_kept(kept: Kept) -> None:
    kept.send("a")
    kept.read()
    kept.settings = kept.settings.model_copy(update={"retain_done_days": None})
    kept.days(9999)
    assert kept.due() == []


def test_a_removed_payload_leaves_its_result_its_row_and_an_audit_entry(kept: Kept) -> None:
    digest = kept.send("a")
    job = kept.read()
    kept.days(31)
    assert (kept.apply(), digest in kept.archive) == (1, False)
    with kept.store.read() as connection:
        assert len(reports.results(connection)) == 1
        assert connection.scalar(text("SELECT count(*) FROM evidence")) == 1
        actions = list(connection.scalars(text("SELECT action FROM audit WHERE action LIKE 'evidence:%'")))
        assert retention.removed_at(connection, job.id) == kept.time
    assert actions == ["evidence:received", "evidence:removed"]
    assert kept.store.verify_audit().ok
    assert kept.apply() == 0


def test_the_pictures_go_with_the_input_they_were_drawn_from(kept: Kept) -> None:
    kept.send("a")
    kept.read(b"picture")
    before = sum(1 for p in kept.archive.folder.rglob("*") if p.is_file())
    kept.days(31)
    kept.apply()
    assert (before, [p for p in kept.archive.folder.rglob("*") if p.is_file()]) == (2, [])


def test_a_picture_that_a_kept_input_shares_stays(kept: Kept) -> None:
    kept.send("a")
    kept.read(b"picture")
    kept.days(31)
    kept.send("b")
    kept.read(b"picture")
    kept.apply()
    assert sum(1 for p in kept.archive.folder.rglob("*") if p.is_file()) == 2  # b and the picture


def test_a_job_opened_since_the_list_was_made_pins_its_input(kept: Kept) -> None:
    digest = kept.send("a")
    jobs.give_back(kept.store, kept.claim(), "e", final=True, max_attempts=3)
    kept.days(91)
    with kept.store.read() as connection:
        chosen = retention.due(connection, kept.settings, kept.time)
    jobs.requeue(kept.store)
    assert retention.remove(kept.store, kept.archive, kept.settings, chosen) == []
    assert digest in kept.archive


def test_a_failed_job_without_its_input_is_not_requeued(kept: Kept) -> None:
    kept.send("a")
    jobs.give_back(kept.store, kept.claim(), "e", final=True, max_attempts=3)
    kept.days(91)
    kept.apply()
    assert jobs.requeue(kept.store) == []


def test_the_same_bytes_again_bring_the_payload_back_and_begin_its_term_anew(kept: Kept) -> None:
    digest = kept.send("a")
    kept.read()
    kept.days(31)
    kept.apply()
    assert kept.send("a") == digest
    assert (kept.due(), digest in kept.archive) == ([], True)
    kept.days(31)
    assert kept.due() == [f"done {digest}"]


def test_a_removal_that_was_cut_off_before_its_commit_is_done_again(kept: Kept) -> None:
    digest = kept.send("a")
    kept.read()
    kept.days(31)
    kept.archive.remove(digest)  # the bytes went, the row did not get to know
    assert kept.apply() == 1
