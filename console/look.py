"""The commands that look: status, results, cases, quarantine, audit, settings; and requeue."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from console.shared import Home, Json, answer, answer_json, opened, say, table

quarantine = typer.Typer(
    help="Files that were refused: see why, and send them round again.", no_args_is_help=True
)
audit = typer.Typer(help="The append-only audit log.", no_args_is_help=True)


def status(home: Home = None, as_json: Json = False) -> None:
    """Services, files by state, jobs by state and lane, oldest pending, last success."""
    from db import queue, reports, services
    from db.errors import WetreadError

    with opened(home) as (settings, store, _), store.read() as connection:
        found: dict[str, Any] = {
            "files": reports.file_counts(connection),
            "jobs": reports.jobs_by_state(connection),
            "lanes": reports.jobs_by_lane(connection),
            "oldest_pending_seconds": reports.oldest_pending(connection, store.now()),
            "last_success": reports.last_success(connection),
            "services": services.alive(store, connection, services.FRESH_BEATS * settings.heartbeat_seconds),
        }
        try:
            client = queue.connect(settings.redis)
            found["services"]["valkey"] = {"state": "ready" if queue.is_up(client) else "lost", "pid": None}
        except WetreadError:
            found["services"]["valkey"] = {"state": "not set up", "pid": None}
    if as_json:
        answer_json(found)
        return
    table(
        "Services",
        ["service", "state", "pid"],
        [[n, s["state"], s["pid"]] for n, s in found["services"].items()],
    )
    table("Files", list(found["files"]), [list(found["files"].values())])
    table("Jobs", list(found["jobs"]), [list(found["jobs"].values())])
    oldest, last = found["oldest_pending_seconds"], found["last_success"] or "never"
    answer(f"oldest pending: {oldest:.1f} s; last success: {last}")


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


def results_table(found: list[dict[str, Any]]) -> None:
    """Findings as a table for people."""
    rows = [
        [
            r["result_id"], r["case_id"], f"{r['model']} {r['model_version']}",
            f"{r['finding']['meaning']} ({r['finding']['code']})" if r["finding"] else "-",
            None if r["probability"] is None else f"{r['probability']:.3f}", measured(r), outcome(r),
        ]
        for r in found
    ]  # fmt: skip
    table("", ["result", "case", "model", "finding", "probability", "value", "answer"], rows)


def measured(result: dict[str, Any]) -> str:
    """A result's value with its unit, and which record of a file of several it is of."""
    record = (result["evidence"] or {}).get("record")
    parts = [] if record is None else [f"record {record}"]
    if result["value"] is not None:
        unit = result["unit"] or ""
        parts.append(f"{result['value']:g} {'' if unit == '1' else unit.strip('{}')}".strip())
    return ", ".join(parts)


def outcome(result: dict[str, Any]) -> str:
    """A result in a word or a sentence."""
    if result["abstained"]:
        word = f"abstained: {result['reason']}"
    else:
        word = "positive" if result["positive"] else result["qualifier"] or "negative"
        if result["value"] is not None and result["threshold"] is None and result["probability"] is None:
            word = "measured"  # nothing was asked that could be positive
    marks = [m for m, on in (("partial", result["partial"]), ("superseded", _is_superseded(result))) if on]
    return f"{word} ({', '.join(marks)})" if marks else word


def _is_superseded(result: dict[str, Any]) -> bool:
    """Has a later revision of its series been read?"""
    return bool(result["status"] == "superseded")


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
    results_table(found["results"])
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


@quarantine.command("list")
def quarantine_list(
    home: Home = None,
    reason: Annotated[str | None, typer.Option(help="Only this reason code.")] = None,
    as_json: Json = False,
) -> None:
    """The refused files and why."""
    from db import reports
    from db.records import FileState

    with opened(home) as (_, store, _archive), store.read() as connection:
        found = reports.files(connection, FileState.QUARANTINED, reason)
    if as_json:
        answer_json(found)
    else:
        rows = [[f["file_id"], f["reason"], f["sentence"], f["bytes"], f["changed_at"]] for f in found]
        table("", ["file", "reason", "sentence", "bytes", "since"], rows)


@quarantine.command("show")
def quarantine_show(
    file_id: Annotated[str, typer.Argument()],
    home: Home = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the file's plain bytes here (patient data!).")
    ] = None,
    names: Annotated[
        bool, typer.Option("--name", help="Show the name it came under (may be a patient's).")
    ] = False,
    as_json: Json = False,
) -> None:
    """One refused file: its reason, what to do, and on request its name and bytes."""
    from db import ledger
    from ingest import quarantine as held

    with opened(home) as (settings, store, _):
        folder = settings.folder("quarantine")
        found = held.reason(folder, file_id)
        if names:
            with store.read() as connection:
                found["name"] = ledger.name_of(connection, store.keys, file_id)
        if out is not None:
            held.extract(folder, file_id, store.keys, out)
            _audited(store, file_id, "file:extracted")
    if as_json:
        answer_json(found)
    else:
        for key, value in found.items():
            answer(f"{key:15} {value}")


def _audited(store: Any, file_id: str, action: str) -> None:
    with store.write() as writer:
        writer.audit(f"file:{file_id}", action)


