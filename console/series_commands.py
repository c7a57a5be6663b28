"""The command by which a person calls a series or study complete."""

from __future__ import annotations

from typing import Annotated

import typer

from console.shared import Home, Json, answer_json, opened, say


def complete(
    uid: Annotated[
        str,
        typer.Argument(
            metavar="UID", help="SeriesInstanceUID, StudyInstanceUID, or a series' or study's id."
        ),
    ],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Call a series, or a study with its series, complete as it is: it is read without further waiting."""
    from db import series

    with opened(home) as (_, store, _archive):
        forced = series.force(store, uid)
        if not forced:
            with store.read() as connection:
                known = series.known(connection, uid)
    if as_json:
        answer_json([{"what": what, "id": found} for what, found in forced])
    for what, found in forced:
        say(f"{what} {found} is called complete; it is read at ingest's next turn")
    if not forced:
        say(f"{uid} is complete already" if known else f"no series or study {uid}; see `wetread case ID`")
        raise typer.Exit(0 if known else 1)
