"""What the database costs: claims, conclusions and the audit, on SQLite and on PostgreSQL."""

from __future__ import annotations

import time
from collections import defaultdict

from pydantic import SecretStr

from benchmarks import data
from benchmarks.figures import OURS, Figure
from benchmarks.homes import Home, home, postgresql
from benchmarks.options import Options
from db import claims, conclusions, metrics
from db.jobs import Conclusion
from db.records import Code, Diagnosis, Finding
from models import registry

MODEL = "note-assertion"
BATCHES = (1, 8, 32)
FINDING = Finding(code=Code(value="233604007", system="http://snomed.info/sct", meaning="Pneumonia"),
                  positive=True, probability=0.9, threshold=0.5, evidence={"kind": "none"})  # fmt: skip


def run(options: Options) -> list[Figure]:
    """Notes taken in, claimed and concluded without any model; then the whole chain verified."""
    spent: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with postgresql(options) as server:
        for number in range(options.runs):
            for kind in ("SQLite", *(["PostgreSQL"] if server else [])):
                place = options.folder / f"{kind}-{number}"
                place.mkdir()
                url = {"database_url": SecretStr(server())} if server and kind == "PostgreSQL" else {}
                with home(place, models=MODEL, **url) as ours:
                    _measure(ours, options, kind, spent)
    return _figures(spent)


def _measure(
    ours: Home, options: Options, kind: str, spent: defaultdict[tuple[str, str], list[float]]
) -> None:
    count = options.count(480, 12)
    for number in range(count):
        (ours.inbox / f"{number}.txt").write_bytes(data.note(number))
    ingest = ours.ingest()
    before = metrics.stage_seconds.labels("record", "")._sum.get()
    ours.take(ingest, count)
    spent[kind, "taking a note in: rows"].append(
        1000 * (metrics.stage_seconds.labels("record", "")._sum.get() - before) / count
    )
    ours.dispatched(ingest)
    waiting = list(ours.hinted)
    card = registry.card(MODEL)
    per = len(waiting) // len(BATCHES)
    for batch in BATCHES:
        claimed, concluding = [], []
        done = 0
        while done < per:
            start = time.perf_counter()
            jobs = claims.claim(
                ours.store, waiting[0], worker="bench", lease_seconds=60, limit=min(batch, per - done),
                held={card.name: card.weights_sha256},
            )  # fmt: skip
            claimed.append(time.perf_counter() - start)
            taken = {job.id for job in jobs}
            waiting = [job_id for job_id in waiting if job_id not in taken]
            start = time.perf_counter()
            kept = conclusions.conclude(
                ours.store,
                [Conclusion(job=j, diagnosis=Diagnosis(findings=(FINDING,)), device="cpu") for j in jobs],
            )
            concluding.append(time.perf_counter() - start)
            if not jobs or not all(kept):
                raise AssertionError("a claimed job could not be concluded")
            done += len(jobs)
        spent[kind, f"claim of {batch}, a job"].append(1000 * sum(claimed) / done)
        spent[kind, f"conclusion of {batch}, a job"].append(1000 * sum(concluding) / done)
    _audit(ours, options, kind, spent)


def _audit(ours: Home, options: Options, kind: str, spent: defaultdict[tuple[str, str], list[float]]) -> None:
    """Lengthens the chain, and verifies it."""
    for start in range(0, options.count(100_000, 1000), 1000):
        with ours.store.write() as writer:
            for number in range(start, start + 1000):
                writer.audit(f"job:{number:020x}", "job:queued", lane="routine")
    begun = time.perf_counter()
    verdict = ours.store.verify_audit()
    seconds = time.perf_counter() - begun
    if not verdict.ok:
        raise AssertionError(f"the chain does not hold: {verdict.problem}")
    spent[kind, "verify"].append(verdict.entries / seconds)


def _figures(spent: defaultdict[tuple[str, str], list[float]]) -> list[Figure]:
    found = []
    kinds = list(dict.fromkeys(kind for kind, _ in spent))
    for kind in kinds:
        found.append(
            Figure(
                bar=5, what=f"audit entries verified, {kind}", unit="entries/s",
                runs={OURS: spent[kind, "verify"], "at least": [200_000.0]}, wanted={"at least": 1.0},
            )
        )  # fmt: skip
    for kind, what in spent:
        if what != "verify":
            found.append(Figure(bar=8, what=f"{what}, {kind}", unit="ms", runs={OURS: spent[kind, what]}))
    return found
