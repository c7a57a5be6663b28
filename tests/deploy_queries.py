"""Every PromQL expression that deploy/ asks, the metrics each names, and a real Prometheus to run them in."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import promql_parser as promql
import yaml
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[1]
DASHBOARDS = ROOT / "deploy/grafana/dashboards"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
METRICS = ROOT / "docs/metrics.md"
PROMETHEUS = "/usr/bin/prometheus"

#: labels that Prometheus itself puts on every series it scrapes
TARGET_LABELS = frozenset({"job", "instance"})
#: series that Prometheus makes by itself; a firing alert keeps the labels of what it is about
PROMETHEUS_SERIES = {
    "up": frozenset[str](),
    "ALERTS": frozenset({"alertname", "alertstate", "severity", "service", "kind", "model", "lane"}),
}
HISTOGRAM_SUFFIXES = ("_bucket", "_sum", "_count")
#: what Grafana would put in place of its own variables
GRAFANA = {
    "$__rate_interval": "1m",
    "$__range": "1h",
    "$__interval": "15s",
    "${datasource}": "prometheus",
}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One row of docs/metrics.md."""

    name: str
    type: str  #: gauge, counter or histogram
    labels: frozenset[str]
    unit: str


def _rows(first_column: str) -> Iterator[list[str]]:
    """The cells of the rows of the table in docs/metrics.md whose header starts so."""
    inside = False
    for line in METRICS.read_text("utf-8").splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == first_column:
            inside = True
        elif inside and not set(cells[0]) <= {"-"}:
            yield cells


def documented() -> dict[str, Metric]:
    """The metrics that docs/metrics.md lists, by base name."""
    found = {}
    for name, kind, labels, unit, *_ in _rows("name"):
        key = name.strip("`")
        found[key] = Metric(name=key, type=kind, labels=frozenset(re.findall(r"`(\w+)`", labels)), unit=unit)
    return found


def label_values() -> dict[str, frozenset[str]]:
    """The values each label may take, by label; an empty set means that they are not listed ("any")."""
    return {row[0].strip("`"): frozenset(re.findall(r"`([^`]+)`", row[1])) for row in _rows("label")}


def series() -> dict[str, frozenset[str]]:
    """The labels of every series the documented metrics make (`_bucket`, `_sum`, `_count` spelled out)."""
    found: dict[str, frozenset[str]] = {}
    for metric in documented().values():
        if metric.type != "histogram":
            found[metric.name] = metric.labels
            continue
        for suffix in HISTOGRAM_SUFFIXES:
            found[metric.name + suffix] = metric.labels | ({"le"} if suffix == "_bucket" else set())
    return found


def undocumented(exposition: str) -> list[str]:
    """Our series in a scrape's text that docs/metrics.md does not have, or has with other labels; sorted."""
    known = series()
    samples = (s for family in text_string_to_metric_families(exposition) for s in family.samples)
    ours = (s for s in samples if s.name.startswith("wetread_") and not s.name.endswith("_created"))
    return sorted({s.name for s in ours if known.get(s.name) != frozenset(s.labels)})


def _selectors(expression: Any) -> list[Any]:
    """Every vector selector of a parsed expression."""
    found: list[Any] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql.VectorSelector):
            found.append(node)
        return True

    promql.walk(expression, visit, None)
    return found


def metrics_in(expression: str) -> dict[str, set[str]]:
    """The metrics an expression names, each with the labels it matches, groups or joins by.

    Raises ValueError when the expression is not PromQL or a selector has no plain metric name.
    """
    tree = promql.parse(expression)
    names: dict[str, set[str]] = {}
    for selector in _selectors(tree):
        if selector.name is None:
            raise ValueError(f"a selector without a metric name: {selector.prettify()}")
        names.setdefault(selector.name, set()).update(m.name for m in selector.matchers.matchers)

    made: set[str] = set()  # by label_replace, from the label that it reads

    def visit(node: Any) -> bool:
        labels: set[str] = set()
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            labels = set(node.modifier.labels)
        elif isinstance(node, promql.BinaryExpr) and node.modifier is not None:
            labels = set(node.modifier.matching.labels) if node.modifier.matching is not None else set()
        elif isinstance(node, promql.Call) and node.func.name == "label_replace":
            made.add(node.args[1].val)
            labels = {node.args[3].val} - {""}
        for selector in _selectors(node) if labels else ():
            names[selector.name].update(labels - made)
        return True

    promql.walk(tree, None, visit)  # children first
    return names


