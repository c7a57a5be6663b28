"""The metrics that processes count; those that SQL knows are read from it at the scrape (console/web)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    120,
    300,
    600,
    1800,
    3600,
)

stage_seconds = Histogram(
    "wetread_stage_seconds", "Seconds a stage took.", ["stage", "model"], buckets=SECONDS
)
intake_seconds = Histogram("wetread_intake_seconds", "Seconds from settled to recorded.", buckets=SECONDS)
turnaround_seconds = Histogram(
    "wetread_turnaround_seconds",
    "Seconds from file first seen to result committed.",
    ["model"],
    buckets=SECONDS,
)
scan_seconds = Histogram("wetread_scan_seconds", "Seconds a full scan of the inbox took.", buckets=SECONDS)
job_attempts = Counter(
    "wetread_job_attempts_total", "Attempts at jobs by how they ended.", ["model", "outcome"]
)
requeued = Counter("wetread_requeued_total", "Jobs hinted or owed again, by cause.", ["cause"])
errors = Counter("wetread_errors_total", "Errors by stage and kind.", ["stage", "kind"])
rules_loaded = Gauge(
    "wetread_rules_loaded_timestamp_seconds", "When the routing rules in force were read.",
    multiprocess_mode="mostrecent",
)  # fmt: skip
rules_refused = Counter("wetread_rules_refused_total", "Rules files that were refused.")
model_load_seconds = Gauge(
    "wetread_model_load_seconds",
    "Seconds to load and warm up.",
    ["model", "device"],
    multiprocess_mode="mostrecent",
)
model_info = Gauge(
    "wetread_model_info", "1 for each model a worker holds.", ["model", "version", "weights", "device"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
info = Gauge(
    "wetread_info", "1, labelled with the running version.", ["version"], multiprocess_mode="mostrecent"
)

for _cause in ("lost-hint", "lease-expired", "retry"):
    requeued.labels(_cause)
for _stage in ("ingest", "relay", "task"):
    errors.labels(_stage, "Unavailable")


def announce(models: Iterable[str] = ()) -> None:
    """States the running version, and lets the models' counters begin at nought.

    A counter that first appears as 1 hides its first event from `increase()`.
    """
    info.labels(version("wetread")).set(1)
    for model in models:
        for outcome in ("done", "abstained", "retried", "failed"):
            job_attempts.labels(model, outcome)


@contextmanager
def stage(name: str, model: str = "") -> Iterator[None]:
    """Times a stage."""
    start = time.perf_counter()
    try:
        yield
    finally:
        stage_seconds.labels(name, model).observe(time.perf_counter() - start)


def registry() -> CollectorRegistry:
    """What a scrape reads: every process of this machine under `wetread up`, else this one."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    found = CollectorRegistry()
    MultiProcessCollector(found)  # type: ignore[no-untyped-call]
    return found


def serve(host: str, port: int) -> None:
    """Serves this process's own metrics on a port; 0 serves none."""
    if port:
        start_http_server(port, addr=host, registry=registry())
