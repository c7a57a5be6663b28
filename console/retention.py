"""The command that removes payloads whose term is over; unless told to apply, it only says which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.shared import Home, Json, answer, answer_json, opened, say, table

if TYPE_CHECKING:
    from pathlib import Path

    from db.archive import Archive
    from db.retention import Due
    from db.settings import Settings
    from db.store import Store


def retention(
    home: Home = None,
    apply: Annotated[bool, typer.Option("--apply/--dry-run", help="Remove them, or only list them.")] = False,
    as_json: Json = False,
) -> None:
    """Remove payloads that outlived their term (retain_* settings); results and audit stay."""
    with opened(home) as (settings, store, archive):
        inputs, refused = _due(settings, store)
        if apply:
            inputs, refused = _removed(settings, store, archive, inputs, refused)
    rows = [
        {"id": i.id, "state": i.state, "since": i.since.isoformat(timespec="seconds"), "bytes": i.bytes}
        for i in (*inputs, *refused)
    ]
    found: dict[str, Any] = {
        "applied": apply, "payloads": len(rows), "bytes": sum(i.bytes for i in (*inputs, *refused)),
        "due": rows,
        "terms": {n: getattr(settings, n) for n in type(settings).model_fields if n.startswith("retain_")},
    }  # fmt: skip
    if as_json:
        answer_json(found)
        return
    if rows:
        table("", ["payload of", "state", "since", "bytes"], [list(row.values()) for row in rows])
        done = "removed" if apply else "would be removed; --apply removes them"
        answer(f"{found['payloads']} payloads, {found['bytes'] / 1e6:.1f} MB {done}")
    else:
        answer("no payload is over its term")
    if not any(term is not None for term in found["terms"].values()):
        say("no term is set (retain_done_days, retain_failed_days, retain_quarantined_days): all is kept")


def _due(settings: Settings, store: Store) -> tuple[list[Due], list[Due]]:
    from db import retention as terms

    with store.read() as connection:
        inputs = terms.due(connection, settings, store.now())
        refused = terms.due_quarantined(connection, settings, store.now())
    return inputs, [item for item in refused if _held(settings, item).is_dir()]


def _held(settings: Settings, item: Due) -> Path:
    return settings.folder("quarantine") / item.id


def _removed(
    settings: Settings, store: Store, archive: Archive, inputs: list[Due], refused: list[Due]
) -> tuple[list[Due], list[Due]]:
    from db import retention as terms
    from ingest import quarantine

    gone = terms.remove(store, archive, settings, inputs)
    purged = []
    for item in refused:
        if quarantine.is_quarantined(store, item.id):  # it may have been released meanwhile
            quarantine.purge(store, settings.folder("quarantine"), item.id)
            purged.append(item)
    return gone, purged
