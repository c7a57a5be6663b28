"""The card of a generator that was trained anew: what it measured, on the page of the one that is served."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.card import ModelCard
from models.training import package

WEIGHTS = ("generator.safetensors", "plan.json")


def figures(measured: Mapping[str, Any], dataset: str) -> list[dict[str, Any]]:
    """The card's figures of what `measures.measure` measured."""
    return [
        {"dataset": dataset, "metric": name, **figure, "n": measured["n"]}
        for name, figure in measured.items()
        if isinstance(figure, dict)
    ]


def table(measured: Mapping[str, Any]) -> str:
    """Every figure on a line, with its interval where it has one."""
    lines = []
    for name, figure in measured.items():
        told = (
            f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
            if isinstance(figure, dict)
            else f"{figure:g}"
        )
        lines.append(f"{name:38} {told}")
    return "\n".join(lines)


def write(out: Path, served: ModelCard, measured: Mapping[str, Any], dataset: str) -> ModelCard:
    """Writes metrics.json and card.toml: the served card with new figures, notes and weights' SHA-256s."""
    (out / "metrics.json").write_text(json.dumps(measured, indent=2) + "\n", "utf-8")
    card = served.model_dump(mode="json", exclude={"weights", "folder"})
    digest = package.sha256(out / WEIGHTS[0])[:8]
    card |= {
        "version": f"{served.version}+{digest}",
        "figures": figures(measured, dataset),
        "notes": f"Trained anew. Measured on {dataset}:\n\n{table(measured)}\n",
    }
    return package.write(out, card, WEIGHTS)
