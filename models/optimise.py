"""Measures each back-end of a model against the reference, and admits those that agree and are faster."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from statistics import median
from typing import Any

import numpy as np

from db.errors import Misconfigured
from db.records import Diagnosis
from models import backends, registry
from models.backends import REFERENCE, Measured
from models.payloads import Payload

EXACT = 1e-6  #: how far a probability of an fp32 back-end may lie from the reference's
NEAR = 0.02  #: and of a bf16 one, whose decisions must be the same in AGREEMENT of all
AGREEMENT = 0.999
BATCH = 16
ROUNDS = 3  #: of the timing; the median counts


def optimise(
    name: str, device: str, payloads: Sequence[Payload], say: Callable[[str], None] = lambda _: None
) -> list[Measured]:
    """Each back-end that can be tried here, measured on these inputs, the reference first.

    Raises Misconfigured for a model that has no choice of back-ends.
    """
    model: Any = registry.load(name, device)
    if not hasattr(model, "use"):
        raise Misconfigured(f"{name} computes in one way only: there is nothing to choose")
    expected, base = _timed(model, payloads)
    found = [_measured(model, REFERENCE, base, base, _compared(expected, expected), len(payloads))]
    for backend in backends.names(device)[1:]:
        say(f"{name}: {backend}")
        try:
            model.use(backend)
            given, seconds = _timed(model, payloads)
        except Exception as error:  # noqa: BLE001 - whatever a back-end raises, the others are tried
            found.append(_failed(model, backend, base, type(error).__name__))
            continue
        finally:
            model.use(REFERENCE)
        found.append(_measured(model, backend, base, seconds, _compared(expected, given), len(payloads)))
    return found


def _timed(model: Any, payloads: Sequence[Payload]) -> tuple[list[Diagnosis], float]:
    """The answers, and the median seconds an input."""
    batches = [payloads[n : n + BATCH] for n in range(0, len(payloads), BATCH)]
    model.examine(batches[0])
    answers = [d for batch in batches for d in model.examine(batch)]
    probe, rounds = batches[0], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(3):
            model.examine(probe)
        rounds.append((time.perf_counter() - start) / 3 / len(probe))
    return answers, median(rounds)


def _compared(expected: Sequence[Diagnosis], given: Sequence[Diagnosis]) -> tuple[int, float, float]:
    """(decisions, share that are the same, largest difference of a probability or, in part, of a value)."""
    same, gaps = [], [0.0]
    for one, other in zip(expected, given, strict=True):
        if one.abstained or other.abstained or len(one.findings) != len(other.findings):
            same.append(one.abstained and other.abstained and one.reason == other.reason)
            continue
        for a, b in zip(one.findings, other.findings, strict=True):
            same.append((a.code, a.positive, a.abstained) == (b.code, b.positive, b.abstained))
            if a.probability is not None and b.probability is not None:
                gaps.append(abs(a.probability - b.probability))
            if a.value is not None and b.value is not None:
                gaps.append(abs(a.value - b.value) / max(abs(a.value), 1e-9))
    return len(same), float(np.mean(same)), max(gaps)


def _measured(
    model: Any, backend: str, base: float, seconds: float, compared: tuple[int, float, float], inputs: int
) -> Measured:
    decisions, agreement, worst = compared
    bound = EXACT if backend.endswith("fp32") else NEAR
    wanted = 1.0 if backend.endswith("fp32") else AGREEMENT
    reason = ""
    if worst > bound:
        reason = f"a probability differs by {worst:.2g}, at most {bound:g} is allowed"
    elif agreement < wanted:
        reason = f"{agreement:.2%} of the decisions are the same, {wanted:.1%} are asked for"
    return Measured(
        model=model.card.name, weights_sha256=model.card.weights_sha256, machine=backends.machine(),
        device=model.device, backend=backend, seconds=round(seconds, 6), speedup=round(base / seconds, 3),
        inputs=inputs, decisions=decisions, agreement=round(agreement, 6), worst=float(f"{worst:.3g}"),
        admitted=not reason, reason=reason, at=datetime.now(UTC).date().isoformat(),
    )  # fmt: skip


def _failed(model: Any, backend: str, base: float, kind: str) -> Measured:
    found = _measured(model, backend, base, base, (0, 0.0, 0.0), 0)
    return replace(found, admitted=False, speedup=0.0, reason=f"it could not be built: {kind}")
