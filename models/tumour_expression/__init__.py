"""Which of four small round blue cell tumours a sample's gene expressions are like, and by which genes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.records import Finding
from models.payloads import Expression, Payload
from models.registry import Explanation

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.registry import Model

HERE = Path(__file__).parent


def load(card: ModelCard, device: str) -> Model:
    """The centroids, opened. They run on the CPU, whatever device is asked for."""
    from models.tumour_expression.model import TumourExpression

    return TumourExpression(card)


def example() -> Payload:
    """A generated sample: no patient's, drawn around one class's means."""
    import numpy as np

    names, cells = (HERE / "example" / "sample.txt").read_text("utf-8").splitlines()
    values = np.array([float(cell) for cell in cells.split(",")], np.float32)
    return Expression(genes=tuple(names.split(",")), values=values)


def render(payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """The genes that decided, as bars, and the other tumours' probabilities."""
    from models import charts, drawing

    if not isinstance(payload, Expression):
        raise TypeError(f"gene expressions were expected, got {type(payload).__name__}")
    parts = []
    for finding in findings:
        seen: Mapping[str, Any] = finding.evidence
        told = f"{finding.code.meaning}: probability {drawing.percent(finding.probability or 0.0)}"
        parts.append(drawing.heading(f"{told} (answered from {100 * (finding.threshold or 0.0):g} % on)"))
        others = [(a["meaning"], a["code"], drawing.percent(a["probability"])) for a in seen["alternatives"]]
        parts.append(drawing.table(("otherwise", "ICD-O-3", "probability"), others))
        shown = [(f"{g['gene']}, value {g['value']:.2f}", float(g["weight"])) for g in seen["genes"]]
        parts.append(
            drawing.paragraph(
                f"The {len(shown)} of {seen['of']} genes that moved it most. The set names genes by their "
                "place alone; a value is the natural logarithm of the relative intensity."
            )
        )
        parts.append(charts.bars(shown, unit=seen["unit"]))
    return Explanation(
        media_type="text/html",
        content=drawing.page("Small round blue cell tumours by gene expression", *parts),
    )
