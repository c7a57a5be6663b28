"""What the package of a family on tables offers to the registry, so that the family says only its name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.records import Finding
from models.payloads import Payload, Table
from models.registry import Explanation

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.registry import Model

SHOWN = 16  #: bars


def load(card: ModelCard, device: str) -> Model:
    """The ensemble, opened. It runs on the CPU, whatever device is asked for."""
    from models.tabular.model import TabularModel

    return TabularModel(card)


def example(folder: Path) -> Payload:
    """The invented patient of a family's folder."""
    return Table(values=json.loads((folder / "example" / "table.json").read_text("utf-8")))


def render(
    title: str, payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]
) -> Explanation:
    """Each finding with the values that speak for and against it, as bars, and what was not known."""
    from models import charts, drawing, features

    parts: list[str] = []
    for finding in findings:
        seen: Mapping[str, Any] = finding.evidence
        parts.append(drawing.heading(f"{finding.code.meaning}: {finding.probability:.2f}"))
        side = "reaches" if finding.positive else "stays below"
        parts.append(
            drawing.paragraph(f"The probability {side} the operating point {finding.threshold:.2f}.")
        )
        shown = [
            (features.told(c["feature"], c["value"]), c["contribution"])
            for c in seen["contributions"][:SHOWN]
        ]
        parts.append(charts.bars(shown, unit="log-odds", baseline=seen["baseline"]))
        if seen["alternatives"]:
            others = [(a["code"], a["meaning"], a["probability"]) for a in seen["alternatives"]]
            parts.append(drawing.table(("code", "less likely", "probability"), others))
        if seen["missing"]:
            names = ", ".join(features.label(name) for name in seen["missing"])
            parts.append(drawing.paragraph(f"Not known: {names}."))
    return Explanation(media_type="text/html", content=drawing.page(title, *parts))


def _bars(seen: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The largest contributions, each with the value that it is of."""
    from models.features import told

    return [(told(c["feature"], c["value"]), c["contribution"]) for c in seen["contributions"][:SHOWN]]
