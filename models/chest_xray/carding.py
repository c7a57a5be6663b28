"""Plots and card of networks that were trained anew, for films or for thumbnails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike, NDArray

from models.card import Figure, ModelCard, OperatingPoint, read
from models.training import figures as plots
from models.training import package

HERE = Path(__file__).parent
FILMS = "films trained on, five folds by person: each by the one member that never saw its person"
THUMBNAILS = "thumbnails of the val part, not trained on; they set the threshold"
FILM_POINTS = ("pneumonia", "bacterial_pneumonia", "viral_pneumonia")
RULES = {
    "pneumonia": "lowest probability that keeps 97 % of the healthy films trained on negative, out of fold",
    "bacterial_pneumonia": "out of fold: the 15 % of sick films nearest to even odds stay unanswered",
    "viral_pneumonia": "as bacterial_pneumonia",
    "pneumonia_thumbnail": "val part: lowest probability that keeps 99 % of its normal films negative",
}


def plotted(
    out: Path, sick: ArrayLike, score: ArrayLike, threshold: float, persons: NDArray[Any] | None = None
) -> None:
    """Plots and metrics.json of pneumonia against normal, on films that were not trained on."""
    plots.report(
        out, sick, score, classes=("normal", "pneumonia"), threshold=threshold, groups=persons, draws=300
    )


def films(out: Path, found: Mapping[str, Any]) -> ModelCard:
    """The card after a training on films; what is said of thumbnails stays."""
    points = {p: found[f"{p.removesuffix('_pneumonia')}_threshold"] for p in FILM_POINTS if _told(found, p)}
    return _again(out, "films.safetensors", FILMS, found, points, about_thumbnails=False)


def thumbnails(out: Path, found: Mapping[str, Any]) -> ModelCard:
    """The card after a training on thumbnails; what is said of films stays."""
    points = {"pneumonia_thumbnail": found["pneumonia_threshold"]}
    return _again(out, "thumbnails.safetensors", THUMBNAILS, found, points, about_thumbnails=True)


def _told(found: Mapping[str, Any], point: str) -> bool:
    """Whether the training set this point: two classes alone say nothing of the kind."""
    return f"{point.removesuffix('_pneumonia')}_threshold" in found


def _again(
    out: Path,
    weights: str,
    dataset: str,
    found: Mapping[str, Any],
    points: Mapping[str, float],
    *,
    about_thumbnails: bool,
) -> ModelCard:
    """The earlier card of out, else the release's, with this training's figures and operating points."""
    served = read(out if (out / "card.toml").is_file() else HERE)
    own = [
        {"dataset": dataset, "metric": name, "n": found["n"], **value}
        for name, value in found.items()
        if isinstance(value, Mapping) and set(value) == {"value", "low", "high"}
    ]
    others = [f.model_dump() for f in served.figures if _of_thumbnails(f) != about_thumbnails]
    return package.again(
        out,
        served,
        version=f"{served.version.split('+')[0]}+{package.sha256(out / weights)[:8]}",
        figures=own + others if weights.startswith("films") else others + own,
        operating_points=_points(served.operating_points, points),
    )


def _of_thumbnails(figure: Figure) -> bool:
    return "PneumoniaMNIST" in figure.dataset or figure.dataset.startswith("thumbnails")


def _points(served: Iterable[OperatingPoint], points: Mapping[str, float]) -> list[dict[str, Any]]:
    return [
        {"finding": p.finding, "threshold": points[p.finding], "chosen": RULES[p.finding]}
        if p.finding in points
        else p.model_dump()
        for p in served
    ]
