"""Every alert is tested firing and quiet, says what to do, and is as urgent as it says."""

import re
import shutil
import subprocess
from typing import Any

import pytest
import typer
import yaml
from sqlalchemy import text

from console.cli import app
from db import metrics
from db.store import Store
from deploy_queries import ALERTS, ROOT, rules

RULES = rules()
NAMES = [rule["alert"] for rule in RULES]
TESTS: list[dict[str, Any]] = yaml.safe_load((ALERTS.parent / "alerts_test.yml").read_text("utf-8"))["tests"]
RUNBOOK = (ROOT / "deploy/runbook.md").read_text("utf-8")

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian package: prometheus)"
)


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )


@needs_promtool
@pytest.mark.parametrize("name", ["prometheus.yml", "compose.yml"])
def test_prometheus_accepts_the_configuration_and_its_rules(name: str) -> None:
    run = promtool("check", "config", f"deploy/prometheus/{name}")
    assert run.returncode == 0, run.stderr
    assert f"{len(RULES)} rules found" in run.stdout


@needs_promtool
def test_alerts_fire_and_stay_quiet_as_their_unit_tests_say() -> None:
    run = promtool("test", "rules", "deploy/prometheus/alerts_test.yml")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("name", NAMES)
def test_alert_has_a_test_that_fires_it_and_one_that_keeps_it_quiet(name: str) -> None:
    expected = [
        check["exp_alerts"]
        for test in TESTS
        for check in test["alert_rule_test"]
        if check["alertname"] == name
    ]
    assert any(expected), "no test fires it"
    assert not all(expected), "no test keeps it quiet"


def test_alert_names_are_unique_and_ours() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert [name for name in NAMES if not name.startswith("Wetread")] == []


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_alert_says_how_urgent_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"].endswith(f"#{rule['alert'].lower()}")


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_alert_text_shows_only_labels_that_its_expression_keeps(rule: dict[str, Any]) -> None:
    shown = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"]))))
    # a bare selector keeps all labels of its target
    assert shown <= kept | ({"job", "instance"} if rule["expr"].startswith("up{") else set())


def sections() -> dict[str, str]:
    parts = re.split(r"^## (\w+)$", RUNBOOK, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_runbook_has_one_section_an_alert_and_no_other() -> None:
    assert [name for name in sections() if name.startswith("Wetread")] == NAMES


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_runbook_section_says_meaning_look_act_and_whom_to_wake(rule: dict[str, Any]) -> None:
    section = sections()[rule["alert"]]
    for word in ("**Means**", "**Look**", "**Do**", "**Wake**"):
        assert word in section
    assert rule["labels"]["severity"] in section.split("**Means**")[0]


def test_runbook_names_only_commands_that_exist() -> None:
    root = typer.main.get_command(app)
    prose = re.sub(r"^```.*?^```$", "", RUNBOOK, flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`wetread ([a-z]+)(?:\s+([a-z]+))?", prose))
    assert {("quarantine", "list"), ("audit", "verify"), ("status", "")} <= named
    for command, subcommand in named:
        found = root.commands[command]
        assert not subcommand or subcommand in found.commands, f"{command} {subcommand}"


def test_runbook_queries_run_on_the_promised_views(store: Store) -> None:
    (block,) = re.findall(r"^```sql\n(.*?)^```$", RUNBOOK, flags=re.MULTILINE | re.DOTALL)
    queries = [query for query in block.split(";") if query.strip()]
    assert len(queries) == 4
    with store.read() as connection:
        for query in queries:
            connection.execute(text(query))


def test_thresholds_of_latency_alerts_are_bounds_of_the_histograms() -> None:
    # a quantile is never told beyond the last bound, so a threshold above it could not fire
    for rule in RULES:
        if "histogram_quantile" in rule["expr"]:
            assert float(rule["expr"].split()[-1]) in metrics.SECONDS, rule["alert"]
