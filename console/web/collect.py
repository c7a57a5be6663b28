"""The metrics that SQL and Redis know, read at the scrape: exact, and monotone over any restart."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from sqlalchemy import Connection

from db import queue, reports, services
from db.errors import WetreadError
from db.logs import get
from db.settings import Settings
from db.store import Store
from ingest.pressure import REASONS

log = get("web")


class RecordCollector(Collector):
    """Counts from the record. A part that cannot be read is left out, and the scrape goes on."""

    def __init__(self, settings: Settings, store: Store, client: Redis) -> None:
        self._settings = settings
        self._store = store
        self._client = client

    def describe(self) -> list[Metric]:
        """Nothing beforehand: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family of the record."""
        try:
            with self._store.read() as connection:
                parts: list[Callable[[Connection], list[Metric]]] = [
                    _files, _series, _jobs, _results, _abstentions, _quarantined, self._ages, _totals,
                    self._services,
                ]  # fmt: skip
                for part in parts:
                    yield from part(connection)
        except WetreadError as error:
            log.warning("scrape_without_record", reason=str(error))
        yield from self._redis()
        yield from self._disk()

    def _ages(self, connection: Connection) -> list[Metric]:
        oldest = GaugeMetricFamily(
            "wetread_oldest_pending_seconds", "Age of the oldest file or job not concluded; 0 when none."
        )
        oldest.add_metric([], reports.oldest_pending(connection, self._store.now()))
        last = GaugeMetricFamily(
            "wetread_last_success_timestamp_seconds", "When a job was last concluded; 0: never."
        )
        last.add_metric([], _timestamp(reports.last_success(connection)))
        return [oldest, last]

    def _services(self, connection: Connection) -> list[Metric]:
        up = GaugeMetricFamily(
            "wetread_service_up", "1 while a service's heartbeat is fresh.", labels=["service"]
        )
        fresh = services.FRESH_BEATS * self._settings.heartbeat_seconds
        alive = services.alive(self._store, connection, fresh)
        for name, service in alive.items():
            up.add_metric([name], 0 if service["state"] == "lost" else 1)
        up.add_metric(["valkey"], 1 if queue.is_up(self._client) else 0)
        ages = GaugeMetricFamily(
            "wetread_canary_age_seconds",
            "Seconds since a worker proved that it consumes.",
            labels=["service"],
        )
        for name, age in services.canary_ages(self._store, connection).items():
            ages.add_metric([name], age)
        return [up, ages, self._waiting(alive)]

    def _waiting(self, alive: Mapping[str, Mapping[str, object]]) -> Metric:
        waits = GaugeMetricFamily(
            "wetread_intake_waiting", "1 while an ingest claims nothing, by reason.", labels=["reason"]
        )
        states = {service["state"] for service in alive.values()}
        for reason in REASONS:
            waits.add_metric([reason], 1 if f"waiting: {reason}" in states else 0)
        return waits

    def _redis(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("wetread_redis_up", "1 while Redis answers.")
        depth = GaugeMetricFamily("wetread_queue_depth", "Messages waiting in Redis.", labels=["lane"])
        try:
            for lane, count in queue.depth(self._client).items():
                depth.add_metric([lane], count)
            up.add_metric([], 1)
        except WetreadError:
            up.add_metric([], 0)
        yield from (up, depth)

    def _disk(self) -> Iterator[Metric]:
        free = GaugeMetricFamily("wetread_disk_free_bytes", "Bytes free where the home lies.")
        try:
            free.add_metric([], shutil.disk_usage(self._settings.home).free)
        except OSError as error:  # the share is gone, or the home
            log.warning("scrape_without_disk", kind=type(error).__name__)
        yield free


def _files(connection: Connection) -> list[Metric]:
    family = GaugeMetricFamily("wetread_files", "Files ever seen, by state.", labels=["state"])
    for state, count in reports.file_counts(connection).items():
        family.add_metric([state], count)
    return [family]


def _series(connection: Connection) -> list[Metric]:
    family = GaugeMetricFamily("wetread_series", "Series, by whether they are whole.", labels=["state"])
    for state, count in reports.series_counts(connection).items():
        family.add_metric([state], count)
    return [family]


def _jobs(connection: Connection) -> list[Metric]:
    family = GaugeMetricFamily(
        "wetread_jobs", "Jobs by state, model and lane.", labels=["state", "model", "lane"]
    )
    for state, model, lane, count in reports.job_counts(connection):
        family.add_metric([state, model, lane], count)
    return [family]


def _results(connection: Connection) -> list[Metric]:
    family = CounterMetricFamily("wetread_results", "Results committed.", labels=["model", "outcome"])
    for model, outcome, count in reports.result_counts(connection):
        family.add_metric([model, outcome], count)
    return [family]


def _abstentions(connection: Connection) -> list[Metric]:
    family = CounterMetricFamily("wetread_abstentions", "Abstentions by reason.", labels=["model", "reason"])
    for (model, reason), count in reports.abstention_counts(connection).items():
        family.add_metric([model, reason], count)
    return [family]


def _quarantined(connection: Connection) -> list[Metric]:
    family = CounterMetricFamily("wetread_quarantined", "Files ever quarantined.", labels=["reason"])
    for reason, count in reports.quarantine_counts(connection).items():
        family.add_metric([reason], count)
    return [family]


def _totals(connection: Connection) -> list[Metric]:
    entries = CounterMetricFamily("wetread_audit_entries", "Entries in the audit log.")
    entries.add_metric([], reports.audit_length(connection))
    cases = GaugeMetricFamily("wetread_cases", "Cases known.")
    cases.add_metric([], reports.case_count(connection))
    return [entries, cases]


def _timestamp(at: datetime | None) -> float:
    return 0.0 if at is None else at.timestamp()
