"""What several models say to one question of a case: compared, and where they are calibrated, added up."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from db.errors import Misconfigured

LEAST = 1e-4  #: no probability is believed beyond this: one model may not outweigh all others


class Question(BaseModel):
    """One question that findings of several models speak to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    meaning: str
    prior: float  #: probability before any finding
    source: str  #: where the prior is from
    codes: tuple[str, ...]  #: "system|code"; a trailing * stands for all that begin so
    base: Mapping[str, float]  #: released model -> share of positives where it was calibrated


@dataclass(frozen=True, kw_only=True)
class Term:
    """What one finding says to a question."""

    result_id: str
    model: str
    code: str
    meaning: str
    says: bool | None  #: yes, no, or None for uncertain, historical, another's
    probability: float | None
    log_odds: float | None  #: what it adds to the prior's; None: not calibrated, so it is compared alone


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A question of one case with all that was said to it."""

    question: str
    meaning: str
    prior: float
    source: str
    probability: float | None  #: None when no calibrated model spoke
    terms: tuple[Term, ...]
    contradiction: bool  #: one says yes and another no


@cache
def questions() -> Mapping[str, Question]:
    """The questions by name. Raises Misconfigured when the file is malformed."""
    path = Path(__file__).with_name("questions.toml")
    try:
        entries = tomllib.loads(path.read_text("utf-8"))
        return {name: Question(**entry) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError) as error:
        raise Misconfigured(f"{path.name}: {error}") from error


def answers(results: Sequence[Mapping[str, Any]]) -> list[Answer]:
    """The questions that a case's results (in the promised shape) speak to, with what each adds.

    log-odds(case) = log-odds(prior) + sum over models of (log-odds(probability) - log-odds(base)): the parts
    are taken to err independently, given the truth. Of one model's several findings to a question the
    strongest counts. Superseded and abstained results say nothing.
    """
    found = []
    for name, question in questions().items():
        terms = [term for result in results if (term := _term(result, question)) is not None]
        if terms:
            found.append(_answer(name, question, terms))
    return found


def _answer(name: str, question: Question, terms: Sequence[Term]) -> Answer:
    strongest: dict[str, Term] = {}
    for term in terms:
        if term.log_odds is not None:
            held = strongest.get(term.model)
            if held is None or abs(term.log_odds) > abs(held.log_odds or 0.0):
                strongest[term.model] = term
    total = _log_odds(question.prior) + sum(t.log_odds or 0.0 for t in strongest.values())
    said = {t.says for t in terms}
    return Answer(
        question=name, meaning=question.meaning, prior=question.prior, source=question.source,
        probability=round(1 / (1 + math.exp(-total)), 6) if strongest else None, terms=tuple(terms),
        contradiction={True, False} <= said,
    )  # fmt: skip


def _term(result: Mapping[str, Any], question: Question) -> Term | None:
    finding = result["finding"]
    if finding is None or result["abstained"] or result["status"] == "superseded":
        return None
    if not _speaks(f"{finding['system']}|{finding['code']}", question):
        return None
    probability, base = result["probability"], question.base.get(str(result["model"]))
    if "+" in str(result.get("model_version", "")):  # trained anew: on which share of positives is not known
        base = None
    added = None
    if probability is not None and base is not None:
        added = round(_log_odds(float(probability)) - _log_odds(base), 4)
    return Term(
        result_id=str(result["result_id"]), model=str(result["model"]), code=str(finding["code"]),
        meaning=str(finding["meaning"]), says=_says(result), probability=probability, log_odds=added,
    )  # fmt: skip


def _says(result: Mapping[str, Any]) -> bool | None:
    """Uncertain, historical and another person's findings say neither yes nor no, nor does a measurement."""
    qualifier, positive = result["qualifier"], result["positive"]
    if qualifier == "negated":
        return False
    return None if positive is None or qualifier in ("uncertain", "historical", "family") else bool(positive)


def _speaks(code: str, question: Question) -> bool:
    return any(
        code.startswith(wanted[:-1]) if wanted.endswith("*") else code == wanted for wanted in question.codes
    )


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, LEAST), 1 - LEAST)
    return math.log(bounded / (1 - bounded))
