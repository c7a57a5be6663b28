"""The dashboard asks only for metrics and labels that docs/metrics.md promises, and explains itself."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

import deploy_queries
from db import metrics
from deploy_queries import (
    DASHBOARDS,
    PROMETHEUS_SERIES,
    TARGET_LABELS,
    documented,
    expressions,
    label_values,
    literals_in,
    metrics_in,
    panels,
    series,
    substituted,
    undocumented,
)

EXPRESSIONS = expressions()
WHERE = [where for where, _ in EXPRESSIONS]
DASHBOARD: dict[str, Any] = json.loads((DASHBOARDS / "wetread.json").read_text("utf-8"))
PROVISIONING = DASHBOARDS.parent / "provisioning"


def targets() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for panel in panels(DASHBOARD):
        for target in panel["targets"]:
            yield panel, target


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=WHERE)
def test_expression_names_only_documented_metrics_and_labels(where: str, expression: str) -> None:
    known = {**series(), **PROMETHEUS_SERIES}
    named = metrics_in(expression)
    assert named, f"{where} names no metric"
    for name, labels in named.items():
        assert name in known, f"{where}: {name} is not in docs/metrics.md"
        assert labels <= known[name] | TARGET_LABELS, f"{where}: {name} has no label {labels - known[name]}"


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=WHERE)
def test_expression_asks_for_label_values_that_exist(where: str, expression: str) -> None:
    values = label_values()
    for label, value in literals_in(expression):
        if values.get(label) and value != ".*":
            assert value in values[label], f"{where}: {label} is never {value!r}"


def test_every_stage_of_a_file_and_of_a_job_is_drawn() -> None:
    drawn = {value for _, e in EXPRESSIONS if "stage_seconds" in e for _, value in literals_in(e)}
    loops = {"ingest", "relay", "task", "watchdog", "canary"}  # these count errors alone
    assert label_values()["stage"] - loops <= drawn


def test_no_variable_is_left_in_an_expression() -> None:
    assert [where for where, e in EXPRESSIONS if re.search(r"\$[A-Za-z_{]", e)] == []


def test_every_label_in_the_docs_is_explained() -> None:
    used = {label for metric in documented().values() for label in metric.labels}
    assert used == set(label_values())


def test_metrics_of_the_code_are_documented_with_their_labels() -> None:
    kinds = (Counter, Gauge, Histogram)
    promised = documented()
    for metric in (m for m in vars(metrics).values() if isinstance(m, kinds)):
        (family,) = metric.describe()
        name = family.name + ("_total" if family.type == "counter" else "")
        assert (promised[name].type, promised[name].labels) == (family.type, set(metric._labelnames)), name


def test_undocumented_names_what_a_scrape_shows_and_the_docs_do_not() -> None:
    good = 'wetread_files{state="done"} 1\nwetread_intake_seconds_bucket{le="5"} 1\npython_info 1\n'
    assert undocumented(good) == []
    bad = "wetread_files 1\nwetread_secrets 1\n"
    assert undocumented(bad) == ["wetread_files", "wetread_secrets"]


def test_every_documented_metric_is_on_the_dashboard() -> None:
    asked = {name for where, e in EXPRESSIONS if where.startswith("wetread.json") for name in metrics_in(e)}
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert set(documented()) <= bases


def test_panel_ids_are_unique() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_panels_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not mine & cells, panel["title"]
        assert max(x for x, _ in mine) < 24, panel["title"]
        cells |= mine


@pytest.mark.parametrize("panel", list(panels(DASHBOARD)), ids=lambda panel: panel["title"])
def test_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 20
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panel_titles_are_unique() -> None:
    titles = [panel["title"] for panel in panels(DASHBOARD)]
    assert len(titles) == len(set(titles))


def test_legends_name_labels_of_their_expression() -> None:
    for panel, target in targets():
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        labels = set().union(*metrics_in(substituted(target["expr"], DASHBOARD)).values())
        assert named <= labels, f"{panel['title']}: {named - labels}"


def test_metrics_in_finds_matched_grouped_and_joined_labels() -> None:
    found = metrics_in('sum by (a) (rate(x_total{b="1"}[5m])) / on (c) group_left () max_over_time(y[1h:1m])')
    assert found == {"x_total": {"a", "b", "c"}, "y": {"c"}}


def test_metrics_in_sees_through_label_replace() -> None:
    found = metrics_in('max by (kind, b) (label_replace(x, "kind", "$1", "a", "(.+)-.*"))')
    assert found == {"x": {"a", "b"}}


def test_metrics_in_refuses_what_is_not_promql() -> None:
    with pytest.raises(ValueError, match="expected type matrix"):
        metrics_in("rate(x_total)")


def test_variables_of_dashboard_are_substituted() -> None:
    board = {"templating": {"list": [{"name": "model", "type": "query"}]}}
    expression = 'rate(x{m=~"$model"}[$__rate_interval]) offset $__range'
    assert substituted(expression, board) == 'rate(x{m=~".*"}[1m]) offset 1h'


def test_provisioned_dashboard_folder_is_where_compose_mounts_it() -> None:
    provider = yaml.safe_load((PROVISIONING / "dashboards/wetread.yml").read_text("utf-8"))["providers"][0]
    compose = yaml.safe_load((deploy_queries.ROOT / "deploy/compose.yaml").read_text("utf-8"))
    mounted = [config["target"] for config in compose["services"]["grafana"]["configs"]]
    assert f"{provider['options']['path']}/wetread.json" in mounted
