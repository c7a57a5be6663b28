"""The commands that look at an installation: status, settings, doctor; and requeue."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from console.shared import Home, Json, answer, answer_json, opened, say, table


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
    lanes = [
        [lane, state, count] for lane, states in found["lanes"].items() for state, count in states.items()
    ]
    if lanes:
        table("Jobs not concluded, by lane", ["lane", "state", "jobs"], lanes)
    oldest, last = found["oldest_pending_seconds"], found["last_success"] or "never"
    answer(f"oldest pending: {oldest:.1f} s; last success: {last}")


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
