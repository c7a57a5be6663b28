"""Hyper-parameter search: seeded, quiet, and every trial kept for the table on the card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Between:
    """A number from low to high; of whole numbers when both are, on a log scale when asked."""

    low: float
    high: float
    log: bool = False


Space = Mapping[str, Between | Sequence[Any]]  #: what may be chosen, by name; a sequence lists choices
Objective = Callable[[dict[str, Any]], float]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The best choice and all that was tried, in order."""

    best: dict[str, Any]
    value: float
    tried: tuple[tuple[dict[str, Any], float], ...]


def search(
    objective: Objective,
    space: Space,
    trials: int,
    seed: int = 0,
    *,
    maximise: bool = True,
    first: Sequence[dict[str, Any]] = (),
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Found:
    """Tree-structured Parzen search (optuna) for the choice with the best objective.

    objective: a validation figure of a choice, never one of held-out data; one that is not finite
    counts as failed. first: choices to begin with, such as the defaults. minutes: no trial begins
    after so long. Raises ValueError when no trial gave a figure.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(direction="maximize" if maximise else "minimize", sampler=sampler)
    for choice in first:
        study.enqueue_trial(dict(choice))

    def trial(given: optuna.Trial) -> float:
        return float(objective({name: _asked(given, name, told) for name, told in space.items()}))

    def tell(study: optuna.Study, done: optuna.trial.FrozenTrial) -> None:
        if progress and done.value is not None:
            progress(f"trial {done.number + 1}/{trials} figure {done.value:.4f} best {study.best_value:.4f}")

    timeout = 60 * minutes if minutes is not None else None
    study.optimize(trial, n_trials=trials, timeout=timeout, callbacks=[tell])
    finished = [(dict(t.params), float(t.value)) for t in study.trials if t.value is not None]
    if not finished:
        raise ValueError(f"none of {len(study.trials)} trials gave a figure")
    return Found(best=dict(study.best_params), value=float(study.best_value), tried=tuple(finished))


def _asked(trial: Any, name: str, told: Between | Sequence[Any]) -> Any:
    if not isinstance(told, Between):
        return trial.suggest_categorical(name, list(told))
    if isinstance(told.low, int) and isinstance(told.high, int):
        return trial.suggest_int(name, told.low, told.high, log=told.log)
    return trial.suggest_float(name, told.low, told.high, log=told.log)
