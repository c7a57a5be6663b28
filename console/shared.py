"""What the commands share: options, printing, and how errors become exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from db.archive import Archive
    from db.settings import Settings
    from db.store import Store

Home = Annotated[
    Path | None,
    typer.Option(
        "--home", envvar="WETREAD_HOME", help="Folder of this installation.", show_default="wetread-home"
    ),
]
WHOLE = ("result", "case", "file", "since", "probability")  #: columns that are copied, never folded
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]


def say(line: str) -> None:
    """A line for people, on standard error: standard output belongs to the answer.

    One that cannot be written (a full disk, a closed pipe) is lost; it must not stop a supervisor.
    """
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def answer(text: str) -> None:
    """The answer, on standard output."""
    print(text, flush=True)


def answer_json(value: object) -> None:
    """The answer as JSON, on standard output."""
    answer(json.dumps(value, indent=2, default=str))


def table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """The answer as a table, as wide as the terminal or, in a pipe, as it needs."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    found = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        found.add_column(column, overflow="fold", no_wrap=column in WHOLE)
    for row in rows:
        found.add_row(*(Text("" if cell is None else str(cell)) for cell in row))  # Text: "[x]" is no markup
    Console(width=None if sys.stdout.isatty() else 160).print(found)


def listing(columns: list[str], rows: list[list[Any]], nothing: str) -> None:
    """A list as a table, or a sentence in its place where there is nothing to list."""
    if rows:
        table("", columns, rows)
    else:
        answer(nothing)


@contextmanager
def opened(home: Path | None) -> Iterator[tuple[Settings, Store, Archive]]:
    """An installation's settings, store and archive, for a command that asks."""
    from db.settings import load
    from db.store import open_store
    from models import registry

    settings = load(home)
    registry.also_in(settings.folder("models"))
    store, archive = open_store(settings)
    try:
        yield settings, store, archive
    finally:
        store.close()
