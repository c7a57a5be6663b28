"""The commands about a past result: its evidence drawn, and its input read again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.shared import Home, Json, answer, answer_json, opened, table
from console.wording import again

Result = Annotated[str, typer.Argument(metavar="RESULT", help="A result, as `wetread results` names it.")]
DRAWN = "File to write: a picture (.png) or a page (.html), as the family draws."


def explain(
    result: Result,
    out: Annotated[
        Path,
        typer.Option("--out", dir_okay=False, help=f"{DRAWN} As .dcm: a segmentation's DICOM SEG."),
    ],
    home: Home = None,
) -> None:
    """The evidence of a result, drawn on its input (patient data!)."""
    from console.past import explanation, handed_over, segmented

    with opened(home) as (_, store, archive):
        if out.suffix.lower() == ".dcm":
            found = segmented(store, archive, result)
        else:
            found = explanation(store, archive, result)
    answer(handed_over(found, out))


def replay(result: Result, home: Home = None, as_json: Json = False) -> None:
    """Read the same input again with the same weights; exit 1 when the numbers differ."""
    from console.past import replayed

    with opened(home) as (settings, store, archive):
        found = replayed(store, archive, result, settings.device)
    if as_json:
        answer_json(found)
    else:
        rows = [
            [r["finding"] or "abstained", again(r["then"], r["then_positive"]),
             again(r["now"], r["now_positive"]), "same" if r["same"] else "DIFFERS"]
            for r in found["findings"]
        ]  # fmt: skip
        title = f"{found['model']} {found['version']} on {found['device']}"
        table(title, ["finding", "then", "now", ""], rows)
    if not found["same"]:
        raise typer.Exit(1)
