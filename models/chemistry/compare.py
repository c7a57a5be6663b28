"""What the serving machines are compared with on the same folds: forests, support vectors, a SMILES RNN."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.chemistry import forest, kernel
from models.chemistry.features import Floats
from models.chemistry.measure import Set
from models.chemistry.recipe import Recipe
from models.training.loop import Schedule, fit

Places = NDArray[np.intp]
Learner = Callable[[Set, Recipe, Places, Places, int], Floats]  #: training rows, other rows, seed: scores
LONGEST = 120  #: characters of a SMILES that are read
BATCH, EPOCHS, STEPS = 64, 10, 100  #: of the RNN: so many draws in all, whatever the set's size
WRITINGS = 5  #: of a molecule asked about, whose answers are averaged


def _forest(name: str) -> Learner:
    def learn(data: Set, recipe: Recipe, rows: Places, others: Places, seed: int) -> Floats:
        from sklearn import ensemble

        kind = getattr(ensemble, name)
        share: Any = "sqrt" if recipe.classifies and not recipe.columns.aim else 0.1
        fitted = kind(100, max_features=share, min_samples_leaf=2, n_jobs=1, random_state=seed)
        wide = forest.wide(data.seen, kernel.scale(data.seen.descriptors))
        return np.asarray(fitted.fit(wide[rows], data.aims[rows]).predict(wide[others]), np.float64)

    return learn


def written(mol: Any, seed: int) -> str:
    """The molecule's SMILES, begun at a drawn atom and walked in a drawn order."""
    from rdkit import Chem

    return str(Chem.MolToRandomSmilesVect(mol, 1, randomSeed=seed, isomericSmiles=False)[0])


def coded(smiles: Sequence[str]) -> Tensor:
    """(n, longest) character numbers; 0 behind the end. Two-letter halogens are two characters."""
    rows = [torch.tensor([min(ord(c), 127) for c in one[:LONGEST]], dtype=torch.int64) for one in smiles]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


class Recurrent(nn.Module):
    """A two-way LSTM over characters; the highest and the mean of its states are read."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(128, 32, padding_idx=0)
        self.memory = nn.LSTM(32, 64, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(4 * 64, 1))

    def forward(self, codes: Tensor) -> Tensor:
        """(batch, length) character numbers to (batch,) standardised answers."""
        states, _ = self.memory(self.embed(codes))
        held = (codes > 0)[..., None]
        highest = states.masked_fill(~held, -1.0).amax(1)  # states lie between -1 and 1
        mean = (states * held).sum(1) / held.sum(1)
        return torch.as_tensor(self.head(torch.cat([highest, mean], 1))[:, 0])


def batches(sizes: NDArray[Any], random: np.random.Generator) -> Iterator[Places]:
    """Draws of BATCH places without end: every place once a round, molecules of like size together."""
    while True:
        order = random.permutation(len(sizes))
        for wide in np.array_split(order, max(1, len(order) // (8 * BATCH))):
            alike = np.array_split(wide[np.argsort(sizes[wide])], max(1, len(wide) // BATCH))
            yield from (alike[i] for i in random.permutation(len(alike)))


def recurrent(data: Set, recipe: Recipe, rows: Places, others: Places, seed: int) -> Floats:
    """An RNN on SMILES, each molecule written anew at each draw; several writings answer."""
    torch.set_num_threads(1)
    random = np.random.default_rng(seed)
    middle, spread = float(data.aims[rows].mean()), float(data.aims[rows].std())
    aims = torch.tensor((data.aims - middle) / spread, dtype=torch.float32)
    drawn = batches(np.array([data.mols[i].GetNumAtoms() for i in rows]), random)

    def write(places: Places) -> Tensor:
        return coded([written(data.mols[i], int(random.integers(1, 2**30))) for i in places])

    def draw() -> tuple[Tensor, Tensor]:
        places = rows[next(drawn)]
        return write(places), aims[places]

    schedule = Schedule(epochs=EPOCHS, steps=STEPS, rate=4e-3, decay=0.01)
    trained = fit(Recurrent(), draw, nn.functional.mse_loss, schedule, seed=seed)
    parts = np.array_split(others, max(1, len(others) // 256))
    with torch.no_grad():
        turns = [torch.cat([trained(write(part)) for part in parts]).float() for _ in range(WRITINGS)]
    return np.asarray(torch.stack(turns).mean(0).numpy() * spread + middle, np.float64)


LEARNERS: dict[str, Learner] = {
    "SMILES RNN (two-way LSTM)": recurrent,
    "random forest": _forest("RandomForestRegressor"),
    "extremely randomised trees": _forest("ExtraTreesRegressor"),
}
