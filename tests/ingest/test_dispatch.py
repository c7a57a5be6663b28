"""The relay and the reconciler on a real Valkey: what SQL says is owed is hinted, and hinted again."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from sqlalchemy import text

from db import claims, inputs, ledger, queue
from db.errors import Unavailable
from db.jobs import Owed
from db.ledger import Sighting
from db.records import Evidence, Kind
from db.store import Store
from ingest.dispatch import Dispatch

NOWHERE = "redis://127.0.0.1:1/0"


def owe(store: Store, number: int = 1, lane: str = "routine") -> None:
    with store.write() as writer:
        name = f"{number}.txt"
        file_id = ledger.see(writer, [Sighting(name=name, suffix=".txt", bytes=1)])[name]
        owed = Owed(model="words", version="1", weights_sha256="a", lane=lane)
        evidence = Evidence(kind=Kind.NOTE)
        inputs.accept(writer, file_id, evidence, digest=f"{number:064d}", size=1, owed=[owed])


def states(store: Store) -> list[str]:
    with store.read() as connection:
        return sorted(connection.scalars(text("SELECT state FROM jobs")))


@pytest.fixture
def dispatch(sqlite_store: Store, redis: Redis, valkey_url: str) -> Dispatch:
    """The real relay, over Celery to the real Valkey."""
    enqueue = queue.sender(queue.celery_app(valkey_url))
    return Dispatch(sqlite_store, redis, enqueue, resend_after_seconds=20, max_attempts=3)


@pytest.mark.acceptance
def test_an_owed_job_s_hint_is_its_id_and_nothing_else(
    dispatch: Dispatch, sqlite_store: Store, redis: Redis
) -> None:
    owe(sqlite_store)
    assert dispatch.relay() == 1
    with sqlite_store.read() as connection:
        job_id = connection.scalar(text("SELECT id FROM jobs"))
    message = json.loads(redis.lindex("wetread.routine", 0))
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    assert (args, kwargs, message["headers"]["task"]) == ([job_id], {}, "wetread.diagnose")


@pytest.mark.acceptance
def test_each_lane_is_a_queue_of_its_own(dispatch: Dispatch, sqlite_store: Store, redis: Redis) -> None:
    owe(sqlite_store, 1)
    owe(sqlite_store, 2, "stat")
    dispatch.relay()
    assert queue.depth(redis) == {"stat": 1, "routine": 1, "off-peak": 0}


@pytest.mark.acceptance
def test_a_job_is_hinted_once_while_its_hint_waits(
    dispatch: Dispatch, sqlite_store: Store, redis: Redis
) -> None:
    owe(sqlite_store)
    dispatch.relay()
    sqlite_store.now = lambda: datetime.now(UTC) + timedelta(hours=1)
    dispatch.relay()
    dispatch.reconcile()
    assert queue.depth(redis)["routine"] == 1


@pytest.mark.acceptance
def test_a_queue_that_lost_everything_is_filled_again_from_sql(
    dispatch: Dispatch, sqlite_store: Store, redis: Redis
) -> None:
    for number in range(3):
        owe(sqlite_store, number)
    dispatch.relay()
    redis.flushall()
    dispatch.reconcile()
    assert queue.depth(redis)["routine"] == 0  # perhaps a worker has them: not before their time
    sqlite_store.now = lambda: datetime.now(UTC) + timedelta(seconds=21)
    dispatch.reconcile()
    assert queue.depth(redis)["routine"] == 3


@pytest.mark.acceptance
def test_a_dead_worker_s_job_is_owed_again(dispatch: Dispatch, sqlite_store: Store) -> None:
    owe(sqlite_store)
    dispatch.relay()
    with sqlite_store.read() as connection:
        job_id = str(connection.scalar(text("SELECT id FROM jobs")))
    claims.claim(sqlite_store, job_id, worker="w", lease_seconds=60)
    sqlite_store.now = lambda: datetime.now(UTC) + timedelta(seconds=61)
    dispatch.reconcile()
    assert states(sqlite_store) == ["owed"]


def test_nothing_is_marked_while_redis_is_away(sqlite_store: Store) -> None:
    owe(sqlite_store)
    client = queue.connect(NOWHERE)
    away = Dispatch(sqlite_store, client, lambda *_: None, resend_after_seconds=20, max_attempts=3)
    assert away.relay() == 0
    away.reconcile()
    assert states(sqlite_store) == ["owed"]
    client.close()


@pytest.mark.acceptance
def test_a_redis_that_goes_while_hints_are_sent_leaves_them_to_the_reconciler(
    sqlite_store: Store, redis: Redis
) -> None:
    sent: list[str] = []

    def fails_second(job_id: str, _: str) -> None:
        if sent:
            raise Unavailable("redis: gone")
        sent.append(job_id)

    for number in range(3):
        owe(sqlite_store, number)
    broken = Dispatch(sqlite_store, redis, fails_second, resend_after_seconds=20, max_attempts=3)
    assert broken.relay() == 1
    healed: list[str] = []
    again = Dispatch(
        sqlite_store, redis, lambda j, _: healed.append(j), resend_after_seconds=20, max_attempts=3
    )
    sqlite_store.now = lambda: datetime.now(UTC) + timedelta(seconds=21)
    again.reconcile()
    assert len(healed) == 3


def test_sending_to_no_redis_is_unavailable_without_its_password() -> None:
    enqueue = queue.sender(queue.celery_app("redis://:hunter2@127.0.0.1:1/0"))
    with pytest.raises(Unavailable) as caught:
        enqueue("0" * 20, "routine")
    assert "hunter2" not in str(caught.value)


def test_the_depth_of_no_redis_is_unavailable() -> None:
    client = queue.connect(NOWHERE)
    with pytest.raises(Unavailable):
        queue.depth(client)
    client.close()
