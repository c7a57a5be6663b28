"""The supervisor ends a worker without proof of work, and no other; readiness asks for the same proof."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from console.liveness import Liveness
from console.web.app import checks
from db import services
from db.settings import Settings
from db.store import Store

START = datetime(2024, 3, 1, tzinfo=UTC)
PID = os.getpid()


class World:
    """A store whose time, the supervisor's too, is in the test's hand; longest silence 90 s, beats of 5 s."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.store = store
        self.seconds = 1000.0
        store.now = lambda: START + timedelta(seconds=self.seconds)
        self.liveness = Liveness(settings, store, lambda: self.seconds)

    def beat(self, *, proof: float | None, busy: float | None = None) -> None:
        """A heartbeat whose last canary was answered `proof` seconds ago; None: it owes none yet."""
        at = None if proof is None else (self.store.now() - timedelta(seconds=proof)).isoformat()
        detail = {"canary_at": at, "last_job_at": None, "busy_seconds": busy}
        services.beat(self.store, "worker-1", "ready", detail)

    def watch(self, looks: int, each: Callable[[], None] | None = None, pid: int = PID) -> list[str]:
        """Looks every five seconds; whom the supervisor ended."""
        ended: list[str] = []
        for _ in range(looks):
            self.seconds += 5
            if each:
                each()
            ended += self.liveness.deaf({"worker-1": pid})
        return ended


@pytest.fixture
def world(settings: Settings, sqlite_store: Store) -> World:
    """Of one worker."""
    return World(settings, sqlite_store)


def test_a_worker_that_proves_its_work_is_left_alone(world: World) -> None:
    assert world.watch(20, lambda: world.beat(proof=10)) == []


def test_a_worker_whose_heart_beats_and_that_consumes_nothing_is_ended_once(world: World) -> None:
    assert world.watch(4, lambda: world.beat(proof=95)) == ["worker-1"]


def test_a_worker_whose_heart_stopped_is_ended(world: World) -> None:
    world.beat(proof=0)
    assert world.watch(18) == []  # 90 s
    assert world.watch(5) == ["worker-1"]


def test_a_worker_that_reads_for_long_is_left_to_its_own_watchdog(world: World) -> None:
    assert world.watch(40, lambda: world.beat(proof=500, busy=400.0)) == []


def test_a_worker_that_is_still_starting_is_left_alone(world: World) -> None:
    assert world.watch(40, lambda: world.beat(proof=None)) == []


def test_an_earlier_process_s_silence_is_not_held_against_the_new_one(world: World) -> None:
    world.beat(proof=500)
    assert world.watch(40, pid=PID + 1) == []


def test_old_proofs_right_after_the_database_was_away_end_nobody(world: World) -> None:
    world.beat(proof=0)
    world.seconds += 600  # nothing could be written or read meanwhile
    assert world.watch(1) == []
    assert world.watch(20, lambda: world.beat(proof=1)) == []


@pytest.mark.parametrize(("proof", "ready"), [(10, True), (200, False), (None, False)])
def test_readiness_asks_for_a_worker_that_consumes(
    world: World, settings: Settings, redis: Redis, proof: float | None, ready: bool
) -> None:
    world.beat(proof=proof)
    assert (checks(settings, world.store, redis)["canary"] == "ok") is ready
