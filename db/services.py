"""Signs of life: which services run, where, in which state."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from db.store import Store
from db.tables import Service

FRESH_BEATS = 4  #: a service is up while its last sign of life is at most this many beats old
FORGET_SECONDS = 86_400  #: a service killed a day ago is no longer news


def beat(store: Store, name: str, state: str, detail: Mapping[str, object] | None = None) -> None:
    """A service says that it lives: starting, ready, waiting, stopping."""
    with store.write() as writer:
        row = {
            "name": name, "pid": os.getpid(), "state": state, "started_at": writer.now,
            "heartbeat_at": writer.now, "detail": dict(detail or {}),
        }  # fmt: skip
        dialect = postgresql if writer.connection.dialect.name == "postgresql" else sqlite
        stale = delete(Service).where(Service.heartbeat_at < writer.now - timedelta(seconds=FORGET_SECONDS))
        writer.connection.execute(stale)
        changed = {k: row[k] for k in ("pid", "state", "heartbeat_at", "detail")}
        query = dialect.insert(Service).values(row)
        writer.connection.execute(query.on_conflict_do_update(index_elements=["name"], set_=changed))


def gone(store: Store, name: str) -> None:
    """A service that stopped in order takes its name off the list."""
    with store.write() as writer:
        writer.connection.execute(delete(Service).where(Service.name == name, Service.pid == os.getpid()))


def alive(store: Store, connection: Connection, fresh_seconds: float) -> dict[str, dict[str, object]]:
    """Each service by name with state, pid and detail; state is `lost` when its last beat is too old."""
    now, fresh = store.now(), timedelta(seconds=fresh_seconds)
    limit, latest = now - fresh, now + fresh
    return {
        s.name: {
            # a beat from the future was left by a clock that has been put back since
            "state": s.state if limit <= s.heartbeat_at <= latest else "lost",
            "pid": s.pid,
            "heartbeat_at": s.heartbeat_at.isoformat(timespec="seconds"),
            **s.detail,
        }
        for s in connection.execute(select(Service.__table__))
    }


def canary_ages(store: Store, connection: Connection) -> dict[str, float]:
    """Seconds since each worker last proved that it consumes: by a batch, or by a canary of its own.

    Of one that is reading: since it last said so. A worker that is not ready yet owes no proof.
    """
    ages = {}
    for service in connection.execute(select(Service.__table__)):
        proofs = [service.detail.get("canary_at"), service.detail.get("last_job_at")]
        times = [datetime.fromisoformat(at) for at in proofs if isinstance(at, str)]
        if not times:
            continue
        if service.detail.get("busy_seconds") is not None:
            times.append(service.heartbeat_at)
        ages[service.name] = max(0.0, (store.now() - max(times)).total_seconds())
    return ages
