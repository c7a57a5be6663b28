"""Writes docs/models/README.md from the cards: python -m tests.models_page > docs/models/README.md."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

from models import registry
from models.card import Figure, ModelCard

TARGETS = Path(registry.__file__).parent / "training" / "targets.toml"
HEAD = """# The models

One page a family. The figures are the cards' own, measured on data that the model did not learn from,
with their 95 % interval. "Target" is what the project asks of itself on the official held-out part, which
no choice here has seen. A family is called thin where the interval reaches past the target, below where the
figure does. `wetread models card NAME` prints the whole card; [the report](../model-report.html) draws plots.

| family | question | reads | figure | target | |
|---|---|---|---|---|---|
"""


def _reads(card: ModelCard) -> str:
    needs = card.needs
    if needs.kind == "none":
        return "nothing"
    if needs.scope == "series":
        return f"a series of {', '.join(needs.modalities)}"
    kind = f"{', '.join(needs.modalities)} {needs.kind}" if needs.modalities else needs.kind
    return f"{needs.alphabet} {kind}".strip()


def _judged(figure: Figure, sign: str, goal: float) -> str:
    beyond = (lambda v: v < goal) if sign == "≥" else (lambda v: v > goal)
    if beyond(figure.value):
        return "below"
    return "thin" if beyond(figure.low if sign == "≥" else figure.high) else ""


def _row(card: ModelCard, target: dict[str, Any]) -> str:
    goals = {n: ("≥", v) for n, v in target.get("least", {}).items()}
    goals |= {n: ("≤", v) for n, v in target.get("most", {}).items()}
    figures = {f.metric: f for f in reversed(card.figures)}
    names = [n for n in goals if n in figures] or [card.figures[0].metric]
    shown = [f"{n} {figures[n].value:g} ({figures[n].low:g} to {figures[n].high:g})" for n in names]
    asked = [f"{goals[n][0]} {goals[n][1]:g}" for n in names if n in goals]
    words = [_judged(figures[n], *goals[n]) for n in names if n in goals]
    worst = next((w for w in ("below", "thin") if w in words), "")
    cells = (
        f"[`{card.name}`]({card.name}.md)", card.question, _reads(card), "; ".join(shown),
        "; ".join(asked) or "–", worst,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def page() -> str:
    """The page's text."""
    targets = tomllib.loads(TARGETS.read_text("utf-8"))
    return HEAD + "".join(_row(card, targets.get(card.name, {})) for card in registry.cards())


if __name__ == "__main__":
    sys.stdout.write(page())
