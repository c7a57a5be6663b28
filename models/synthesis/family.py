"""What a family that invents data shares with the others: training, evaluation and the report's plots."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from models.card import read
from models.synthesis import carding, wgan
from models.synthesis.likeness import portrait
from models.synthesis.measures import Invent, Real, measure

Progress = Callable[[str], None]
NOTE = (
    "The released generator beside real samples. Of the real ones only means, spreads and distances are "
    "drawn; the distances, features and curves are of samples that it did not learn from."
)


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family: its classes, its real samples, and the class that lacks some."""

    here: Path  #: of the package
    classes: tuple[str, ...]
    tall: bool  #: pictures; else signals, one row high
    rare: str  #: the class that lacks samples
    real: Callable[[Path], Real]  #: the real samples of a data set in their roles
    kept: str  #: what the figures of a training are measured on, for the card

    @property
    def shape(self) -> dict[str, Any]:
        """What `measures.measure` must know of the classes."""
        return {"classes": len(self.classes), "tall": self.tall, "rare": self.classes.index(self.rare)}


def inventor(generator: wgan.Generator) -> Invent:
    """(classes wanted, seed) -> samples."""
    return partial(wgan.invent, generator)


def train(
    family: Family,
    plan: wgan.Plan,
    alter: wgan.Alter,
    data: Path,
    out: Path,
    *,
    seed: int,
    minutes: float | None,
    progress: Progress | None,
) -> None:
    """Writes generator.safetensors, plan.json, figures.json, metrics.json and a card under out.

    plan, alter: how the pair is trained, see `wgan.fit`. The figures are of samples kept from the generator.
    """
    real = family.real(data)
    out.mkdir(parents=True, exist_ok=True)
    generator = wgan.fit(
        real.learn, real.learn_labels, plan, seed=seed, minutes=minutes, alter=alter, progress=progress
    )
    wgan.save(generator, out, {"classes": list(family.classes), "seed": seed})
    figures = measure(real, inventor(generator), **family.shape, seed=seed)
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    carding.write(out, read(family.here), figures, family.kept)


def evaluate(family: Family, data: Path, folder: Path) -> dict[str, Any]:
    """Every figure of the generator in a folder, see `measures.measure`."""
    generator, _ = wgan.load(folder)
    return measure(family.real(data), inventor(generator), **family.shape)


def curves(family: Family, data: Path) -> dict[str, Any]:
    """The released generator beside real samples, for plots (see `models.training.curves`)."""
    generator, _ = wgan.load(family.here)
    told = portrait(family.real(data), inventor(generator), classes=len(family.classes), tall=family.tall)
    return {"likeness": told, "classes": family.classes, "note": NOTE}
