"""Jobs: one conclusion each, by whoever holds the lease, however often anything is repeated."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, text

from db import claims, conclusions, inputs, jobs, ledger, reports
from db.jobs import Claimed, Conclusion, Owed
from db.keys import Keys
from db.ledger import Sighting
from db.records import Code, Diagnosis, Evidence, Finding, JobState, Kind
from db.store import Store, migrate

START = datetime(2024, 3, 1, tzinfo=UTC)
FILM = Owed(model="film", version="1", weights_sha256="a" * 64)
OTHER = Owed(model="other", version="1", weights_sha256="b" * 64)
YES = Diagnosis(findings=(Finding(code=Code(value="1", system="s", meaning="m"), positive=True),))


class Clock:
    """A time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def on(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock(store: Store) -> Clock:
    """The store's time, in the test's hand."""
    store.now = clock = Clock()
    return clock


def owe(store: Store, number: int = 1, *owed: Owed) -> None:
    """One file accepted that owes one job, or those named."""
    with store.write() as writer:
        name = f"{number}.dcm"
        file_id = ledger.see(writer, [Sighting(name=name, suffix=".dcm", bytes=1)])[name]
        evidence = Evidence(kind=Kind.IMAGE, uid=f"1.{number}", case_key="A", study_uid="1")
        digest = f"{number:064d}"
        inputs.accept(writer, file_id, evidence, digest=digest, size=1, owed=owed or [FILM])


def taken(store: Store) -> list[str]:
    return [job_id for job_id, _ in jobs.take_owed(store)]


def claim(store: Store, job_id: str, limit: int = 1) -> list[Claimed]:
    return claims.claim(store, job_id, worker="w", lease_seconds=60, limit=limit)


def conclude(store: Store, job: Claimed, diagnosis: Diagnosis = YES) -> bool:
    return conclusions.conclude(store, [Conclusion(job=job, diagnosis=diagnosis, device="cpu")])[0]


def state(store: Store, job_id: str) -> str:
    with store.read() as connection:
        return str(connection.scalar(text("SELECT state FROM jobs WHERE id = :i"), {"i": job_id}))


def test_an_owed_job_is_hinted_once(store: Store) -> None:
    owe(store)
    assert len(taken(store)) == 1
    assert taken(store) == []


def test_jobs_are_hinted_oldest_first(store: Store, clock: Clock) -> None:
    for number in range(3):
        owe(store, number)
        clock.on(1)
    order = taken(store)
    with store.read() as connection:
        assert order == [r[0] for r in connection.execute(text("SELECT id FROM jobs ORDER BY created_at"))]


def test_a_hinted_job_is_claimed_once(store: Store) -> None:
    owe(store)
    (job,) = taken(store)
    assert [c.id for c in claim(store, job)] == [job]
    assert claim(store, job) == []


def test_a_claim_takes_neighbours_of_the_same_model_up_to_its_limit(store: Store) -> None:
    for number in range(4):
        owe(store, number, FILM, OTHER)
    first = taken(store)[0]
    assert [c.model for c in claim(store, first, limit=3)] == [claim_model(store, first)] * 3


def claim_model(store: Store, job_id: str) -> str:
    with store.read() as connection:
        return str(connection.scalar(text("SELECT model FROM jobs WHERE id = :i"), {"i": job_id}))


def test_a_claimed_job_names_its_inputs_and_when_the_file_was_seen(store: Store, clock: Clock) -> None:
    owe(store)
    clock.on(5)
    (job,) = claim(store, taken(store)[0])
    assert [(i.kind, i.digest) for i in job.inputs] == [("image", f"{1:064d}")]
    assert (job.seen_at, job.queued_seconds) == (START, 5.0)


def test_an_unknown_job_claims_nothing(store: Store) -> None:
    assert claim(store, "0" * 20) == []


def test_a_conclusion_writes_results_state_and_file_together(store: Store) -> None:
    owe(store)
    (job,) = claim(store, taken(store)[0])
    assert conclude(store, job)
    with store.read() as connection:
        assert reports.file_counts(connection)["done"] == 1
        assert [(r["positive"], r["device"]) for r in reports.results(connection)] == [(True, "cpu")]


def test_a_job_is_concluded_once(store: Store) -> None:
    owe(store)
    (job,) = claim(store, taken(store)[0])
    assert conclude(store, job)
    assert not conclude(store, job)
    with store.read() as connection:
        assert len(reports.results(connection)) == 1


def test_a_lost_lease_cannot_conclude(store: Store, clock: Clock) -> None:
    owe(store)
    (old,) = claim(store, taken(store)[0])
    clock.on(61)
    assert jobs.reap(store, 3) == 1
    (new,) = claim(store, old.id)
    assert not conclude(store, old)
    assert conclude(store, new)


def test_a_lost_lease_cannot_be_given_back(store: Store, clock: Clock) -> None:
    owe(store)
    (old,) = claim(store, taken(store)[0])
    clock.on(61)
    jobs.reap(store, 3)
    assert jobs.give_back(store, old, "x", final=True, max_attempts=3) is None
    assert state(store, old.id) == "owed"


def test_a_file_is_done_only_when_all_its_jobs_are_concluded(store: Store) -> None:
    owe(store, 1, FILM, OTHER)
    for number, job in enumerate(taken(store)):
        with store.read() as connection:
            assert reports.file_counts(connection)["done"] == 0, number
        conclude(store, claim(store, job)[0])
    with store.read() as connection:
        assert reports.file_counts(connection)["done"] == 1


def test_a_living_worker_keeps_its_lease(store: Store, clock: Clock) -> None:
    owe(store)
    (job,) = claim(store, taken(store)[0])
    clock.on(50)
    claims.renew(store, [job.token], 60)
    clock.on(50)
    assert jobs.reap(store, 3) == 0
    clock.on(11)
    assert jobs.reap(store, 3) == 1


def test_a_dead_worker_s_job_fails_after_its_attempts(store: Store, clock: Clock) -> None:
    owe(store)
    job_id = taken(store)[0]
    for expected in ("owed", "owed", "failed"):
        claim(store, job_id)
        clock.on(61)
        jobs.reap(store, 3)
        assert state(store, job_id) == expected


def test_a_retry_waits_for_its_delay(store: Store, clock: Clock) -> None:
    owe(store)
    (job,) = claim(store, taken(store)[0])
    assert jobs.give_back(store, job, "x", final=False, max_attempts=3, delay_seconds=10) is JobState.OWED
    assert taken(store) == []
    clock.on(10)
    assert taken(store) == [job.id]


def test_a_final_failure_is_not_tried_again(store: Store) -> None:
    owe(store)
    (job,) = claim(store, taken(store)[0])
    assert jobs.give_back(store, job, "x", final=True, max_attempts=3) is JobState.FAILED
    assert taken(store) == []


def test_a_failed_job_is_requeued_with_its_attempts_anew(store: Store) -> None:
    owe(store)
    (job,) = claim(store, taken(store)[0])
    jobs.give_back(store, job, "x", final=True, max_attempts=3)
    assert jobs.requeue(store) == [job.id]
    assert claim(store, taken(store)[0])[0].attempts == 1


def test_only_failed_jobs_are_requeued(store: Store) -> None:
    owe(store)
    assert jobs.requeue(store, taken(store)) == []


def test_a_hint_that_an_empty_queue_lost_is_named_again_after_a_while(store: Store, clock: Clock) -> None:
    owe(store)
    (job,) = taken(store)
    assert jobs.hint_lost(store, 20) == []
    clock.on(20)
    assert jobs.hint_lost(store, 20) == [(job, "routine")]
    assert jobs.hint_lost(store, 20) == []


def test_an_abstention_is_one_row_with_its_reason(store: Store) -> None:
    owe(store)
    (job,) = claim(store, taken(store)[0])
    conclude(store, job, Diagnosis.abstain("not-chest", "a hand"))
    with store.read() as connection:
        (row,) = reports.results(connection)
    assert (row["abstained"], row["reason"], row["finding"], row["positive"]) == (
        True, "not-chest: a hand", None, None,
    )  # fmt: skip


def once_after_read(store: Store, work: Callable[[Store], object], url: str, key: Keys) -> None:
    """Lets another process do its work right after the store's next look, before it writes."""
    done: list[bool] = []

    def between(*_: object) -> None:
        if not done:
            done.append(True)
            other = Store(url, key, now=store.now)
            work(other)
            other.close()

    event.listen(store.engine, "checkin", between)


def test_a_job_concluded_while_the_reaper_looks_is_not_said_to_have_ended(
    store: Store, clock: Clock, key: Keys
) -> None:
    owe(store)
    (job,) = claim(store, taken(store)[0])
    clock.on(61)
    url = store.engine.url.render_as_string(hide_password=False)
    once_after_read(store, lambda other: conclude(other, job), url, key)
    assert jobs.reap(store, 3) == 0
    with store.read() as connection:
        actions = [e["action"] for e in reports.audit_entries(connection, subject=f"job:{job.id}")]
    assert actions == ["job:owed", "job:queued", "job:claimed", "job:done"]


def test_a_lease_renewed_while_the_reaper_looks_is_kept(store: Store, clock: Clock, key: Keys) -> None:
    owe(store)
    (job,) = claim(store, taken(store)[0])
    clock.on(61)
    url = store.engine.url.render_as_string(hide_password=False)
    once_after_read(store, lambda other: claims.renew(other, [job.token], 60), url, key)
    assert jobs.reap(store, 3) == 0
    assert conclude(store, job)


def test_a_job_claimed_while_the_reconciler_looks_is_not_hinted_again(
    store: Store, clock: Clock, key: Keys
) -> None:
    owe(store)
    (job,) = taken(store)
    clock.on(21)
    url = store.engine.url.render_as_string(hide_password=False)
    once_after_read(store, lambda other: claim(other, job), url, key)
    assert jobs.hint_lost(store, 20) == []


def test_workers_that_claim_at_once_get_different_jobs(postgresql_database: str, key: Keys) -> None:
    store = Store(postgresql_database, key)
    migrate(store)
    for number in range(12):
        owe(store, number)
    hints = taken(store)
    claimed: list[list[str]] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for hint in hints:
            claimed.append([c.id for c in claim(store, hint, limit=3)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(i for part in claimed for i in part) == sorted(hints)
    assert store.verify_audit().ok
    store.close()


def test_the_same_input_model_and_weights_are_owed_once(store: Store) -> None:
    owe(store, 1, FILM, FILM)
    assert len(taken(store)) == 1
