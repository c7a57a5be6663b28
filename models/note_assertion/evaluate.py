"""Negation measured on the NegEx kit's layout: report, concept, sentence, Affirmed or Negated."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import registry
from models.evaluation import bootstrap
from models.note_assertion.pipeline import Assertions, Trigger

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sentence with one concept, which stands in capitals in it."""

    report: str
    concept: str
    sentence: str
    negated: bool


def read(data: Path) -> Iterator[Row]:
    """The labelled rows of a tsv with columns Report No., Concept, Sentence, Negation."""
    with data.open(encoding="utf-8", errors="replace", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            label = (row.get("Negation") or "").strip().lower()
            if label in {"affirmed", "negated"}:
                yield Row(
                    report=(row["Report No."] or "").strip(),
                    concept=row["Concept"] or "",
                    sentence=row["Sentence"] or "",
                    negated=label == "negated",
                )


def locate(concept: str, sentence: str) -> tuple[int, int] | None:
    """Where the concept stands: in capitals, else in any case; runs of blanks count as one."""
    pattern = r"\s+".join(re.escape(word) for word in concept.upper().split())
    if not pattern:
        return None
    match = re.search(pattern, sentence) or re.search(pattern, sentence, re.IGNORECASE)
    return match.span() if match else None


def decide(assertions: Assertions, row: Row) -> tuple[Trigger, ...]:
    """The negation triggers that reach the row's concept; none when the concept is not in the sentence."""
    span = locate(row.concept, row.sentence)
    if span is None:
        return ()
    return tuple(t for t in assertions.decide(row.sentence, *span) if t.question == "negated")


def _counts(truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> tuple[int, int, int]:
    return int((truth & said).sum()), int((~truth & said).sum()), int((truth & ~said).sum())


def precision(truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    """Of the concepts called negated, the part that is."""
    hit, false, _ = _counts(truth, said)
    return hit / (hit + false) if hit + false else float("nan")


def recall(truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    """Of the negated concepts, the part called so."""
    hit, _, missed = _counts(truth, said)
    return hit / (hit + missed) if hit + missed else float("nan")


def f1(truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    """The harmonic mean of precision and recall."""
    hit, false, missed = _counts(truth, said)
    return 2 * hit / (2 * hit + false + missed) if hit + false + missed else float("nan")


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "note-assertion"
) -> dict[str, Any]:
    """Precision, recall and F1 of Negated with 95 % intervals over reports, and n.

    The concept's place is given, as in the kit; our negation pipe alone decides. Nothing is trained,
    so folds and device change nothing.
    """
    rows = list(read(data))
    assertions = Assertions(registry.card(name).folder, questions=("negated",))
    truth = np.array([r.negated for r in rows])
    said = np.array([bool(decide(assertions, r)) for r in rows])
    reports = np.array([r.report for r in rows])
    figures: dict[str, Any] = {
        metric.__name__: bootstrap(metric, truth, said, groups=reports) for metric in (precision, recall, f1)
    }
    return {**figures, "n": len(rows)}


def curves(data: Path) -> dict[str, Any]:
    """Truth and answers, and whether service would have found the concept at all, for plots.

    See `models.training.curves`. `answered`: a problem of the vocabulary is found where the kit's concept
    stands; elsewhere service says nothing of it.
    """
    rows = list(read(data))
    assertions = Assertions(HERE)
    return {
        "y": [int(r.negated) for r in rows],
        "guess": [int(bool(decide(assertions, r))) for r in rows],
        "classes": ("affirmed", "negated"),
        "answered": [recognised(assertions, r) for r in rows],
        "note": "Rules, corrected on these very reports. The concept's place is given; the share answered is "
        "that of the concepts at whose place service itself finds a problem of its vocabulary.",
    }


def recognised(assertions: Assertions, row: Row) -> bool:
    """Whether service finds a problem that overlaps the row's concept."""
    span = locate(row.concept, row.sentence)
    if span is None:
        return False
    return any(m.start < span[1] and span[0] < m.end for m in assertions.mentions(row.sentence))