def literals_in(expression: str) -> set[tuple[str, str]]:
    """The (label, value) pairs that an expression's selectors match for; `a|b` is two values."""
    pairs: set[tuple[str, str]] = set()
    for selector in _selectors(promql.parse(expression)):
        for matcher in selector.matchers.matchers:
            pairs.update((matcher.name, value) for value in matcher.value.split("|"))
    return pairs


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A dashboard's panels, those folded into rows included, rows themselves left out."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def substituted(expression: str, dashboard: dict[str, Any]) -> str:
    """The expression as Grafana would send it with every variable at its "All"."""
    variables = {f"${v['name']}": ".*" for v in dashboard["templating"]["list"] if v["type"] == "query"}
    for name, value in {**GRAFANA, **variables}.items():
        expression = re.sub(re.escape(name) + r"\b", value, expression)
    return expression


def rules() -> list[dict[str, Any]]:
    """The alert rules, in file order."""
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[tuple[str, str]]:
    """(where, expression) of every panel, annotation and variable of the dashboards and every alert rule."""
    found = []
    for path in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(path.read_text("utf-8"))
        for panel in panels(dashboard):
            for target in panel.get("targets", []):
                where = f"{path.name}: {panel['title']} ({target['refId']})"
                found.append((where, substituted(target["expr"], dashboard)))
        for note in dashboard["annotations"]["list"]:
            found.append((f"{path.name}: annotation {note['name']}", substituted(note["expr"], dashboard)))
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                inner = re.fullmatch(r"label_values\((.+), *\w+\)", variable["query"]["query"])
                if inner is None:
                    raise ValueError(f"{path.name}: ${variable['name']} is not label_values(metric, label)")
                found.append((f"{path.name}: ${variable['name']}", substituted(inner[1], dashboard)))
    found += [(f"alerts.yml: {rule['alert']}", rule["expr"].strip()) for rule in rules()]
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _get(port: int, path: str, **parameters: str) -> dict[str, Any]:
    """One answer of Prometheus's HTTP API. Raises OSError while it does not listen."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", f"{path}?{urlencode(parameters)}")
        body = connection.getresponse().read()
    finally:
        connection.close()
    try:
        return dict(json.loads(body))
    except ValueError:  # "Service Unavailable" while it starts
        return {"status": "error", "error": body.decode(errors="replace").strip()}


def _until(truth: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Waits for the truth. Raises AssertionError naming what did not come true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError):  # it does not listen yet
            if truth():
                return
        time.sleep(0.1)
    raise AssertionError(f"within {seconds:g} s there should be {what}")


@contextmanager
def prometheus(target: str, tmp_path: Path) -> Iterator[int]:
    """A real Prometheus with deploy's rules that scrapes `target` each second; yields its port."""
    address = target.removeprefix("http://").split("/")[0]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "wetread", "static_configs": [{"targets": [address]}]}],
    }
    folder = tmp_path / "prometheus"
    folder.mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    port = _free_port()
    command = [
        PROMETHEUS,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield port
        finally:
            process.terminate()


def _count(port: int, query: str) -> str:
    """How a query went: "3 series", or "error: ..."."""
    answer = _get(port, "/api/v1/query", query=query)
    if answer["status"] != "success":
        return f"error: {answer.get('error', 'unknown')}"
    result = answer["data"]["result"]
    return f"{1 if answer['data']['resultType'] == 'scalar' else len(result)} series"


def query_all_with_prometheus(target: str, tmp_path: Path, seconds: float = 120.0) -> dict[str, str]:
    """Runs every expression of deploy/ in a real Prometheus that scrapes a running app.

    target: where the app serves /metrics, as `127.0.0.1:8642` or a URL; tmp_path: an empty folder;
    seconds: how long it may take to be scraped.
    Returns how each expression went ("3 series" or "error: ..."), and each rule's health under
    `rule NAME` ("ok" or "error: ..."). Raises AssertionError when the target is never up.
    """
    with prometheus(target, tmp_path) as port:
        # three scrapes, so that rates have something to stand on
        _until(
            lambda: _count(port, "sum_over_time(up[1m]) >= 3 and up == 1") == "1 series",
            f"three good scrapes of {target.removeprefix('http://').split('/')[0]}",
            seconds,
        )

        def health() -> list[dict[str, Any]]:
            groups = _get(port, "/api/v1/rules")["data"]["groups"]
            return [rule for group in groups for rule in group["rules"]]

        _until(lambda: all(rule["health"] != "unknown" for rule in health()), "rules evaluated once")
        outcome = {expression: _count(port, expression) for _, expression in expressions()}
        for rule in health():
            well = rule["health"] == "ok"
            outcome[f"rule {rule['name']}"] = "ok" if well else f"error: {rule.get('lastError', '')}"
    return outcome
