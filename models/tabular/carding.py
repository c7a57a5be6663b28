"""The card that a training of a family on tables writes: its figures, operating point and comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.card import ModelCard
from models.card import read as read_card
from models.tabular.recipe import Recipe
from models.training import package

CHOICES = "Choices:"  #: from here on the notes are people's, and kept
NUMBERS = {2: "two", 3: "three", 5: "five", 10: "ten"}


def carded(out: Path, told: dict[str, Any], recipe: Recipe, data: Path) -> ModelCard:
    """Writes the served card with what this training found. told: as `fitting` keeps it in figures.json.

    Trained on other data than the release's, it is a version of its own, and nothing published or chosen on
    the release's data is said of it.
    """
    served, own = read_card(recipe.folder), not package.released(recipe.name, data)
    points = [point for point in served.operating_points if point.finding == recipe.sought]
    rule = "chosen anew on the out-of-fold predictions, by the rule of the release's card"
    chosen = rule if own or not points else points[0].chosen
    return package.again(
        out,
        served,
        version=package.marked(served, out / "model.safetensors") if own else served.version,
        figures=figures(told, served, recipe, own),
        operating_points=[{"finding": recipe.sought, "threshold": told["threshold"], "chosen": chosen}],
        notes=notes(told, "" if own else served.notes),
    )


def figures(told: dict[str, Any], served: ModelCard, recipe: Recipe, own: bool) -> list[dict[str, Any]]:
    """The served ensemble's figures as a card has them."""
    name = "the user's own data" if own else served.figures[0].dataset.partition(",")[0]
    divided = f", mean of {spelled(recipe.divisions)} divisions" if recipe.divisions > 1 else ""
    dataset = f"{name}, {spelled(recipe.folds)}-fold cross-validation of the serving recipe{divided}"
    published = {} if own else {figure.metric: figure.published for figure in served.figures}
    first = told["comparison"][0]
    return [
        {
            "dataset": dataset,
            "metric": metric,
            "n": first["n"],
            "published": published.get(metric, ""),
            **value,
        }
        for metric, value in first.items()
        if isinstance(value, dict)
    ]


def notes(told: dict[str, Any], old: str) -> str:
    """The comparison and the subgroups, then what people wrote from `Choices:` on."""
    count = told["comparison"][0]["n"]
    head = (
        f"Compared out of fold, {spelled(told['folds'])} folds of the {count:,} patients, preparation and "
        "calibration inside the folds"
    )
    if told["divisions"] > 1:
        head += f", mean of {spelled(told['divisions'])} divisions into folds"
    groups = "; ".join(f"{name} {_figure(value)}" for name, value in told["subgroups"].items())
    parts = [f"{head}:\n\n{comparison(told['comparison'])}"]
    parts += [f"By subgroup, out of fold: {groups}."] if groups else []
    parts += [old[old.index(CHOICES) :].strip()] if CHOICES in old else []
    return "\n\n".join(parts) + "\n"


def spelled(number: int) -> str:
    """A number of folds or divisions in words, where there is one."""
    return NUMBERS.get(number, str(number))


def comparison(lines: Sequence[dict[str, Any]]) -> str:
    """The members' figures as a table of plain text."""
    width = max(len(line["model"]) for line in lines)
    columns = [name for name in lines[0] if name not in ("model", "n")]
    told = [" " * width + "".join(f"  {name:<19}" for name in columns).rstrip()]
    for line in lines:
        cells = [_figure(line[name]) for name in columns]
        told.append(f"{line['model']:<{width}}" + "".join(f"  {cell:<19}" for cell in cells).rstrip())
    return "\n".join(told)


def _figure(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['value']:.3f} ({value['low']:.3f}-{value['high']:.3f})"
    return f"{value:.3f}"
