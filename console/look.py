"""The commands that look at an installation: status and doctor; and requeue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.shared import Home, Json, answer, answer_json, opened, say, table
from console.wording import lasting, moment

if TYPE_CHECKING:
    from db.settings import Settings

WAITS = {  #: state of an ingest -> what it means
    "waiting: disk": "the disk is nearly full: files wait in the inbox; free space where the home lies",
    "waiting: fault": "files wait in the inbox for something that ingest needs; its log says for what",
    "waiting: queue": "many jobs wait: files wait in the inbox until a tenth of the jobs are read",
}


def status(home: Home = None, as_json: Json = False) -> None:
    """Services, files by state, jobs by state and lane, oldest pending, last success."""
    from db import reports, services

    with opened(home) as (settings, store, _), store.read() as connection:
        last, now = reports.last_success(connection), store.now()
        found: dict[str, Any] = {
            "files": reports.file_counts(connection),
            "jobs": reports.jobs_by_state(connection),
            "lanes": reports.jobs_by_lane(connection),
            "oldest_pending_seconds": reports.oldest_pending(connection, now),
            "last_success": None if last is None else last.isoformat(timespec="milliseconds"),
            "services": services.alive(store, connection, services.FRESH_BEATS * settings.heartbeat_seconds),
        }
    found["services"]["valkey"] = _redis(settings)
    if as_json:
        answer_json(found)
        return
    _show(found)
    oldest = found["oldest_pending_seconds"]
    answer(f"oldest pending: {lasting(oldest) if oldest else 'none'}")
    answer(f"last success: {'never' if last is None else moment(last, now)}")
    for line in advice(found):
        answer(line)


def _redis(settings: Settings) -> dict[str, Any]:
    """Redis among the services: its state, and what keeps it from taking hints."""
    from db import queue
    from db.errors import WetreadError

    try:
        ill = queue.trouble(queue.connect(settings.redis))
    except WetreadError as error:
        return {"state": "not set up", "pid": None, "reason": str(error)}
    if ill is None:
        return {"state": "ready", "pid": None}
    state = "refusing" if ill.answers else "lost"
    return {"state": state, "pid": None, "reason": f"{ill.met}; {ill.cure}"}


def _show(found: dict[str, Any]) -> None:
    """What `status` found, as tables."""
    rows = [[name, service["state"], service["pid"]] for name, service in found["services"].items()]
    table("Services", ["service", "state", "pid"], rows)
    table("Files", list(found["files"]), [list(found["files"].values())])
    table("Jobs", list(found["jobs"]), [list(found["jobs"].values())])
    lanes = [
        [lane, state, count] for lane, states in found["lanes"].items() for state, count in states.items()
    ]
    if lanes:
        table("Jobs not concluded, by lane", ["lane", "state", "jobs"], lanes)


def advice(found: dict[str, Any]) -> list[str]:
    """What of a status calls for somebody, each with what to do."""
    alive = found["services"]
    lost = [name for name, service in alive.items() if name != "valkey" and service["state"] == "lost"]
    lines = [WAITS[state] for state in sorted({str(s["state"]) for s in alive.values()} & set(WAITS))]
    kinds = {name.partition("-")[0] for name in alive} - {"valkey"}
    if not kinds:
        lines.append("no service runs: start them (`wetread up`)")
    elif missing := sorted({"ingest", "worker"} - kinds):
        lines.append(
            f"no {' and no '.join(missing)} runs; see logs/ in the home: `wetread up` starts it again"
        )
    if lost:
        lines.append(f"no sign of life of {', '.join(lost)}; see logs/ in the home, or start again")
    if reason := alive["valkey"].get("reason"):
        lines.append(reason if alive["valkey"]["state"] == "not set up" else f"redis: {reason}")
    if found["jobs"]["failed"]:
        lines.append("failed jobs: v_jobs.error says where; `wetread requeue --failed` tries them again")
    return lines


def requeue(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="A failed job's id.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All failed jobs.")] = False,
    home: Home = None,
) -> None:
    """Give failed jobs another try."""
    from db import jobs

    if bool(job) == failed:
        raise typer.BadParameter("name a JOB, or --failed")
    with opened(home) as (_, store, _archive):
        done = jobs.requeue(store, None if failed else [str(job)])
    if done or failed:
        say(f"requeued {len(done)}" if done else "no job has failed: nothing to requeue")
    else:
        say(f"{job} is not a failed job, or its input is no longer kept; see `wetread status`")
        raise typer.Exit(1)


def doctor(home: Home = None, as_json: Json = False) -> None:
    """Check folders, key, database, Redis, disk, clock, models and device; each ok or with its fix."""
    from console.doctor import examine

    found = examine(home)
    if as_json:
        answer_json(found)
    else:
        width = max(len(check["check"]) for check in found)
        for check in found:
            answer(f"{'ok ' if check['ok'] else 'BAD'} {check['check']:{width}} {check['detail']}")
            if not check["ok"]:
                answer(f"    fix: {check['fix']}")
    if not all(check["ok"] for check in found):
        raise typer.Exit(1)
