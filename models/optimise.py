"""Measures each back-end of a model against the reference, and admits those that agree and are faster."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import cycle, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from db.errors import Misconfigured
from db.logs import get, place
from db.records import Diagnosis
from models import backends, registry
from models.backends import REFERENCE, Measured
from models.payloads import Payload

log = get("models")

EXACT = 1e-6  #: how far a probability of an fp32 back-end may lie from the reference's
NEAR = 0.02  #: and of another one
EXACT_VALUE = 0.001  #: how far a value of an fp32 back-end may lie from the reference's, as a share of it
NEAR_VALUE = 0.01  #: and of another one
AGREEMENT = 0.999  #: share of findings that must be decided alike (in fp32 all), and of voxels, of beats
BATCH = 8  #: inputs together, as a worker has them
SIZES = (1, BATCH - 1, BATCH, 2)  #: of the batches that are compared: an export may have fixed one
ROUNDS = 5  #: of the timing; the median counts

Alike = Callable[[Diagnosis, Diagnosis], tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """How a back-end's answers lie to the reference's."""

    decisions: int  #: findings, and parts of findings
    findings: float  #: share of findings that are decided alike
    parts: float  #: share of what the family says they are made of: voxels, beats
    probability: float  #: largest difference
    value: float  #: largest difference, as a share of the reference's

    @property
    def agreement(self) -> float:
        """The lower of both shares."""
        return min(self.findings, self.parts)


def optimise(
    name: str, device: str, payloads: Sequence[Payload], say: Callable[[str], None] = lambda _: None
) -> list[Measured]:
    """Each back-end that can be tried here, measured on these inputs, the reference first.

    Raises Misconfigured for a model that has no choice of back-ends.
    """
    reference: Any = registry.load(name, device)
    if not hasattr(reference, "use"):
        raise Misconfigured(f"{name} computes in one way only: there is nothing to choose")
    alike: Alike | None = getattr(registry.family(name), "alike", None)
    model: Any = registry.load(name, device)
    expected = _answers(reference, payloads)
    found = []
    for backend in backends.names(device):
        say(f"{name}: {backend}")
        try:
            model.use(backend)
            answers = compared(expected, _answers(model, payloads), alike)
            base, seconds = _seconds((reference, model), payloads[:BATCH])
        except Exception as error:  # noqa: BLE001 - whatever a back-end raises, the others are tried
            found.append(_failed(model, backend, type(error).__name__))
            continue
        base = seconds if backend == REFERENCE else base
        found.append(_measured(model, backend, base, seconds, answers, len(payloads)))
    return found


def choose(model: Any, folder: Path, payloads: Sequence[Payload]) -> str | None:
    """Lets a model compute by the fastest back-end admitted; its name, None where it has no choice.

    One that cannot be built any more, or no longer answers these inputs as the reference does, leaves the
    reference, and is told of: a study read slowly is read.
    """
    if not hasattr(model, "use"):
        return None
    name = backends.fastest(folder, model.card, model.device)
    if name == REFERENCE:
        return name
    try:
        expected = model.examine(payloads)
        model.use(name)
        reason = refusal(compared(expected, model.examine(payloads)), exact=name.endswith("fp32"))
    except Exception as error:  # noqa: BLE001 - whatever a library raises here, the reference is there
        reason = place(error)
    if not reason:
        return name
    log.error("backend_failed", model=model.card.name, backend=name, error=reason)
    model.use(REFERENCE)
    return REFERENCE


def _answers(model: Any, payloads: Sequence[Payload]) -> list[Diagnosis]:
    left, sizes = list(payloads), cycle(SIZES)
    answers: list[Diagnosis] = []
    while left:
        size = next(sizes)
        answers += model.examine(left[:size])
        left = left[size:]
    return answers


def _seconds(models: Sequence[Any], batch: Sequence[Payload]) -> list[float]:
    """Each model's median seconds an input, all in turn, so that what else runs here slows them alike."""
    rounds: list[list[float]] = []
    for _ in range(ROUNDS):
        marks = [time.perf_counter()]
        for model in models:
            model.examine(batch)
            marks.append(time.perf_counter())
        rounds.append([(end - start) / len(batch) for start, end in pairwise(marks)])
    return [median(column) for column in zip(*rounds, strict=True)]


def compared(
    expected: Sequence[Diagnosis], given: Sequence[Diagnosis], alike: Alike | None = None
) -> Compared:
    """The given answers against the expected ones; alike: of two, (parts that are the same, parts)."""
    same, parts, gaps, values = [], [], [0.0], [0.0]
    for one, other in zip(expected, given, strict=True):
        if one.abstained or other.abstained or len(one.findings) != len(other.findings):
            same.append(one.abstained and other.abstained and _code(one.reason) == _code(other.reason))
            continue
        if alike is not None:
            parts.append(alike(one, other))
        for a, b in zip(one.findings, other.findings, strict=True):
            same.append((a.code, a.positive, a.abstained) == (b.code, b.positive, b.abstained))
            if a.probability is not None and b.probability is not None:
                gaps.append(abs(a.probability - b.probability))
            if a.value is not None and b.value is not None:
                values.append(abs(a.value - b.value) / max(abs(a.value), 1e-9))
    alike_parts, all_parts = (sum(column) for column in zip(*parts, strict=True)) if parts else (0, 0)
    return Compared(
        decisions=len(same) + all_parts, findings=float(np.mean(same)),
        parts=alike_parts / all_parts if all_parts else 1.0, probability=max(gaps), value=max(values),
    )  # fmt: skip


def _code(reason: str | None) -> str:
    """The code of an abstention's reason; the sentence behind it holds numbers."""
    return (reason or "").partition(":")[0]


def _measured(
    model: Any, backend: str, base: float, seconds: float, found: Compared, inputs: int
) -> Measured:
    reason = refusal(found, exact=backend.endswith("fp32"))
    return Measured(
        model=model.card.name, weights_sha256=model.card.weights_sha256, machine=backends.machine(),
        device=model.device, backend=backend, seconds=round(seconds, 6), speedup=round(base / seconds, 3),
        inputs=inputs, decisions=found.decisions, agreement=round(found.agreement, 6),
        worst=float(f"{found.probability:.3g}"), worst_value=float(f"{found.value:.3g}"),
        admitted=not reason, reason=reason, at=datetime.now(UTC).date().isoformat(),
    )  # fmt: skip


def refusal(found: Compared, *, exact: bool) -> str:
    """Why a back-end that answers so is not admitted; "" when it is. exact: it computes in fp32."""
    bound, limit = (EXACT, EXACT_VALUE) if exact else (NEAR, NEAR_VALUE)
    wanted = 1.0 if exact else AGREEMENT
    if found.probability > bound:
        return f"a probability differs by {found.probability:.2g}, at most {bound:g} is allowed"
    if found.value > limit:
        return f"a value differs by {found.value:.2%}, at most {limit:.1%} is allowed"
    if found.findings < wanted:
        return f"{found.findings:.2%} of the findings are the same, {wanted:.1%} are asked for"
    if found.parts < AGREEMENT:
        return f"{found.parts:.2%} of what they are made of is the same, {AGREEMENT:.1%} is asked for"
    return ""


def _failed(model: Any, backend: str, kind: str) -> Measured:
    nothing = Compared(decisions=0, findings=0.0, parts=0.0, probability=0.0, value=0.0)
    found = _measured(model, backend, 1.0, 1.0, nothing, 0)
    return replace(found, admitted=False, speedup=0.0, reason=f"it could not be built: {kind}")
