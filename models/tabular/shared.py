"""A network whose body is shared by the answer and by what is known of training patients alone.

Scores, costs, lengths of stay and doctors' estimates may not be asked of a patient in bed, but they tell
more of how ill a training patient was than the outcome's yes or no does. The body learns to foretell all
of them at once (Caruana 1997); the answer alone serves. Several members share the large matrices and
differ by vectors before and after them (batch ensemble; Wen 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.tabular.rows import Floats

BATCH = 128
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Shared:
    """The fitted network's way to the answer; numpy alone."""

    arrays: (
        Arrays  #: signs (k, columns); w0.. (in, out), s0.., b0.. (k, 1, out); o (k, width, 1), c (k, 1, 1)
    )

    def predict_proba(self, table: Floats) -> Floats:
        """(n, 2) of (n, columns), standardised: the members' mean log-odds as probabilities."""
        a = self.arrays
        h = np.asarray(table, dtype=np.float32)[None] * a["signs"][:, None]
        for layer in range(sum(name.startswith("w") for name in a)):
            h = np.maximum((h @ a[f"w{layer}"]) * a[f"s{layer}"] + a[f"b{layer}"], 0)
        chance = expit((h @ a["o"] + a["c"])[..., 0].mean(0).astype(np.float64))
        return np.stack([1 - chance, chance], axis=1)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The parameters of a member of this kind."""

    width: int = 64
    layers: int = 2
    members: int = 8
    dropout: float = 0.3
    rounds: int = 20
    rate: float = 2e-3
    decay: float = 0.1
    helpers: float = 3.0  #: weight of the mean squared error of the helpers, standardised


def standardised(helpers: Floats) -> tuple[Floats, Floats]:
    """(n, helpers) with mean 0 and deviation 1, 0 where not known; and 1 where known, else 0."""
    known = ~np.isnan(helpers)
    scaled = (helpers - np.nanmean(helpers, axis=0)) / np.nanstd(helpers, axis=0)
    return np.where(known, scaled, 0.0), known.astype(np.float64)


def fit(
    table: Floats, labels: NDArray[np.int64], helpers: Floats, parameters: Mapping[str, Any], seed: int
) -> Shared:
    """The network fitted to (n, columns), (n,) of 0 and 1, and (n, helpers) with NaN where not known."""
    import torch
    from torch.nn import functional as F

    plan = Plan(**parameters)
    torch.manual_seed(seed)
    x = torch.tensor(table, dtype=torch.float32)
    y = torch.tensor(labels, dtype=torch.float32)
    aims, known = (torch.tensor(part, dtype=torch.float32) for part in standardised(helpers))
    weights = _begin(torch, x.shape[1], 1 + aims.shape[1], plan)
    optimiser = torch.optim.AdamW(weights.values(), lr=plan.rate, weight_decay=plan.decay, fused=True)
    batches = len(x) // BATCH or 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.rate, total_steps=plan.rounds * batches + 1
    )
    for _ in range(plan.rounds):
        order = torch.randperm(len(x))
        for turn in range(batches):
            pick = order[turn * BATCH : (turn + 1) * BATCH]
            found = _forward(F, weights, x[pick], plan)
            answer = y[pick].expand(plan.members, -1)
            loss = F.binary_cross_entropy_with_logits(found[..., 0], answer)
            if aims.shape[1]:
                loss = loss + plan.helpers * ((found[..., 1:] - aims[pick]) ** 2 * known[pick]).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    kept = {name: w.detach().numpy().copy() for name, w in weights.items()}
    kept |= {"o": kept["o"][..., :1].copy(), "c": kept["c"][..., :1].copy()}
    return Shared(arrays=kept)


def _begin(torch: Any, columns: int, outputs: int, plan: Plan) -> dict[str, Any]:
    """The weights before training, by their names in `Shared.arrays`."""
    k, sizes = plan.members, [columns] + [plan.width] * plan.layers
    found = {"signs": torch.randn(k, columns).sign()}
    for layer, (into, out) in enumerate(pairwise(sizes)):
        found[f"w{layer}"] = torch.randn(into, out) * (1 / into) ** 0.5
        found[f"s{layer}"], found[f"b{layer}"] = torch.ones(k, 1, out), torch.zeros(k, 1, out)
    found["o"], found["c"] = torch.randn(k, plan.width, outputs) * 0.05, torch.zeros(k, 1, outputs)
    return {name: weight.requires_grad_() for name, weight in found.items()}


def _forward(functional: Any, weights: Mapping[str, Any], x: Any, plan: Plan) -> Any:
    """(k, n, outputs)."""
    h = x[None] * weights["signs"][:, None]
    for layer in range(plan.layers):
        h = functional.relu((h @ weights[f"w{layer}"]) * weights[f"s{layer}"] + weights[f"b{layer}"])
        h = functional.dropout(h, plan.dropout)
    return h @ weights["o"] + weights["c"]
