"""What the serving machines are compared with on the same folds: forests, support vectors, a SMILES RNN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.chemistry import kernel
from models.chemistry.features import Floats, Table
from models.chemistry.measure import Set
from models.chemistry.recipe import Recipe

Places = NDArray[np.intp]
Learner = Callable[[Set, Recipe, Places, Places, int], Floats]  #: training rows, other rows, seed: scores
FOLDED = 1_024  #: columns of the counts that forests see
EPOCHS, BATCH, LONGEST = 20, 64, 120


def folded(table: Table) -> NDArray[np.float32]:
    """(n, FOLDED) how often fragments occur, columns that lie FOLDED apart added up."""
    places = table.tocoo()
    counts = np.zeros((table.shape[0], FOLDED), np.float32)
    np.add.at(counts, (places.row, places.col % FOLDED), 1)
    return counts


def _wide(data: Set) -> NDArray[np.float32]:
    descriptors = kernel.scale(data.seen.descriptors)(data.seen.descriptors)
    return np.concatenate([folded(data.seen.exact), descriptors.astype(np.float32)], axis=1)


def _forest(name: str) -> Learner:
    def learn(data: Set, recipe: Recipe, rows: Places, others: Places, seed: int) -> Floats:
        from sklearn import ensemble

        kind = getattr(ensemble, name)
        share: Any = "sqrt" if recipe.classifies and not recipe.columns.aim else 0.1
        fitted = kind(100, max_features=share, min_samples_leaf=2, n_jobs=1, random_state=seed)
        wide = _wide(data)
        return np.asarray(fitted.fit(wide[rows], data.aims[rows]).predict(wide[others]), np.float64)

    return learn


def written(mol: Any, seed: int | None) -> str:
    """The molecule's SMILES: canonical, or (seed) begun at a drawn atom and walked in a drawn order."""
    from rdkit import Chem

    if seed is None:
        return str(Chem.MolToSmiles(mol, isomericSmiles=False))
    return str(Chem.MolToRandomSmilesVect(mol, 1, randomSeed=seed, isomericSmiles=False)[0])


def coded(smiles: Sequence[str]) -> NDArray[np.int64]:
    """(n, longest) character numbers; 0 behind the end. Two-letter halogens are two characters."""
    rows = [[min(ord(c), 127) for c in one[:LONGEST]] for one in smiles]
    return np.array([row + [0] * (max(map(len, rows)) - len(row)) for row in rows], np.int64)


def recurrent(data: Set, recipe: Recipe, rows: Places, others: Places, seed: int) -> Floats:
    """A two-way GRU on the characters of SMILES, written anew at each draw; five writings answer."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    middle, spread = float(data.aims[rows].mean()), float(data.aims[rows].std())
    aims = torch.tensor((data.aims - middle) / spread, dtype=torch.float32)
    embed, gru = nn.Embedding(128, 32, padding_idx=0), nn.GRU(32, 64, batch_first=True, bidirectional=True)
    head = nn.Sequential(nn.Dropout(0.3), nn.Linear(256, 1))
    whole = nn.ModuleList([embed, gru, head])
    optimiser = torch.optim.AdamW(whole.parameters(), lr=3e-3, weight_decay=0.01)

    def forward(pick: NDArray[Any], canonical: bool = False) -> torch.Tensor:
        told = coded(
            [written(data.mols[i], None if canonical else int(random.integers(1, 2**30))) for i in pick]
        )
        codes = torch.from_numpy(told)
        states, _ = gru(embed(codes))
        held = (codes > 0)[..., None]
        most = states.masked_fill(~held, -1e4).max(1).values
        mean = (states * held).sum(1) / held.sum(1)
        return torch.as_tensor(head(torch.cat([most, mean], 1))[:, 0])

    for _ in range(EPOCHS):
        for pick in np.array_split(random.permutation(rows), max(1, len(rows) // BATCH)):
            loss = F.mse_loss(forward(pick), aims[pick])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(whole.parameters(), 1.0)
            optimiser.step()
    whole.eval()
    with torch.no_grad():
        parts = np.array_split(others, max(1, len(others) // 256))
        turns = [np.concatenate([forward(p, turn == 0).numpy() for p in parts]) for turn in range(5)]
    return np.asarray(np.mean(turns, axis=0) * spread + middle, np.float64)


LEARNERS: dict[str, Learner] = {
    "extremely randomised trees": _forest("ExtraTreesRegressor"),
    "random forest": _forest("RandomForestRegressor"),
    "SMILES RNN (two-way GRU)": recurrent,
}
