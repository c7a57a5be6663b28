"""The commands that show what was found: results, and one case with all that is known of it."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.shared import Home, Json, answer, answer_json, opened, say, table
from console.wording import measured, named, outcome, read_by, utc

if TYPE_CHECKING:
    from sqlalchemy import Connection

LIMIT = 1000  #: results that are listed unless --limit says otherwise
CODED = ("code", "system", "meaning", "evidence")  #: the last columns of a CSV


def results(
    home: Home = None,
    case: Annotated[str | None, typer.Option(help="Only this case.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(help="Only results since this time (UTC unless it names its zone): 2026-11-22T08:30."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    finding: Annotated[str | None, typer.Option(help="Only this finding code.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, show_default=str(LIMIT), help="At most this many, newest first.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
    as_json: Json = False,
) -> None:
    """The typed findings, newest first."""
    from db import reports

    if form not in ("table", "json", "csv"):
        raise typer.BadParameter(f"{form}: expected table, json or csv", param_hint="--format")
    if as_json and form == "csv":
        raise typer.BadParameter("csv, and --json as well: name one", param_hint="--format")
    wanted = {"case_id": case, "model": model, "code": finding}
    bound = since.replace(tzinfo=since.tzinfo or UTC) if since else None
    with opened(home) as (settings, store, _archive), store.read() as connection:
        found = reports.results(connection, since=bound, limit=limit or LIMIT + 1, **wanted)
        columns = _columns(connection)
    if limit is None and len(found) > LIMIT:
        found = found[:LIMIT]
        say(f"these are the newest {LIMIT} results; --limit N lists more, --since and --model fewer")
    if as_json or form == "json":
        answer_json(found)
    elif form == "csv":
        _csv(columns, found)
    elif found:
        results_table(found)
    elif since or any(wanted.values()):
        answer("no result is of these; `wetread results` lists all")
    else:
        from console.up import shown

        inbox = shown(settings.folder("inbox"))
        answer(f"no results yet: drop files into {inbox}; `wetread status` says how far they are")


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


def _columns(connection: Connection) -> list[str]:
    """The columns of a CSV, in order: also where there is no row to tell them."""
    from sqlalchemy import text

    found = connection.execute(text("SELECT * FROM v_results LIMIT 0")).keys()
    return [*(name for name in found if name not in CODED), *CODED]


def _csv(columns: list[str], found: list[dict[str, Any]]) -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    for result in found:
        code, evidence = result.pop("finding") or {}, json.dumps(result.pop("evidence"))
        writer.writerow({**result, **{name: code.get(name) for name in CODED}, "evidence": evidence})
    sys.stdout.write(out.getvalue())


def case(
    case_id: Annotated[str, typer.Argument(metavar="CASE", help="As `wetread results` names it.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
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
    answer(f"case {case_id}   patient {found['patient'] or 'unknown'}   since {utc(found['created_at'])} UTC")
    inputs = [
        [e["id"], e["kind"], e["facts"].get("modality"), utc(e["received_at"])] for e in found["inputs"]
    ]
    table("Inputs", ["evidence", "kind", "modality", "received (UTC)"], inputs)
    _wholeness(found)
    if found["results"]:
        results_table(found["results"], of_one_case=True)
    else:
        answer("no results yet; `wetread status` says how far the readings are")
    _summary(found["summary"])
    steps = [[t["seconds"], t["action"], t["subject"], _detail(t["detail"])] for t in found["timeline"]]
    table("Timeline", ["seconds", "step", "of", "detail"], steps)


def _detail(detail: dict[str, Any]) -> str:
    """A step's particulars; that it is of this case is known."""
    return ", ".join(
        f"{name} {value}" for name, value in detail.items() if name != "case" and value is not None
    )


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
