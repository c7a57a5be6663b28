"""New instances are counted into their series and studies, which then wait to be whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from db import statements
from db.ids import new_id
from db.records import Evidence, Whole
from db.series import Routed
from db.store import Order, Writer
from db.tables import Series, Study

COUNTS = ("series_instances", "study_instances", "study_series", "concatenation_total")  #: facts
ARRIVED = "settling: something has just come"


def arrive(
    writer: Writer, case_id: str, evidence: Evidence, routed: Routed | None = None, look_after: float = 0.0
) -> None:
    """Counts a new instance into its series and study, which wait (again) to be whole.

    look_after: seconds to leave it alone where neither a stated count nor a manifest could settle it sooner.
    """
    told = any(evidence.facts.get(fact) for fact in COUNTS) or int(evidence.facts.get("frames") or 0) > 1
    uids = {"study_uid": evidence.study_uid, "series_uid": evidence.series_uid}
    came: dict[str, object] = {"case_id": case_id, "check_at": 0.0 if told else look_after}
    if evidence.series_uid:
        word = routed or Routed()
        models = None if word.models is None else sorted(word.models)
        rules = {"policy": word.policy, "lane": word.lane, "models": models}
        writer.later(Order.ARRIVAL, _series_came, {**came, **uids, **rules})
    if evidence.study_uid:
        writer.later(Order.ARRIVAL, _studies_came, {**came, "study_uid": evidence.study_uid})


def _series_came(writer: Writer, came: Sequence[dict[str, Any]]) -> None:
    changed = ("policy", "lane", "models", "check_at")
    _came(writer, Series, "series_uid", [{**row, "revision": 0} for row in came], changed)


def _studies_came(writer: Writer, came: Sequence[dict[str, Any]]) -> None:
    _came(writer, Study, "study_uid", came, ("check_at",))


def _came(
    writer: Writer, table: type[Series] | type[Study], key: str, came: Sequence[dict[str, Any]],
    changed: tuple[str, ...],
) -> None:  # fmt: skip
    """Counts instances into their series or studies, one row each, by the word of the last that came."""
    expected = writer.connection.scalar(statements.MANIFEST) is not None
    clock = {"last_at": writer.now, "reason": ARRIVED, "forced_at": None, "declared_at": None}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in came:
        wait = timedelta(seconds=0.0 if expected else row["check_at"])
        held = rows.setdefault((row["case_id"], row[key]), {"id": new_id(), **row, "instances": 0})
        held.update({name: row[name] for name in changed}, check_at=writer.now + wait)
        held["instances"] += 1
    _tell_late(writer, table, rows)
    more = {**clock, "state": Whole.WAITING, "created_at": writer.now}
    writer.connection.execute(
        statements.arrival(writer.dialect, table, (*clock, *changed, "state")),
        [{**rows[name], **more} for name in sorted(rows)],
    )


def _tell_late(
    writer: Writer, table: type[Series] | type[Study], rows: Mapping[tuple[str, str], object]
) -> None:
    """Notes which of these, by case and UID, had been decided on and wait again."""
    uids = sorted({uid for _, uid in rows})
    word = "series" if table is Series else "study"
    for start in range(0, len(uids), 500):
        query = {"uids": uids[start : start + 500]}
        for row in writer.connection.execute(statements.standing(table), query):
            if (row.case_id, row.uid) in rows and row.state != Whole.WAITING:
                writer.audit(f"{word}:{row.id}", f"{word}:late", was=row.state)
