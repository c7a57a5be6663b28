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
WHOLE = ("result", "case", "file", "subject", "setting", "id", "evidence", "of", "probability")
#: columns that are copied, never folded
FOLDED = 20  #: characters that a column which folds has at least
PIPE = 160  #: characters a line where no terminal tells
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
    """The answer as a table; in a terminal too narrow for one, a block a row. A pipe is wide enough."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = Console(width=None if sys.stdout.isatty() else PIPE)
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if texts and needed(columns, texts) > terminal.width and sys.stdout.isatty():
        answer("\n\n".join([*([title] if title else []), *blocks(columns, texts, terminal.width)]) + "\n")
        return
    found = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        found.add_column(column, overflow="fold", no_wrap=column in WHOLE)
    for row in texts:
        found.add_row(*map(Text, row))  # Text: "[x]" is no markup
    terminal.print(found)


def needed(columns: list[str], rows: list[list[str]]) -> int:
    """The characters that a table takes at least to be read: cells may fold, but not into slivers."""
    widest = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    least = [w if c in WHOLE else min(w, FOLDED) for c, w in zip(columns, widest, strict=True)]
    return sum(least) + 3 * len(columns) + 1


def blocks(columns: list[str], rows: list[list[str]], width: int) -> list[str]:
    """Each row as lines of `column  cell`, long cells over several lines, empty ones left out."""
    from textwrap import fill

    margin = max(map(len, columns)) + 2
    return [
        "\n".join(
            fill(
                cell, max(width, margin + FOLDED), initial_indent=column.ljust(margin),
                subsequent_indent=" " * margin, break_on_hyphens=False, break_long_words=False,
            )
            for column, cell in zip(columns, row, strict=True)
            if cell
        )
        for row in rows
    ]  # fmt: skip


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
