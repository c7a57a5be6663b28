"""Weighs the negation terms one by one on labelled sentences: which help, which hurt, which never occur."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models import text
from models.card import read as read_card
from models.note_assertion import evaluate, terms
from models.note_assertion.evaluate import HERE, Row, decide
from models.note_assertion.pipeline import Assertions
from models.training import figures, package

KINDS = ("preceding", "following", "pseudo", "termination", "closing")


def _f1(assertions: Assertions, rows: list[Row], truth: np.ndarray[Any, Any]) -> float:
    return evaluate.f1(truth, np.array([bool(decide(assertions, r)) for r in rows]))


def _key(phrase: str) -> str:
    return f" {' '.join(w.form for w in text.words(phrase))} "


def _terms(listed: Mapping[str, Any], kind: str) -> list[str]:
    return list(listed["closing"]["terms"] if kind == "closing" else listed[kind])


def _without(listed: Mapping[str, Any], kind: str, term: str) -> dict[str, Any]:
    """The lists but for one term of one kind."""
    kept = [t for t in _terms(listed, kind) if t != term]
    return {**listed, kind: {**listed["closing"], "terms": kept} if kind == "closing" else kept}


def _occurring(listed: Mapping[str, Any], rows: list[Row]) -> list[tuple[str, str, int]]:
    """(kind, term, sentences that hold it) of every term that occurs."""
    sentences = [_key(s) for s in dict.fromkeys(r.sentence for r in rows)]
    counted = [
        (kind, term, sum(_key(term) in s for s in sentences))
        for kind in KINDS
        for term in _terms(listed, kind)
    ]
    return [entry for entry in counted if entry[2]]


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Leaves out each negation term that occurs in data (the NegEx layout) and measures F1 without it.

    Writes out/terms.json: F1, the F1 each term adds (negative: it hurts), how often it occurs, and
    the SHA-256 of every term file. Stops early, saying so in the file, when the minutes are up.
    The lists themselves are edited by hand; nothing here is random, so seed changes nothing. Beside it lie
    the lists, a card with the figures on these sentences, the example, metrics.json and a confusion plot.
    """
    began = time.monotonic()
    rows = list(evaluate.read(data))
    truth = np.array([r.negated for r in rows])
    listed = terms.triggers(HERE, "negated")
    assertions = Assertions(HERE, questions=("negated",))
    whole = _f1(assertions, rows, truth)
    weighed, complete = [], True
    for kind, term, count in _occurring(listed, rows):
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            complete = False
            break
        assertions.replace("negated", _without(listed, kind, term))
        gain = whole - _f1(assertions, rows, truth)
        weighed.append({"kind": kind, "term": term, "sentences": count, "f1_gain": round(gain, 5)})
        if progress:
            progress(f"{kind} {term!r}: in {count} sentences, adds {gain:+.4f} F1")
    out.mkdir(parents=True, exist_ok=True)
    files = {name: hashlib.sha256((HERE / name).read_bytes()).hexdigest() for name in terms.FILES}
    report = {"f1": round(whole, 5), "n": len(rows), "complete": complete, "terms": weighed, "sha256": files}
    (out / "terms.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    _carded(
        data, out, truth, np.array([bool(decide(Assertions(HERE, questions=("negated",)), r)) for r in rows])
    )


def _carded(data: Path, out: Path, truth: np.ndarray[Any, Any], said: np.ndarray[Any, Any]) -> None:
    """The figures, the confusion, and the served card with those figures."""
    found = evaluate.evaluate(data)
    (out / "metrics.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    plot = figures.confusion(truth.astype(np.int64), said.astype(np.int64), ("affirmed", "negated"))
    (out / "confusion.png").write_bytes(plot)
    served = read_card(HERE)
    told = [
        {"dataset": "the sentences that the terms were weighed on", "metric": name, "n": found["n"], **value}
        for name, value in found.items()
        if name != "n"
    ]
    package.again(out, served, version=served.version, figures=told)
