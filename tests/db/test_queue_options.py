"""The queue's options are ones that kombu reads, and the index for claims is one that is used."""

from __future__ import annotations

import inspect

from kombu.transport import redis as transport
from sqlalchemy import text

from db.queue import celery_app
from db.store import Store


def test_every_transport_option_is_one_that_kombu_reads() -> None:
    options = celery_app("redis://127.0.0.1:1/0").conf.broker_transport_options
    source = inspect.getsource(transport)
    assert [name for name in options if f"'{name}'" not in source] == []
    assert options["unacked_restore_interval"] * options["unacked_restore_throttle"] == 1  # seconds


def test_the_oldest_waiting_job_of_a_lane_is_found_by_its_index(sqlite_store: Store) -> None:
    query = (
        "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE state IN ('owed', 'queued') AND lane = 'stat' "
        "ORDER BY created_at LIMIT 1"
    )
    with sqlite_store.read() as connection:
        plan = " ".join(str(row[3]) for row in connection.execute(text(query)))
    assert "ix_jobs_waiting" in plan
    assert "TEMP B-TREE" not in plan  # nothing is sorted
