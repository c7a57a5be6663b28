"""Training, from a folder of class folders (five folds by person) or an npz of thumbnails (three seeds)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.chest_xray import carding, measure
from models.chest_xray import films as source
from models.chest_xray.augment import Augmentation
from models.chest_xray.member import ZOOMS, Progress, enlarge, load_films, scores, train_member
from models.chest_xray.network import FILM, THUMBNAIL, Architecture, Ensemble, ResidualNetwork, pack, unpack
from models.chest_xray.train_gate import train_gate
from models.training.loop import Schedule

KEPT = "checkpoints"  #: of finished members, until the folder is packed
FOLDS = 5
SEEDS = 3
GATE_SHARE = 0.2  #: of the minutes given for films


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the members of one kind are trained."""

    architecture: Architecture
    epochs: int
    batch: int
    rate: float
    smoothing: float
    changes: Augmentation
    patience: int  #: epochs without a lower loss on held-out persons before a run is stopped
    decay: float = 5e-2
    average: float = 0.995

    def member(
        self,
        images: Tensor,
        labels: NDArray[np.int64],
        *,
        held: tuple[Tensor, NDArray[np.int64]],
        seed: int,
        minutes: float | None,
        progress: Progress | None,
    ) -> ResidualNetwork:
        """One member trained on these images (n, 1, rows, columns) in 0..1.

        held: persons not in training. They stop a run that has gone stale early, and pick no epoch:
        the last averaged weights are taken, so that the figures on these persons stay honest.
        """
        schedule = Schedule(
            epochs=self.epochs,
            steps=max(1, len(images) // self.batch),
            rate=self.rate,
            decay=self.decay,
            average=self.average,
            patience=self.patience,
            keep_best=False,
        )
        return train_member(
            images, labels, self.architecture, schedule, self.changes,
            smoothing=self.smoothing, batch=self.batch, seed=seed, minutes=minutes, progress=progress,
            held=held,
        )  # fmt: skip


FILMS = Recipe(
    architecture=FILM, epochs=45, batch=32, rate=2e-3, smoothing=0.1, changes=Augmentation(), patience=30
)
THUMBNAILS = Recipe(
    architecture=THUMBNAIL,
    epochs=12,
    batch=64,
    rate=3e-3,
    smoothing=0.05,
    changes=Augmentation(shading=0.12, noise=0.03),
    patience=8,
)


@dataclass(frozen=True, kw_only=True)
class CrossValidated:
    """Members, each blind to one fold, and every row's logits from the member that never saw it."""

    members: list[ResidualNetwork]
    logits: NDArray[np.float64]  #: (n, classes)
    seconds: float


def _member(
    path: Path | None, architecture: Architecture, make: Callable[[], ResidualNetwork]
) -> ResidualNetwork:
    """The member trained by an earlier, interrupted run; else trained now and kept for the next."""
    if path is None:
        return make()
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file(pack([make()]), partial)
        partial.rename(path)
    return unpack(load_file(path), architecture, "cpu")[0]


def cross_validate(
    images: Tensor,
    labels: NDArray[np.int64],
    fold: NDArray[np.int64],
    recipe: Recipe,
    *,
    seed: int,
    minutes: float | None,
    keep: Path | None,
    progress: Progress | None,
) -> CrossValidated:
    """One member a fold, trained on the other folds; with `keep`, finished members are kept there.

    No epoch and no member is picked by its held-out figures, which therefore stay honest: they only stop a
    run early that no longer learns, and the averaged weights at its end are taken.
    """
    count, started = int(fold.max()) + 1, time.monotonic()
    members: list[ResidualNetwork] = []
    logits = np.zeros((len(labels), recipe.architecture.classes))
    for index in range(count):
        learn, held = np.flatnonzero(fold != index), np.flatnonzero(fold == index)

        def make(
            learn: NDArray[np.intp] = learn, held: NDArray[np.intp] = held, index: int = index
        ) -> ResidualNetwork:
            share = minutes / count if minutes else None
            return recipe.member(
                images[learn], labels[learn], held=(images[held], labels[held]), seed=seed * 100 + index,
                minutes=share, progress=progress,
            )  # fmt: skip

        path = keep / f"films-{seed}-{index}.safetensors" if keep else None
        member = _member(path, recipe.architecture, make)
        logits[held] = scores([member], images[held], (1.0,))
        members.append(member)
        if progress:
            progress(f"fold {index}: " + measure.line(logits[held], labels[held]))
    return CrossValidated(members=members, logits=logits, seconds=time.monotonic() - started)


def _write(out: Path, name: str, members: list[ResidualNetwork], figures: dict[str, Any]) -> None:
    """The weights with their temperatures, and the figures beside them."""
    with torch.no_grad():  # the shift belongs to every member alike, so it lives in the last layer
        for member in members:
            member.head.bias[0] -= figures.get("shift", 0.0)
    ensemble = Ensemble(members=members, temperatures=tuple(figures["temperatures"]))
    ensemble.write(out / f"{name}.safetensors")
    text = json.dumps(figures, indent=2, sort_keys=True) + "\n"
    (out / f"{name}-figures.json").write_text(text, encoding="utf-8")


def _told(recipe: Recipe, seed: int, **more: object) -> dict[str, object]:
    """The recipe as the figures file keeps it."""
    return {"seed": seed, **asdict(recipe), **more}


def _train_films(data: Path, out: Path, seed: int, minutes: float | None, progress: Progress | None) -> None:
    """Five members, each blind to one fold of persons; their logits of those calibrate and are measured."""
    found = source.films(data)
    labels = np.array([film.label for film in found])
    persons = np.array([film.person for film in found])
    fold = source.folds(labels.tolist(), persons.tolist(), FOLDS, seed)
    images = load_films(found, FILM.side)
    share = minutes * (1 - GATE_SHARE) if minutes else None
    result = cross_validate(
        images, labels, fold, FILMS, seed=seed, minutes=share, keep=out / KEPT, progress=progress
    )
    figures = measure.film_figures(result.logits, labels, persons)
    share = minutes * GATE_SHARE if minutes else None
    figures["gate"] = train_gate(images, fold, out, seed=seed, minutes=share, progress=progress)
    figures["seconds"] = round(result.seconds)
    figures["recipe"] = _told(FILMS, seed, folds=FOLDS)
    _write(out, "films", result.members, figures)
    score = measure.pneumonia(measure.shifted(result.logits, figures["shift"]), figures["temperatures"][0])
    carding.plotted(out, labels > 0, score, figures["pneumonia_threshold"], persons)
    carding.films(out, figures)


def _train_thumbnails(
    data: Path, out: Path, seed: int, minutes: float | None, progress: Progress | None
) -> None:
    """Three seeds on the train part; the val part calibrates, sets the threshold and is measured."""
    learn, held = source.thumbnails(data, "train"), source.thumbnails(data, "val")
    images, shown = enlarge(learn.images), enlarge(held.images)
    members: list[ResidualNetwork] = []
    started = time.monotonic()
    for index in range(SEEDS):

        def make(index: int = index) -> ResidualNetwork:
            share = minutes / SEEDS if minutes else None
            return THUMBNAILS.member(
                images, learn.labels, held=(shown, held.labels), seed=seed * 100 + index, minutes=share,
                progress=progress,
            )  # fmt: skip

        path = out / KEPT / f"thumbnails-{seed}-{index}.safetensors"
        members.append(_member(path, THUMBNAIL, make))
        if progress:
            progress(f"seed {index}: " + measure.line(scores(members[-1:], shown, ZOOMS), held.labels))
    logits = scores(members, shown, ZOOMS)
    figures = measure.thumbnail_figures(logits, held.labels)
    figures["seconds"] = round(time.monotonic() - started)
    figures["recipe"] = _told(THUMBNAILS, seed, seeds=SEEDS)
    _write(out, "thumbnails", members, figures)
    score = measure.pneumonia(measure.shifted(logits, figures["shift"]), figures["temperatures"][0])
    carding.plotted(out, held.labels > 0, score, figures["pneumonia_threshold"])
    carding.thumbnails(out, figures)


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Progress | None = None,
) -> None:
    """Train the serving recipe on a folder of class folders or on a PneumoniaMNIST npz.

    Writes `films.safetensors` and `gate.safetensors`, or `thumbnails.safetensors`, with `…-figures.json`,
    plots, card and example into `out`; what is not trained anew is that of an earlier run there, else of the
    release. An interrupted run goes on from the finished members under `out/checkpoints`.
    minutes: the whole run's wall time; the schedule shrinks to it.
    """
    out.mkdir(parents=True, exist_ok=True)
    if data.is_dir():
        _train_films(data, out, seed, minutes, progress)
    else:
        _train_thumbnails(data, out, seed, minutes, progress)
