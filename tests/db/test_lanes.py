"""Lanes: urgent work goes first, nothing starves, and work that was tried before endangers no other."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from db import claims, conclusions, inputs, jobs, ledger, queue
from db.jobs import Claimed, Conclusion, Owed
from db.ledger import Sighting
from db.records import Code, Diagnosis, Evidence, Finding, Kind
from db.store import Store

YES = Diagnosis(findings=(Finding(code=Code(value="1", system="s", meaning="m"), positive=True),))


@pytest.fixture(autouse=True)
def _clock(store: Store) -> None:
    """Each look at the time is a millisecond after the last, so that jobs have an order."""
    ticks = itertools.count()
    store.now = lambda: datetime(2024, 3, 1, tzinfo=UTC) + timedelta(milliseconds=next(ticks))


_number = itertools.count(1)


def owe(store: Store, lane: str, count: int = 1, model: str = "film") -> list[str]:
    """Jobs in a lane, hinted; their ids."""
    for _ in range(count):
        number = next(_number)
        with store.write() as writer:
            file_id = ledger.see(writer, [Sighting(name=f"{number}", suffix="", bytes=1)])[f"{number}"]
            owed = Owed(model=model, version="1", weights_sha256="a" * 64, lane=lane)
            evidence = Evidence(kind=Kind.IMAGE, uid=f"1.{number}", case_key=f"{number}")
            inputs.accept(writer, file_id, evidence, digest=f"{number:064d}", size=1, owed=[owed])
    return [job_id for job_id, _ in jobs.take_owed(store)]


def claim(store: Store, hint: str, *, yield_turn: bool = False, limit: int = 8) -> list[Claimed]:
    return claims.claim(
        store, hint, worker="w", lease_seconds=60, limit=limit, lanes=queue.LANES, yield_turn=yield_turn
    )


def conclude(store: Store, claimed: list[Claimed]) -> None:
    conclusions.conclude(store, [Conclusion(job=job, diagnosis=YES, device="cpu") for job in claimed])


def test_a_stat_job_behind_300_routine_ones_is_in_the_next_batch(store: Store) -> None:
    backlog = owe(store, "routine", 300)
    running = claim(store, backlog[0])
    (stat,) = owe(store, "stat")
    assert [job.id for job in claim(store, backlog[8])] == [stat]
    assert {job.lane for job in running} == {"routine"}


def test_a_hint_s_own_lane_is_served_when_none_is_more_urgent(store: Store) -> None:
    later = owe(store, "off-peak")
    assert [job.lane for job in claim(store, later[0])] == ["off-peak"]


def test_a_turn_yielded_goes_to_the_longest_waiting_of_the_lanes_behind(store: Store) -> None:
    off_peak, routine, stat = owe(store, "off-peak")[0], owe(store, "routine")[0], owe(store, "stat")[0]
    order = [claim(store, stat, yield_turn=True)[0].id, claim(store, stat, yield_turn=True)[0].id]
    assert order == [off_peak, routine]


def test_a_turn_yielded_with_nobody_behind_is_not_lost(store: Store) -> None:
    (stat,) = owe(store, "stat")
    assert [job.id for job in claim(store, stat, yield_turn=True)] == [stat]


def more(
    store: Store, like: Claimed, *, yield_turn: bool = False, held: dict[str, str] | None = None
) -> list[Claimed]:
    return claims.more(
        store, like, worker="w", lease_seconds=60, limit=4, lanes=queue.LANES, yield_turn=yield_turn,
        held=held,
    )  # fmt: skip


def test_more_are_the_oldest_neighbours_that_wait(store: Store) -> None:
    backlog = owe(store, "routine", 9)
    (first, *_) = claim(store, backlog[0], limit=2)
    assert [job.id for job in more(store, first)] == backlog[2:6]
    assert [job.id for job in more(store, first)] == backlog[6:]


def test_no_more_are_claimed_where_more_urgent_work_waits(store: Store) -> None:
    backlog = owe(store, "routine", 3)
    (first,) = claim(store, backlog[0], limit=1)
    owe(store, "stat")
    assert more(store, first) == []


@pytest.mark.parametrize(("yield_turn", "count"), [(False, 2), (True, 0)])
def test_more_yield_their_turn_to_the_lanes_behind(store: Store, yield_turn: bool, count: int) -> None:
    backlog = owe(store, "routine", 3)
    (first,) = claim(store, backlog[0], limit=1)
    owe(store, "off-peak")
    assert len(more(store, first, yield_turn=yield_turn)) == count


def test_no_more_are_claimed_where_another_model_s_job_has_waited_longest(store: Store) -> None:
    (hint,) = owe(store, "routine")
    (first,) = claim(store, hint)
    owe(store, "routine", model="note")
    owe(store, "routine", 2)
    assert more(store, first) == []


def test_what_this_worker_cannot_read_stands_in_nobody_s_way(store: Store) -> None:
    (hint,) = owe(store, "routine")
    (first,) = claim(store, hint)
    owe(store, "routine", model="note")
    owe(store, "routine", 2)
    assert len(more(store, first, held={"note": "b" * 64})) == 2


def test_a_late_hint_claims_nothing_although_others_wait(store: Store) -> None:
    first, *_ = owe(store, "routine", 3)
    conclude(store, claim(store, first, limit=1))
    assert claim(store, first) == []


def test_a_job_that_was_tried_before_goes_alone(store: Store) -> None:
    first, second, third = owe(store, "routine", 3)
    (job,) = claim(store, first, limit=1)
    jobs.give_back(store, job, "e", final=False, max_attempts=3)
    assert [c.id for c in claim(store, first)] == [first]
    assert {c.id for c in claim(store, second)} == {second, third}


def test_neighbours_that_were_tried_before_are_left_out_of_a_batch(store: Store) -> None:
    first, second = owe(store, "routine", 2)
    (job,) = claim(store, first, limit=1)
    jobs.give_back(store, job, "e", final=False, max_attempts=3)
    assert [c.id for c in claim(store, second)] == [second]


def test_waiting_jobs_are_counted_up_to_the_limit(store: Store) -> None:
    owe(store, "routine", 5)
    with store.read() as connection:
        assert (jobs.waiting(connection, 3), jobs.waiting(connection, 9)) == (3, 5)


def test_hints_are_sent_again_for_the_named_lanes_alone(store: Store) -> None:
    owe(store, "routine")
    (stat,) = owe(store, "stat")
    assert jobs.hint_lost(store, 0, ["stat"]) == [(stat, "stat")]
