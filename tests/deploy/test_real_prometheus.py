"""A real Prometheus scrapes every documented metric and answers every expression of deploy/."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from deploy_queries import (
    PROMETHEUS,
    documented,
    expressions,
    label_values,
    query_all_with_prometheus,
    rules,
    series,
)
from deploy_queries import Metric as Documented

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not Path(PROMETHEUS).exists(), reason=f"{PROMETHEUS} is not installed"),
]


class Growing(Collector):
    """Lets the samples grow with each scrape, as they would in a working app; has none of its own."""

    def __init__(self) -> None:
        self.growth: list[Callable[[], None]] = []

    def collect(self) -> Iterable[Metric]:
        for grow in self.growth:
            grow()
        return ()


def fill(metric: Documented, registry: CollectorRegistry, growing: Growing) -> None:
    """The metric with one series for each listed value of one label, the others held at one value."""
    values = {label: sorted(label_values()[label]) or ["sample"] for label in metric.labels}
    labels = sorted(metric.labels)
    rows = [{label: values[label][0] for label in labels}]
    rows += [{**rows[0], label: value} for label in labels for value in values[label][1:]]
    if metric.type == "gauge":
        gauge = Gauge(metric.name, metric.unit, labels, registry=registry)
        for row in rows:
            (gauge.labels(**row) if row else gauge).set(1)
    elif metric.type == "counter":
        counter = Counter(metric.name, metric.unit, labels, registry=registry)
        for row in rows:
            growing.growth.append(partial((counter.labels(**row) if row else counter).inc, 3))
    else:
        histogram = Histogram(metric.name, metric.unit, labels, registry=registry)
        for row in rows:
            growing.growth.append(partial((histogram.labels(**row) if row else histogram).observe, 0.2))


@pytest.fixture
def server() -> Iterator[str]:
    registry = CollectorRegistry()
    growing = Growing()
    registry.register(growing)
    for metric in documented().values():
        fill(metric, registry, growing)
    wsgi, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        yield f"127.0.0.1:{wsgi.server_port}"
    finally:
        wsgi.shutdown()
        wsgi.server_close()
        thread.join()


#: panels that are rightly empty here: nothing fires, and nothing is an hour old
EMPTY = ("Files in an hour", "Alerts firing now", "annotation Alerts")


def test_real_prometheus_answers_every_expression(server: str, tmp_path: Path) -> None:
    outcome = query_all_with_prometheus(server, tmp_path)
    assert {e: r for e, r in outcome.items() if r.startswith("error")} == {}
    assert {f"rule {rule['alert']}" for rule in rules()} <= set(outcome)
    empty = [
        where
        for where, expression in expressions()
        if where.startswith("wetread.json") and outcome[expression] == "0 series"
    ]
    assert [where for where in empty if not any(name in where for name in EMPTY)] == []


def test_wrong_target_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"three good scrapes of 127\.0\.0\.1:1"):
        query_all_with_prometheus("http://127.0.0.1:1/metrics", tmp_path, seconds=3)


def test_documented_histograms_are_spelled_out_as_series() -> None:
    assert series()["wetread_turnaround_seconds_bucket"] == {"model", "le"}
    assert series()["wetread_turnaround_seconds_count"] == {"model"}
    assert "wetread_turnaround_seconds" not in series()
