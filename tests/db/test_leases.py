"""Leases end by missed renewals, not by what the wall clock jumps to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from db.leases import LeaseWatch

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Watched:
    """One lease of 60 s, renewed every 5 s, watched at a time of the test's choosing."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.watch = LeaseWatch(60, 5, clock=lambda: self.seconds)

    def ended(self, at: float, until: datetime, now: datetime) -> bool:
        self.seconds = at
        return bool(self.watch.ended([("t", until)], now))


def test_a_renewed_lease_never_ends() -> None:
    watched = Watched()
    for second in range(0, 600, 5):
        now = NOON + timedelta(seconds=second)
        assert not watched.ended(second, now + timedelta(seconds=60), now)


def test_a_lease_over_by_the_clock_ends_after_three_missed_beats() -> None:
    watched = Watched()
    assert [watched.ended(s, NOON, NOON + timedelta(seconds=1)) for s in (0, 14, 15)] == [False, False, True]


def test_a_lease_watched_to_its_end_ends_at_once() -> None:
    watched, until = Watched(), NOON + timedelta(seconds=60)
    assert not watched.ended(0, until, NOON)
    assert watched.ended(61, until, NOON + timedelta(seconds=61))


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_jump_of_the_clock_ends_no_renewed_lease(jump: timedelta) -> None:
    watched = Watched()
    assert not watched.ended(0, NOON + timedelta(seconds=60), NOON)
    for second in range(5, 120, 5):
        now = NOON + timedelta(seconds=second)
        assert not watched.ended(second, now + timedelta(seconds=60), now + jump)


def test_a_clock_put_back_does_not_keep_a_dead_workers_lease() -> None:
    watched, until = Watched(), NOON + timedelta(seconds=60)
    assert not watched.ended(0, until, NOON - HOUR)
    assert watched.ended(60, until, NOON - HOUR + timedelta(seconds=60))
