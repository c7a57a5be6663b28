"""The command that tries routing rules on files, without taking them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.shared import Home, Json, answer, answer_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.records import Evidence
    from db.settings import Settings
    from ingest.rules import Rules
    from models.card import ModelCard

rules = typer.Typer(help="Routing rules: which models read what, and how soon.", no_args_is_help=True)


@rules.callback()  # without one, Typer would make a group of one command that command
def _group() -> None:
    """Routing rules: which models read what, and how soon."""


@rules.command("test")
def rules_test(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Any files that go in; they stay where they are.")
    ],
    home: Home = None,
    rules_file: Annotated[
        Path | None, typer.Option("--rules", help="Try this rules file instead of the one in force.")
    ] = None,
    path: Annotated[
        str | None, typer.Option("--path", help="Path below the inbox to assume, for files outside it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Which rule fires on each file and why, the models it owes and the lane."""
    from db.settings import load
    from ingest.rules import Rules, parse
    from models import registry

    settings = load(home)
    registry.also_in(settings.folder("models"))
    cards = registry.served(settings.models)
    chosen = rules_file or settings.rules
    if rules_file is not None and not chosen.is_file():
        raise typer.BadParameter(f"{chosen}: no such file", param_hint="--rules")
    in_force = parse(chosen.read_bytes(), cards) if chosen.is_file() else Rules()
    found = [_tried(settings, cards, in_force, file, path) for file in files]
    if as_json:
        answer_json(found)
    else:
        for row in found:
            _show(row)
    if any(row["error"] for row in found):
        raise typer.Exit(1)


def _tried(
    settings: Settings, cards: Sequence[ModelCard], in_force: Rules, file: Path, path: str | None
) -> dict[str, Any]:
    from db.errors import Rejected
    from ingest import routing
    from ingest.matching import subject

    row: dict[str, Any] = {"file": str(file), "error": None}
    name = path or below_inbox(settings, file)
    try:
        evidence = _read(file, name, settings.note_max_bytes)
    except Rejected as why:
        return row | {"error": f"would be quarantined: {why}"}
    except OSError as error:
        return row | {"error": f"cannot be read: {error.strerror}"}
    decision = in_force.decide(subject(evidence, name, settings.site))
    owed, unread = routing.owed(evidence, cards, decision)
    return row | {
        "rule": decision.rule, "models": [o.model for o in owed], "unread": unread, "lane": decision.lane,
        "policy": decision.policy, "kind": str(evidence.kind), "facts": dict(evidence.facts),
        "earlier": [{"rule": rule, "why_not": why} for rule, why in decision.earlier],
    }  # fmt: skip


def below_inbox(settings: Settings, file: Path) -> str:
    """The path that rules would see: below the inbox when it lies there, else as it was typed."""
    try:
        return file.resolve().relative_to(settings.folder("inbox").resolve()).as_posix()
    except ValueError:
        return file.name if file.is_absolute() else file.as_posix()


def _read(file: Path, name: str, note_max_bytes: int) -> Evidence:
    """As intake reads it, with the sidecar that lies beside it."""
    from ingest import identify
    from ingest.readers import note

    reader = identify.name_of(file, file.suffix.lower())
    beside = [file.with_name(candidate) for candidate in identify.sidecars(file.name)]
    sidecar = next((path.read_bytes() for path in beside if path.is_file()), None)
    parts = PurePosixPath(name).parts[:-1]
    if reader == "note":
        return note.read(file, sidecar=sidecar, parts=parts, max_bytes=note_max_bytes)
    return identify.by_name(reader).read(file, sidecar=sidecar, parts=parts)


def _show(row: dict[str, Any]) -> None:
    if row["error"]:
        say(f"{row['file']}: {row['error']}")
        return
    models = ", ".join(row["models"]) or f"none ({row['unread']})"
    answer(f"{row['file']}: rule {row['rule']}: {models}; lane {row['lane']}; policy {row['policy']}")
    for earlier in row["earlier"]:
        answer(f"    not {earlier['rule']}: {earlier['why_not']}")
