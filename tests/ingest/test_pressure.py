"""Backpressure: too full a disk or queue stops claiming, and intake resumes by itself, without flapping."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from prometheus_client import generate_latest
from prometheus_client.registry import CollectorRegistry

from console.web.collect import RecordCollector
from db import claims, conclusions
from db.jobs import Conclusion
from db.records import Diagnosis
from ingest import service
from tests.bench import Bench
from tests.builders import dicom_bytes, write_tree


class Usage(NamedTuple):
    """What shutil.disk_usage answers."""

    total: int
    used: int
    free: int


def read(bench: Bench, count: int) -> None:
    """A worker's part: that many waiting jobs get their abstention."""
    for job_id in bench.sent[:count]:
        claimed = claims.claim(bench.store, job_id, worker="w", lease_seconds=60)
        done = [Conclusion(job=c, diagnosis=Diagnosis.abstain("x", "y"), device="cpu") for c in claimed]
        conclusions.conclude(bench.store, done)
    del bench.sent[:count]


def counts(bench: Bench) -> tuple[int, int, str]:
    files = bench.files()
    return files.get("pending", 0), files.get("ready", 0), bench.ingest.state


def test_a_full_queue_stops_claiming_and_resumes_once_a_tenth_is_read(
    bench_of: Callable[..., Bench],
) -> None:
    bench = bench_of(queue_limit=20, intake_batch=5)
    write_tree(bench.inbox, {f"{n}.dcm": dicom_bytes() for n in range(30)})
    bench.settle()
    assert counts(bench) == (10, 20, "waiting: queue")
    assert len([name for name in bench.left() if name.endswith(".dcm")]) == 10
    read(bench, 2)
    bench.settle()
    assert counts(bench) == (10, 18, "waiting: queue")
    read(bench, 1)
    bench.settle()
    assert counts(bench)[0] == 5  # 17 waited, one batch makes 22
    read(bench, 20)
    bench.settle()
    assert (counts(bench)[0], bench.ingest.state) == (0, "ready")


def test_without_a_limit_the_queue_may_grow(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(queue_limit=0)
    write_tree(bench.inbox, {f"{n}.dcm": dicom_bytes() for n in range(3)})
    bench.settle()
    assert bench.ingest.state == "ready"


def test_a_low_disk_is_waited_out_until_its_upper_mark(
    bench_of: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of(disk_low_bytes=100, disk_resume_bytes=200)
    write_tree(bench.inbox, {"film.dcm": dicom_bytes()})
    states = []
    for free in (99, 150, 199, 200, 150):
        with monkeypatch.context() as disk:
            disk.setattr(service.shutil, "disk_usage", lambda _, free=free: Usage(1000, 0, free))
            bench.settle()
        states.append((bench.ingest.state, bench.files()))
    low = ("waiting: disk", {"pending": 1})
    assert states == [low, low, low, ("ready", {"ready": 1}), ("ready", {"ready": 1})]


def test_the_state_is_on_record_at_once_and_a_metric_tells_why(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(queue_limit=1)
    write_tree(bench.inbox, {f"{n}.dcm": dicom_bytes() for n in range(2)})
    registry = CollectorRegistry()
    registry.register(RecordCollector(bench.settings, bench.store, bench.redis))
    bench.turn()
    assert 'wetread_intake_waiting{reason="queue"} 0.0' in generate_latest(registry).decode()
    bench.settle()
    found = generate_latest(registry).decode()
    assert 'wetread_intake_waiting{reason="queue"} 1.0' in found
    assert 'wetread_intake_waiting{reason="disk"} 0.0' in found
