"""The dose models together: ridge, boosting, and a line that aims at the 20 % around the dose itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.estimators import pack, unpack
from models.warfarin_dose.aim import ABOVE, BELOW
from models.warfarin_dose.design import Floats, filled

Arrays = dict[str, NDArray[Any]]
MEMBERS = ("ridge", "boosting", "aimed")
PENALTY = 30.0
EPOCHS, RATE, DECAY = 300, 0.01, 0.1
SOFT, SOFTEST = 0.1, 0.35  #: width of the window's edges, at the end and at the start


def fit(x: Floats, doses: Floats, seed: int = 0) -> Arrays:
    """All members fitted to (n, columns) and (n,) mg a week."""
    z = filled(x)
    mean, scale = z.mean(0), z.std(0) + 1e-9
    z = (z - mean) / scale
    aimed = _aimed(z, np.log(doses), seed)
    return {"mean": mean, "scale": scale, "aimed": aimed, **_ridge(z, doses), **_boosting(x, doses, seed)}


def _ridge(z: Floats, doses: Floats) -> Arrays:
    """Ridge of the dose's square root, as the IWPC's equation has it."""
    from sklearn.linear_model import Ridge

    return dict(pack(Ridge(PENALTY).fit(z, np.sqrt(doses)), prefix="ridge."))


def _boosting(x: Floats, doses: Floats, seed: int) -> Arrays:
    """Boosted trees of the log dose's median."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    trees = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=120, learning_rate=0.06, max_leaf_nodes=8, min_samples_leaf=30,
        random_state=seed,
    )  # fmt: skip
    return dict(pack(trees.fit(x, np.log(doses)), prefix="boosting."))


def _aimed(z: Floats, logs: Floats, seed: int) -> NDArray[np.float32]:
    """Weights and, last, the intercept of a linear log dose that is rewarded for each dose within 20 %.

    The reward is a window with soft edges, which harden as training goes on; a little squared error
    keeps far misses in sight.
    """
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    line = torch.nn.Linear(z.shape[1], 1)
    with torch.no_grad():
        line.weight.mul_(0.3)
        line.bias.fill_(float(np.median(logs)))
    x, truth = torch.tensor(z, dtype=torch.float32), torch.tensor(logs, dtype=torch.float32)
    optimiser = torch.optim.AdamW(line.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS)
    for epoch in range(EPOCHS):
        soft = SOFT + (SOFTEST - SOFT) * max(0.0, 1 - epoch / (0.6 * EPOCHS))
        miss = line(x)[:, 0] - truth
        hit = torch.sigmoid((miss + BELOW) / soft) - torch.sigmoid((miss - ABOVE) / soft)
        loss = 0.02 * (miss**2).mean() - hit.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    weights = [p.detach().numpy().astype(np.float32).reshape(-1) for p in line.parameters()]
    return np.concatenate(weights)


class Ensemble:
    """The members, answering in numpy."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.mean, self.scale = arrays["mean"], arrays["scale"]
        self.ridge = unpack(arrays, prefix="ridge.")
        self.boosting = unpack(arrays, prefix="boosting.")
        self.aimed = np.asarray(arrays["aimed"], dtype=np.float64)

    def logs(self, x: Floats) -> dict[str, Floats]:
        """member -> (n,) log of mg a week, of (n, columns)."""
        z = (filled(x) - self.mean) / self.scale
        return {
            "ridge": np.log(np.maximum(self.ridge.predict(z), 1.0) ** 2),
            "boosting": np.asarray(self.boosting.predict(x)),
            "aimed": z @ self.aimed[:-1] + self.aimed[-1],
        }

    def expected(self, x: Floats) -> Floats:
        """(n,) log of the expected mg a week: the members' mean."""
        return np.asarray(np.mean(list(self.logs(x).values()), axis=0))
