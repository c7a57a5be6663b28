"""Figures with 95 % confidence intervals, on a folder of class folders or an npz of thumbnails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from db.errors import Rejected
from models import registry
from models.calibration import fit_temperature
from models.card import ModelCard, read
from models.chest_xray import films as source
from models.chest_xray import measure
from models.chest_xray.gate import Gate
from models.chest_xray.member import ZOOMS, enlarge, load_films, scores
from models.chest_xray.network import FILM, THUMBNAIL, Ensemble
from models.evaluation import bootstrap

HERE = Path(__file__).parent
Labels = NDArray[np.int64]


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "chest-xray"
) -> dict[str, Any]:
    """`auc`, `accuracy`, `recall`, `precision`, `f1` of pneumonia, `n`, and more where the data allow.

    An npz's test part is read, or val where there is no test. A folder may hold the class folders or
    `test/` or `train/` with them in it; it adds `auc_bacterial_viral` where both classes are there,
    and `refused`, the share of films that the pixel gate would refuse in service (they are scored
    here all the same). Films of one person are drawn together. folds: the serving recipe is
    retrained in that many folds instead. Raises Rejected on another layout.
    """
    card = registry.card(name)
    if data.is_dir():
        return _films(data, folds, card, device)
    if data.suffix != ".npz":
        raise Rejected("unknown-layout", "expected an npz or a folder of class folders")
    return _thumbnails(data, folds, card, device)


def _films(data: Path, folds: int | None, card: ModelCard, device: str) -> dict[str, Any]:
    found = source.films(data, "test")
    labels = np.array([film.label for film in found])
    persons = np.array([film.person for film in found])
    images = load_films(found, FILM.side)
    if folds is not None:
        return _retrained(images, labels, persons, folds, card)
    ensemble = Ensemble.read(card.folder / "films.safetensors", FILM, device)
    logits = scores(ensemble.members, images.to(device), (1.0,))
    gate = Gate(load_file(card.folder / "gate.safetensors"), device)
    with torch.inference_mode():
        refused = [verdict for part in torch.split(images.to(device), 64) for verdict in gate.refuse(part)]
    figures = _three(logits, labels, persons, card.threshold("pneumonia"), ensemble.temperatures[0])
    return figures | {"refused": float(np.mean([verdict is not None for verdict in refused]))}


def _three(
    logits: measure.Floats, labels: Labels, persons: NDArray[np.str_], threshold: float, temperature: float
) -> dict[str, Any]:
    """The figures of three-class logits, persons drawn together."""
    truth, sick = (labels > 0).astype(int), labels > 0
    figures: dict[str, Any] = {
        **measure.binary(measure.pneumonia(logits, temperature), truth, threshold, persons)
    }
    if len(np.unique(labels[sick])) > 1:
        kind, kind_truth = measure.bacterial(logits)[sick], (labels[sick] == 1).astype(int)
        figures["auc_bacterial_viral"] = bootstrap(measure.auc, kind, kind_truth, groups=persons[sick])
    return figures | {"n": len(labels)}


def _retrained(
    images: torch.Tensor, labels: Labels, persons: NDArray[np.str_], folds: int, card: ModelCard
) -> dict[str, Any]:
    """The recipe retrained in folds by person; the threshold is the card's, chosen elsewhere."""
    from models.chest_xray.train import FILMS, cross_validate

    fold = source.folds(labels.tolist(), persons.tolist(), folds, 0)
    result = cross_validate(images, labels, fold, FILMS, seed=0, minutes=None, keep=None, progress=None)
    temperature = fit_temperature(measure.margin(result.logits), (labels > 0).astype(int))
    return _three(result.logits, labels, persons, card.threshold("pneumonia"), temperature)


def _thumbnails(data: Path, folds: int | None, card: ModelCard, device: str) -> dict[str, Any]:
    there = source.parts(data)
    part = next(
        (p for p in (("test", "val", "train") if folds is None else ("train", "val", "test")) if p in there),
        "test",
    )
    held = source.thumbnails(data, part)
    images = enlarge(held.images)
    if folds is None:
        ensemble = Ensemble.read(card.folder / "thumbnails.safetensors", THUMBNAIL, device)
        temperature = ensemble.temperatures[0]
        logits = scores(ensemble.members, images.to(device), ZOOMS)
    else:
        from models.chest_xray.train import THUMBNAILS, cross_validate

        fold = source.folds(held.labels.tolist(), [str(i) for i in range(len(images))], folds, 0)
        logits = cross_validate(
            images, held.labels, fold, THUMBNAILS, seed=0, minutes=None, keep=None, progress=None
        ).logits
        temperature = fit_temperature(measure.margin(logits), held.labels)
    threshold = card.threshold("pneumonia_thumbnail")
    figures = measure.binary(measure.pneumonia(logits, temperature), held.labels, threshold)
    return {**figures, "n": len(held.labels), "part": part}


def curves(data: Path, *, folds: int | None = None) -> dict[str, Any]:
    """Truth and probability of pneumonia on a folder of films, for plots (see `models.training.curves`).

    With folds each film is answered by the one served member that never saw its person: the served members
    are those of a training's folds. That holds of the films they were trained on alone, so on a folder of
    another count the whole ensemble answers and the rows are not said to be unseen.
    """
    found = source.films(data)
    labels, persons = np.array([f.label for f in found]), np.array([f.person for f in found])
    images, card = load_films(found, FILM.side), read(HERE)
    ensemble = Ensemble.read(HERE / "films.safetensors", FILM, "cpu")
    unseen = folds is not None and len(found) == card.figures[0].n
    if unseen:
        logits = np.zeros((len(found), FILM.classes))
        fold = source.folds(labels.tolist(), persons.tolist(), len(ensemble.members), 0)
        for index, member in enumerate(ensemble.members):
            logits[fold == index] = scores([member], images[fold == index], (1.0,))
    else:
        logits = scores(ensemble.members, images, (1.0,))
    gate = Gate(load_file(HERE / "gate.safetensors"), "cpu")
    with torch.inference_mode():
        verdicts = [verdict for part in torch.split(images, 64) for verdict in gate.refuse(part)]
    return {
        "y": (labels > 0).astype(int),
        "p": measure.pneumonia(logits, ensemble.temperatures[0]),
        "classes": ("normal", "pneumonia"),
        "threshold": card.threshold("pneumonia"),
        "answered": [verdict is None for verdict in verdicts],
        "unseen": unseen,
    }
