"""How a result is said in a few words: what was found, how much, and the answer."""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose
from typing import Any

Result = Mapping[str, Any]  #: a row of `db.reports.results`


def named(result: Result) -> str:
    """What was found and where, with its code: `Antimicrobial peptide, record 2 (antimicrobial-peptide)`."""
    code = result["finding"]
    if code is None:
        return "-"
    meaning, site = code["meaning"].replace("_", " "), result["site"]
    if (result["evidence"] or {}).get("kind") == "recommendation":  # of the drug that the code names
        meaning = f"recommendation for {meaning}"
    meaning = meaning[:1].upper() + meaning[1:]
    where = f", {site}" if site and site.lower() not in meaning.lower() else ""
    return f"{meaning}{where} ({code['code']})"


def read_by(result: Result) -> str:
    """The model and its version, or that none reads such an input."""
    return "no model" if result["model"] == "none" else f"{result['model']} {result['model_version']}"


def measured(result: Result) -> str:
    """A result's value with its unit; nothing where it only says the probability again."""
    from models.features import WRITTEN, rounded

    value, unit, chance = result["value"], result["unit"] or "", result["probability"]
    if value is None or (chance is not None and unit == "1" and isclose(value, chance, abs_tol=1e-3)):
        return ""
    return f"{rounded(value)} {WRITTEN.get(unit, unit.strip('{}'))}".strip()


def answered(positive: bool | None, qualifier: str | None, reason: str | None) -> str:
    """An answer in a word, or why there is none; a measurement answers no question."""
    if reason is not None:
        return f"abstained: {reason}"
    if positive is None:
        return f"measured, {qualifier}" if qualifier else "measured"
    return "positive" if positive else qualifier or "negative"


def outcome(result: Result) -> str:
    """A result in a word or a sentence, marked where it is partial or superseded."""
    reason = str(result["reason"]) if result["abstained"] else None
    word = answered(result["positive"], result["qualifier"], reason)
    known = (("partial", result["partial"]), ("superseded", result["status"] == "superseded"))
    marks = [mark for mark, holds in known if holds]
    return f"{word} ({', '.join(marks)})" if marks else word