@quarantine.command("release")
def quarantine_release(
    file_ids: Annotated[list[str] | None, typer.Argument()] = None,
    home: Home = None,
    reason: Annotated[str | None, typer.Option(help="All of this reason code.")] = None,
) -> None:
    """Put files back into the inbox, to go round again."""
    from ingest import quarantine as held

    _require_choice(file_ids, reason)
    with opened(home) as (settings, store, _):
        chosen = _chosen(store, file_ids, reason)
        for file_id in chosen:
            held.release(store, settings.folder("quarantine"), settings.folder("inbox"), file_id)
    say(f"released {len(chosen)}")


@quarantine.command("purge")
def quarantine_purge(
    file_ids: Annotated[list[str] | None, typer.Argument()] = None,
    home: Home = None,
    reason: Annotated[str | None, typer.Option(help="All of this reason code.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove refused files' bytes for good; their rows and audit stay."""
    from ingest import quarantine as held

    _require_choice(file_ids, reason)
    with opened(home) as (settings, store, _):
        chosen = _chosen(store, file_ids, reason)
        if chosen and not yes:
            typer.confirm(f"Remove the bytes of {len(chosen)} files for good?", abort=True)
        for file_id in chosen:
            held.purge(store, settings.folder("quarantine"), file_id)
    say(f"purged {len(chosen)}")


def _require_choice(file_ids: list[str] | None, reason: str | None) -> None:
    if bool(file_ids) == bool(reason):
        raise typer.BadParameter("name files, or --reason CODE")


def _chosen(store: Any, file_ids: list[str] | None, reason: str | None) -> list[str]:
    from db import reports
    from db.records import FileState

    if file_ids:
        return file_ids
    with store.read() as connection:
        return [str(f["file_id"]) for f in reports.files(connection, FileState.QUARANTINED, reason)]


def requeue(
    job: Annotated[str | None, typer.Argument(help="A failed job's id.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All failed jobs.")] = False,
    home: Home = None,
) -> None:
    """Give failed jobs another try."""
    from db import jobs

    if bool(job) == failed:
        raise typer.BadParameter("name a JOB, or --failed")
    with opened(home) as (_, store, _archive):
        done = jobs.requeue(store, None if failed else [str(job)])
    say(f"requeued {len(done)}")
    if job and not done:
        say(f"{job} is not a failed job, or its input is no longer kept; see `wetread status`")
        raise typer.Exit(1)


@audit.command("list")
def audit_list(
    home: Home = None,
    subject: Annotated[str | None, typer.Option(help="Only of this subject, e.g. job:<id>.")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 100,
    as_json: Json = False,
) -> None:
    """The newest entries."""
    from db import reports

    with opened(home) as (_, store, _archive), store.read() as connection:
        found = reports.audit_entries(connection, subject=subject, limit=limit)
    if as_json:
        answer_json(found)
    else:
        rows = [[e["seq"], e["at"], e["action"], e["subject"], json.dumps(e["detail"])] for e in found]
        table("", ["seq", "at (UTC)", "action", "subject", "detail"], rows)


@audit.command("verify")
def audit_verify(home: Home = None, as_json: Json = False) -> None:
    """Walk the whole chain; exit 1, naming the first broken entry, when it does not hold."""
    with opened(home) as (_, store, _archive):
        verdict = store.verify_audit()
    found = {
        "ok": verdict.ok,
        "entries": verdict.entries,
        "broken_seq": verdict.broken_seq,
        "problem": verdict.problem,
    }
    if as_json:
        answer_json(found)
    elif verdict.ok:
        answer(f"ok: {verdict.entries} entries, unbroken")
    else:
        answer(f"BROKEN: {verdict.problem}")
    if not verdict.ok:
        raise typer.Exit(1)


@audit.command("export")
def audit_export(
    out: Annotated[Path, typer.Option(help="File to write, one JSON entry a line.")], home: Home = None
) -> None:
    """Write every entry to a file."""
    from db import reports

    count = 0
    with (
        opened(home) as (_, store, _archive),
        store.read() as connection,
        out.open("w", encoding="utf-8") as file,
    ):
        while part := reports.audit_entries(connection, after=count, limit=10_000):
            file.writelines(json.dumps(entry) + "\n" for entry in part)
            count = int(part[-1]["seq"])
    say(f"{count} entries")


def settings(home: Home = None, as_json: Json = False) -> None:
    """Every setting with its value, default and reason; secrets are not shown."""
    from db.settings import Settings, load

    values = load(home)
    found = [
        {
            "name": f"WETREAD_{name.upper()}", "value": str(getattr(values, name)),
            "default": str(field.default), "meaning": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]  # fmt: skip
    if as_json:
        answer_json(found)
    else:
        table("", ["setting", "value", "default", "meaning"], [list(s.values()) for s in found])


def doctor(home: Home = None, as_json: Json = False) -> None:
    """Check folders, key, database, Redis, disk, clock, models and device; each ok or with its fix."""
    from console.doctor import examine

    found = examine(home)
    if as_json:
        answer_json(found)
    else:
        for check in found:
            answer(f"{'ok ' if check['ok'] else 'BAD'} {check['check']:12} {check['detail']}")
            if not check["ok"]:
                answer(f"    fix: {check['fix']}")
    if not all(check["ok"] for check in found):
        raise typer.Exit(1)
