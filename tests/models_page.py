"""Docs of models from cards: python -m tests.models_page > docs/models/README.md; with --pages, the rest."""

from __future__ import annotations

import re
import sys
import tomllib
from itertools import groupby
from pathlib import Path
from typing import Any

from models import registry
from models.card import Figure, ModelCard

TARGETS = Path(registry.__file__).parent / "training" / "targets.toml"
PAGES = Path(registry.__file__).parents[1] / "docs" / "models"
HEADINGS = (
    "What it reads", "What comes out", "Evidence", "How it works", "It abstains with", "Figures", "Limits",
    "Train and evaluate",
)  # fmt: skip
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


def _goals(target: dict[str, Any]) -> dict[str, tuple[str, float]]:
    goals = {n: ("≥", v) for n, v in target.get("least", {}).items()}
    return goals | {n: ("≤", v) for n, v in target.get("most", {}).items()}


def _row(card: ModelCard, target: dict[str, Any]) -> str:
    goals = _goals(target)
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


def _targets() -> dict[str, dict[str, Any]]:
    return tomllib.loads(TARGETS.read_text("utf-8"))


def page() -> str:
    """The index's text."""
    targets = _targets()
    return HEAD + "".join(_row(card, targets.get(card.name, {})) for card in registry.cards())


def expected(card: ModelCard) -> str:
    """What the card's notes say is expected of data that nobody has looked at; empty where they do not."""
    notes = " ".join(card.notes.split())
    found = re.search(r"Expected (?:of|on|there)\b.*?\.(?= [A-Z]|$)", notes)
    return found[0] if found else ""


def figures(card: ModelCard) -> str:
    """The card's figures as a table for each data set they were measured on, and what is asked beyond."""
    parts = []
    for (dataset, n), group in groupby(card.figures, key=lambda f: (f.dataset, f.n)):
        rows = [
            f"| `{f.metric}` | {f.value:g} ({f.low:g} to {f.high:g}) | {f.published or '–'} |" for f in group
        ]
        head = "| metric | value (95 % interval) | published, for comparison |\n|---|---|---|"
        parts.append(f"{dataset[0].upper()}{dataset[1:]}; n = {n:,}:\n\n" + "\n".join((head, *rows)))
    target = _targets().get(card.name, {})
    asked = [f"`{name}` {sign} {goal:g}" for name, (sign, goal) in _goals(target).items()]
    asked += [f"`{name}` {low:g} to {high:g}" for name, (low, high) in target.get("between", {}).items()]
    if asked:
        parts.append(f"Asked of data it never saw: {', '.join(asked)}. {expected(card)}".strip())
    return "\n\n".join(parts)


def filled(text: str, card: ModelCard) -> str:
    """A page's text with what the card says between its marks: question and use, figures, limits."""
    limits = "\n".join(f"- {limit}" for limit in card.limits)
    question = f"{card.question}\n\n{card.intended_use}"
    for mark, content in (("question", question), ("figures", figures(card)), ("limits", limits)):
        marks = re.compile(rf"(<!-- {mark} of the card -->\n).*?(<!-- end -->)", re.DOTALL)
        text = marks.sub(lambda m, content=content: f"{m[1]}\n{content}\n\n{m[2]}", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    if "--pages" in sys.argv:
        for each in registry.cards():
            path = PAGES / f"{each.name}.md"
            path.write_text(filled(path.read_text("utf-8"), each), "utf-8")
    else:
        sys.stdout.write(page())
