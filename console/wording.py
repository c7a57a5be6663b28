"""How a result is said in a few words: what was found, how much, and the answer; and how times are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from math import isclose
from typing import Any

Result = Mapping[str, Any]  #: a row of `db.reports.results`
QUIET = ("negative", "as usual")  #: what is said where nothing calls for anybody


def named(result: Result) -> str:
    """What was found and where, with its code: `Antimicrobial peptide, record 2 (antimicrobial-peptide)`."""
    code = result["finding"]
    if code is None:
        return "-"
    meaning, site = code["meaning"].replace("_", " "), result["site"]
    if _recommends(result):  # the code names the drug
        meaning = f"recommendation for {meaning}"
    meaning = meaning[:1].upper() + meaning[1:]
    where = f", {site}" if site and site.lower() not in meaning.lower() else ""
    return f"{meaning}{where} ({code['code']})"


def read_by(result: Result) -> str:
    """The model and its version, or that none reads such an input."""
    return "no model" if result["model"] == "none" else f"{result['model']} {result['model_version']}"


def measured(result: Result) -> str:
    """A result's value with its unit, and a genotype; nothing where it only says the probability again."""
    from models.features import WRITTEN, rounded

    value, unit, chance = result["value"], result["unit"] or "", result["probability"]
    parts = [(result["evidence"] or {}).get("diplotype")]
    if value is not None and not (
        chance is not None and unit == "1" and isclose(value, chance, abs_tol=1e-3)
    ):
        parts.append(f"{rounded(value)} {WRITTEN.get(unit, unit.strip('{}'))}".strip())
    return ", ".join(str(part) for part in parts if part)


def answered(positive: bool | None, qualifier: str | None, reason: str | None) -> str:
    """An answer in a word, or why there is none; a measurement answers no question."""
    if reason is not None:
        return f"abstained: {reason}"
    if positive is None:
        return f"measured, {qualifier}" if qualifier else "measured"
    return "positive" if positive else qualifier or "negative"


def again(number: float | None, positive: bool | None) -> str:
    """One answer of a replay: its number in full, or where it has none the answer in a word."""
    if number is not None:
        return str(number)
    return "" if positive is None else answered(positive, None, None)


def outcome(result: Result) -> str:
    """A result in a word or a sentence, marked where it is partial or superseded."""
    reason = str(result["reason"]) if result["abstained"] else None
    word = answered(result["positive"], result["qualifier"], reason)
    if _recommends(result) and reason is None:
        word = "other than usual" if result["positive"] else "as usual"
    known = (("partial", result["partial"]), ("superseded", result["status"] == "superseded"))
    marks = [mark for mark, holds in known if holds]
    return f"{word} ({', '.join(marks)})" if marks else word


def _recommends(result: Result) -> bool:
    """Is it a drug's recommendation, which a yes or no would not tell?"""
    return bool((result["evidence"] or {}).get("kind") == "recommendation")


def lasting(seconds: float) -> str:
    """A stretch of time as people say it: `4.2 s`, `3 min`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def moment(at: datetime, now: datetime) -> str:
    """A time by the clock on the wall and by the record's, and how long ago: both zones named."""
    local, recorded = at.astimezone(), at.astimezone(UTC)
    told = f"{recorded:%Y-%m-%d %H:%M:%S} UTC"
    if local.utcoffset():
        told = f"{local:%Y-%m-%d %H:%M:%S %Z} ({told})"
    return f"{told}, {lasting(max(0.0, (now - at).total_seconds()))} ago"


def utc(at: str | None) -> str:
    """The record's time (ISO 8601, UTC), for a column that names its zone."""
    return (at or "").replace("T", " ").removesuffix("Z")
