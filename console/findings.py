"""The commands that show what was found: results, and one case with all that is known of it."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from console.shared import Home, Json, answer, answer_json, opened, say, table
from console.wording import measured, named, outcome, read_by


def results(
    home: Home = None,
    case: Annotated[str | None, typer.Option(help="Only this case.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only results since this UTC time.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    finding: Annotated[str | None, typer.Option(help="Only this finding code.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, newest first.")] = 1000,
    form: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
    as_json: Json = False,
) -> None:
    """The typed findings, newest first."""
    from db import reports

    if form not in ("table", "json", "csv"):
        raise typer.BadParameter(f"{form}: expected table, json or csv", param_hint="--format")
    bound = since.replace(tzinfo=UTC) if since else None
    with opened(home) as (_, store, _archive), store.read() as connection:
        found = reports.results(connection, since=bound, limit=limit, case_id=case, model=model, code=finding)
    if as_json or form == "json":
        answer_json(found)
    elif form == "csv":
        _csv(found)
    else:
        results_table(found)


def results_table(found: list[dict[str, Any]], *, of_one_case: bool = False) -> None:
    """Findings as a table for people."""
    columns = ["result", "case", "model", "finding", "probability", "value", "answer"]
    rows = [
        [
            r["result_id"], r["case_id"], read_by(r), named(r),
            None if r["probability"] is None else f"{r['probability']:.3f}", measured(r), outcome(r),
        ]
        for r in found
    ]  # fmt: skip
    if of_one_case:  # which one stands above the table
        columns, rows = [columns[0], *columns[2:]], [[row[0], *row[2:]] for row in rows]
    table("", columns, rows)


def _csv(found: list[dict[str, Any]]) -> None:
    flat = []
    for result in found:
        finding = result.pop("finding") or {}
        evidence = json.dumps(result.pop("evidence"))
        flat.append(
            {**result, **{k: finding.get(k) for k in ("code", "system", "meaning")}, "evidence": evidence}
        )
    out = io.StringIO()
    if flat:
        writer = csv.DictWriter(out, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)
    sys.stdout.write(out.getvalue())


def case(case_id: Annotated[str, typer.Argument()], home: Home = None, as_json: Json = False) -> None:
    """One case: its evidence, timeline with durations, readings and reviews."""
    from db import reports
    from models import fusion

    with opened(home) as (_, store, _archive), store.read() as connection:
        found = reports.case_report(connection, case_id)
    if found is not None:
        found["summary"] = [asdict(answer) for answer in fusion.answers(found["results"])]
    if found is None:
        say(f"no case {case_id}; `wetread results` lists cases")
        raise typer.Exit(1)
    if as_json:
        answer_json(found)
        return
    answer(f"case {case_id}   patient {found['patient'] or 'unknown'}   since {found['created_at']}")
    inputs = [[e["id"], e["kind"], e["facts"].get("modality"), e["received_at"]] for e in found["inputs"]]
    table("Inputs", ["evidence", "kind", "modality", "received"], inputs)
    _wholeness(found)
    results_table(found["results"], of_one_case=True)
    _summary(found["summary"])
    steps = [[t["seconds"], t["action"], t["subject"], json.dumps(t["detail"])] for t in found["timeline"]]
    table("Timeline", ["seconds", "step", "of", "detail"], steps)


def _summary(answers: list[dict[str, Any]]) -> None:
    """What several models say to one question, what each adds, and where they contradict each other."""
    for found in answers:
        fused = (
            "" if found["probability"] is None else f": {found['probability']:.3f} (prior {found['prior']:g})"
        )
        mark = "   CONTRADICTION" if found["contradiction"] else ""
        rows = [
            [t["model"], t["meaning"], {True: "yes", False: "no", None: "open"}[t["says"]],
             None if t["probability"] is None else f"{t['probability']:.3f}",
             t["log_odds"]]
            for t in found["terms"]
        ]  # fmt: skip
        table(
            f"{found['meaning']}{fused}{mark}", ["model", "finding", "says", "probability", "log-odds"], rows
        )


def _wholeness(found: dict[str, Any]) -> None:
    """Whether the case's studies and series are whole and why, and which inputs are the same."""
    rows = [["study", s["study_id"], s["instances"], s["state"], None, s["reason"]] for s in found["studies"]]
    rows += [
        ["series", s["series_id"], s["instances"], s["state"], s["revision"] or None, s["reason"]]
        for s in found["series"]
    ]
    if rows:
        table("Studies and series", ["what", "id", "instances", "state", "revision", "reason"], rows)
    if found["links"]:
        links = [[k["evidence_id"], k["relation"], k["other_id"], k["other_case_id"]] for k in found["links"]]
        table("Linked inputs", ["evidence", "is", "of evidence", "in case"], links)
