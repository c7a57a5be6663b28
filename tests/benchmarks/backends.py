"""Each back-end of the film reader against plain PyTorch in single precision."""

from __future__ import annotations

from benchmarks.figures import OURS, Figure
from benchmarks.options import Options
from models import backends, optimise, registry
from models.backends import REFERENCE
from worker.runtime import set_threads

MODEL = "chest-xray"


def run(options: Options) -> list[Figure]:
    """What `wetread models optimise chest-xray` measures; what is admitted is kept for the other parts."""
    set_threads(0)
    family = registry.family(MODEL)
    rounds = []
    for _ in range(1 if options.short else max(options.runs - 1, 1)):
        rounds.append(optimise.optimise(MODEL, "cpu", family.variations(options.count(64, 2))))  # type: ignore[attr-defined]
    backends.record(options.kept, rounds[-1])
    speeds = {m.backend: [1 / r.seconds for one in rounds for r in one if r.backend == m.backend]
              for m in rounds[-1]}  # fmt: skip
    admitted = [m for m in rounds[-1] if m.admitted and m.backend != REFERENCE]
    exact = [m.backend for m in admitted if m.backend.endswith("fp32")]
    told = "; ".join(
        f"{m.backend}: {m.agreement:.2%} of {m.decisions} decisions the same, all within {m.worst:.2g}, "
        f"{'admitted' if m.admitted else 'refused: ' + m.reason}"
        for m in rounds[-1]
    )
    found = []
    for name, bound, group in (
        ("that agrees to 1e-6", 2.0, exact),
        ("admitted", 5.0, [m.backend for m in admitted]),
    ):
        if not group:
            options.skip(f"no faster back-end {name} here")
            continue
        best = max(group, key=lambda backend: max(speeds[backend]))
        found.append(
            Figure(
                bar=6, what=f"the fastest back-end {name}, {best}", unit="films/s",
                runs={OURS: speeds[best], REFERENCE: speeds[REFERENCE]}, wanted={REFERENCE: bound},
            )
        )  # fmt: skip
    others = {OURS: speeds[REFERENCE], **{name: speed for name, speed in speeds.items() if name != REFERENCE}}
    return [
        *found,
        Figure(bar=6, what="every back-end, against the reference", unit="films/s", runs=others, note=told),
    ]
