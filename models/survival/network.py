"""DeepSurv (Katzman 2018): a small network whose output is the log hazard; served in numpy."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.survival.hazards import Events, Floats
from models.survival.study import Blend

ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805  #: SELU (Klambauer 2017)


def fit(z: Floats, t: Floats, e: Events, blend: Blend, seed: int) -> list[NDArray[np.float32]]:
    """Weights and biases, layer after layer, of a network on (n, terms) standardised terms."""
    import torch
    from torchsurv.loss.cox import neg_partial_log_likelihood

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    sizes = (z.shape[1], *blend.hidden)
    layers: list[torch.nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.SELU(), torch.nn.Dropout(blend.dropout)]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], 1))
    x, times = torch.tensor(z, dtype=torch.float32), torch.tensor(t, dtype=torch.float32)
    events = torch.tensor(e, dtype=torch.bool)
    optimiser = torch.optim.AdamW(network.parameters(), lr=blend.rate, weight_decay=blend.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, blend.rate, total_steps=blend.epochs)
    for _ in range(blend.epochs):
        network.train()
        with (
            warnings.catch_warnings()
        ):  # it tells of tied times at each step; Breslow's way is what is wanted
            warnings.filterwarnings("ignore", message="Ties in `time` detected", category=UserWarning)
            loss = neg_partial_log_likelihood(network(x), events, times, ties_method="breslow")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return [p.detach().numpy().astype(np.float32) for p in network.parameters()]


def answer(weights: list[NDArray[Any]], z: Floats) -> Floats:
    """(n,) log hazards of (n, terms) standardised terms."""
    x = z
    for place in range(0, len(weights), 2):
        x = x @ weights[place].T.astype(np.float64) + weights[place + 1]
        if place + 2 < len(weights):
            x = SCALE * np.where(x > 0, x, ALPHA * np.expm1(np.minimum(x, 0)))
    return np.asarray(x[:, 0])


def stored(weights: list[NDArray[Any]], number: int) -> dict[str, NDArray[Any]]:
    """The weights as named arrays of one of several networks."""
    return {f"network.{number}.{place:02d}": array for place, array in enumerate(weights)}


def restored(arrays: Mapping[str, NDArray[Any]]) -> list[list[NDArray[Any]]]:
    """The networks that named arrays hold."""
    names = sorted(name for name in arrays if name.startswith("network."))
    numbers = sorted({name.split(".")[1] for name in names}, key=int)
    return [[arrays[n] for n in names if n.split(".")[1] == number] for number in numbers]
