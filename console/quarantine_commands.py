"""The commands of the quarantine: which files were refused and why, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from console.shared import Home, Json, answer, answer_json, listing, opened, say
from console.wording import utc

quarantine = typer.Typer(
    help="Files that were refused: see why, and send them round again.", no_args_is_help=True
)

Files = Annotated[
    list[str] | None, typer.Argument(metavar="FILE", help="As `wetread quarantine list` names them.")
]


@quarantine.command("list")
def quarantine_list(
    home: Home = None,
    reason: Annotated[str | None, typer.Option(help="Only this reason code.")] = None,
    as_json: Json = False,
) -> None:
    """The refused files and why."""
    from db import reports
    from db.records import FileState
    from ingest import quarantine as held

    with opened(home) as (settings, store, _archive), store.read() as connection:
        found = reports.files(connection, FileState.QUARANTINED, reason)
        for file in found:
            file["purged"] = not held.keeps(settings.folder("quarantine"), file["file_id"])
    if as_json:
        answer_json(found)
    else:
        rows = [
            [f["file_id"], f["reason"], f["sentence"], "purged" if f["purged"] else f["bytes"],
             utc(f["changed_at"])]
            for f in found
        ]  # fmt: skip
        nothing = "no file is in quarantine" if reason is None else _none_of(reason)
        listing(["file", "reason", "sentence", "bytes", "since (UTC)"], rows, nothing)


@quarantine.command("show")
def quarantine_show(
    file_id: Annotated[str, typer.Argument(metavar="FILE", help="As `wetread quarantine list` names it.")],
    home: Home = None,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the file's plain bytes here (patient data!).")
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
            answer(f"{key:15} {shown(value)}")
    if out is not None:
        say(f"its plain bytes are in {out}: patient data, readable by you alone")


def shown(value: object) -> str:
    """A value on one line, what is no character to print escaped: a name may move the terminal's cursor."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))


def _none_of(reason: str) -> str:
    return f"quarantine holds no file as {reason}; `wetread quarantine list` shows all"


def _audited(store: Any, file_id: str, action: str) -> None:
    with store.write() as writer:
        writer.audit(f"file:{file_id}", action)


@quarantine.command("release")
def quarantine_release(
    file_ids: Files = None,
    home: Home = None,
    reason: Annotated[str | None, typer.Option(help="All of this reason code.")] = None,
) -> None:
    """Put files back into the inbox, to go round again."""
    from ingest import quarantine as held

    _require_choice(file_ids, reason)
    with opened(home) as (settings, store, _):
        folder, inbox = settings.folder("quarantine"), settings.folder("inbox")
        chosen = _chosen(store, folder, file_ids, reason)
        _each(chosen, lambda file_id: held.release(store, folder, inbox, file_id), "released")


@quarantine.command("purge")
def quarantine_purge(
    file_ids: Files = None,
    home: Home = None,
    reason: Annotated[str | None, typer.Option(help="All of this reason code.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove refused files' bytes for good; their rows and audit stay."""
    from ingest import quarantine as held

    _require_choice(file_ids, reason)
    with opened(home) as (settings, store, _):
        folder = settings.folder("quarantine")
        chosen = _chosen(store, folder, file_ids, reason)
        if chosen and not yes:
            typer.confirm(f"Remove the bytes of {len(chosen)} files for good?", abort=True)
        _each(chosen, lambda file_id: held.purge(store, folder, file_id), "purged")


def _each(file_ids: list[str], act: Callable[[str], None], done: str) -> None:
    """Acts on each; one that cannot be acted on keeps no other from it. Exit 1 when there was one."""
    from db.errors import Misconfigured

    failed = 0
    for file_id in file_ids:
        try:
            act(file_id)
        except Misconfigured as error:
            failed += 1
            say(f"wetread: {error}")
    say(f"{done} {len(file_ids) - failed}")
    if failed:
        raise typer.Exit(1)


def _require_choice(file_ids: list[str] | None, reason: str | None) -> None:
    if bool(file_ids) == bool(reason):
        raise typer.BadParameter("name files, or --reason CODE")


def _chosen(store: Any, folder: Path, file_ids: list[str] | None, reason: str | None) -> list[str]:
    from db import reports
    from db.records import FileState
    from ingest import quarantine as held

    if file_ids:
        return file_ids
    with store.read() as connection:
        refused = [str(f["file_id"]) for f in reports.files(connection, FileState.QUARANTINED, reason)]
    found = [file_id for file_id in refused if held.keeps(folder, file_id)]
    if not found:
        say(_none_of(str(reason)))
    return found
