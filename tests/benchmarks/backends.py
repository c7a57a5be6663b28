"""Each back-end of the film reader's network against PyTorch as it comes, and against our own reference."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.figures import OURS, Figure, machine
from benchmarks.options import Options
from models import backends, optimise, registry
from models.backends import REFERENCE, Measured
from models.chest_xray.network import FILM, ResidualNetwork, Together
from models.chest_xray.prepare import prepare
from worker.runtime import set_threads

MODEL = "chest-xray"
EAGER = "PyTorch as it comes"
FILMS = 8  #: together, as a worker has them
ROUNDS = 7  #: of every back-end in turn, so that what else the machine does meets them all


class AsTrained(Together):
    """The members as they were trained: no normalisation folded in, memory as PyTorch lays it out."""

    def __init__(self, members: list[ResidualNetwork]) -> None:
        nn.Module.__init__(self)
        plain = [copy.deepcopy(member).to(memory_format=torch.contiguous_format) for member in members]  # type: ignore[call-overload]
        self.members = nn.ModuleList(plain).eval()


def run(options: Options) -> list[Figure]:
    """What `optimise` measures, kept for the other parts; then the network alone, by each in turn."""
    set_threads(0)
    films = registry.family(MODEL).variations(options.count(256, 2))  # type: ignore[attr-defined]
    measured = optimise.optimise(MODEL, "cpu", films)
    backends.record(options.kept, measured)
    squares = np.stack([prepare(film.pixels, FILM.side).pixels for film in films[:FILMS]])
    batch = torch.from_numpy(squares)[:, None]
    model: Any = registry.load(MODEL, "cpu")
    ways: dict[str, Callable[[Tensor], Tensor]] = {EAGER: AsTrained(model.members)}
    ways |= {m.backend: backends.build(m.backend, model.network, batch[:2]) for m in measured if m.speedup}
    speeds = _speeds(ways, batch, 1 if options.short else ROUNDS * max(options.runs - 1, 1))
    return [*_bars(options, measured, speeds), _each(measured, speeds)]


def _speeds(
    ways: Mapping[str, Callable[[Tensor], Tensor]], batch: Tensor, rounds: int
) -> dict[str, list[float]]:
    """Films a second of each, a value a round."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for compute in ways.values():
            compute(batch)
        for _ in range(rounds):
            for name, compute in ways.items():
                start = time.perf_counter()
                for _ in range(3):
                    compute(batch)
                found[name].append(3 * len(batch) / (time.perf_counter() - start))
    return found


def _bars(options: Options, measured: list[Measured], speeds: Mapping[str, list[float]]) -> list[Figure]:
    admitted = [m.backend for m in measured if m.admitted and m.backend != REFERENCE]
    matrices = "amx" in machine()["processor"]
    found = []
    for name, bound, group in (
        ("that agrees to 1e-6", 2.0, [name for name in admitted if name.endswith("fp32")]),
        ("admitted", 5.0 if matrices else None, admitted),
    ):
        if not group:
            options.skip(f"no faster back-end {name} here")
            continue
        best = max(group, key=lambda backend: np.median(speeds[backend]))
        note = "" if bound else "at least 5 is asked where the processor has AMX; this one has none"
        found.append(
            Figure(
                bar=6, what=f"the network by the fastest back-end {name}, {best}", unit="films/s",
                runs={OURS: speeds[best], EAGER: speeds[EAGER], REFERENCE: speeds[REFERENCE]},
                wanted={EAGER: bound} if bound else {}, note=note,
            )
        )  # fmt: skip
    return found


def _each(measured: list[Measured], speeds: Mapping[str, list[float]]) -> Figure:
    """Every one beside the reference, the refused too; what `optimise` said of each stands under it."""
    told = "; ".join(
        f"{m.backend}: {m.agreement:.2%} of {m.decisions} decisions the same, all within {m.worst:.2g}, "
        f"a whole reading {m.speedup:.2f} times as fast as by the reference, "
        f"{'admitted' if m.admitted else 'refused: ' + m.reason}"
        for m in measured
    )
    others = {name: speed for name, speed in speeds.items() if name != REFERENCE}
    runs = {OURS: speeds[REFERENCE], **others}
    return Figure(
        bar=6, what=f"the network by our reference, {REFERENCE}", unit="films/s", runs=runs, note=told
    )
