"""The commands of the audit log: its entries, whether they hold, and all of them in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from console.shared import Home, Json, answer, answer_json, listing, opened, say
from console.wording import utc

audit = typer.Typer(help="The append-only audit log.", no_args_is_help=True)


@audit.command("list")
def audit_list(
    home: Home = None,
    subject: Annotated[str | None, typer.Option(help="Only of this subject, e.g. job:<id>.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest.")] = 100,
    as_json: Json = False,
) -> None:
    """The newest entries."""
    from db import reports

    with opened(home) as (_, store, _archive), store.read() as connection:
        found = reports.audit_entries(connection, subject=subject, limit=limit)
    if as_json:
        answer_json(found)
    else:
        rows = [[e["seq"], utc(e["at"]), e["action"], e["subject"], json.dumps(e["detail"])] for e in found]
        nothing = "nothing has happened yet: every file dropped into the inbox leaves its trace here"
        if subject is not None:
            nothing = (
                f"no entry is of {subject}; a subject is file:ID, evidence:ID, job:ID, result:ID, series:ID"
            )
        listing(["seq", "at (UTC)", "action", "subject", "detail"], rows, nothing)


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
    out: Annotated[Path, typer.Option(dir_okay=False, help="File to write, one JSON entry a line.")],
    home: Home = None,
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
