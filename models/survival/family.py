"""What a prognosis family offers to the registry and the commands; the family says only where it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.records import Finding
from models.payloads import Payload
from models.registry import Explanation

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.registry import Model


def load(card: ModelCard, device: str) -> Model:
    """The models, opened. They run on the CPU, whatever device is asked for."""
    from models.survival.model import Prognosis

    return Prognosis(card)


def example(folder: Path) -> Payload:
    """The invented patient of a family's folder."""
    from models.survival import study

    return study.example(folder)


def render(folder: Path, findings: Sequence[Finding]) -> Explanation:
    """Curve, risks and contributions as a page."""
    from models.survival import show, study

    return show.render(study.read(folder), findings)


def train(folder: Path, data: Path, out: Path, *, seed: int, progress: Callable[[str], None] | None) -> None:
    """See `models.survival.training.train`."""
    from models.survival import training

    training.train(folder, data, out, seed=seed, progress=progress)


def evaluate(folder: Path, data: Path, *, folds: int | None) -> dict[str, Any]:
    """See `models.survival.training.evaluate`."""
    from models.survival import training

    return training.evaluate(folder, data, folds=folds)


def curves(folder: Path, data: Path, folds: int | None) -> dict[str, Any]:
    """See `models.survival.training.curves`."""
    from models.survival import training

    return training.curves(folder, data, folds)
