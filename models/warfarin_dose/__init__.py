"""The maintenance dose of warfarin from genes, age, body size and other drugs."""

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

HERE = Path(__file__).parent


def load(card: ModelCard, device: str) -> Model:
    """The models, opened. They run on the CPU, whatever device is asked for."""
    from models.warfarin_dose.model import WarfarinDose

    return WarfarinDose(card)


def example() -> Payload:
    """An invented patient with genotype."""
    stored = json.loads((HERE / "example" / "patient.json").read_text("utf-8"))
    return Table(values=stored["values"], genotype=stored["genotype"])


def render(payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """The dose with its interval, and what moves it, as bars."""
    from models.drawing import bars, heading, page, paragraph, table

    rows = [(f.code.meaning, f"{f.value:g} {f.unit}", _interval(f), f.qualifier or "") for f in findings]
    parts = [table(("finding", "dose", "95 % of patients", "remark"), rows)]
    seen: Mapping[str, Any] = next((f.evidence for f in findings if "contributions" in f.evidence), {})
    if seen:
        items = [(c["feature"], float(c["mg_per_week"])) for c in seen["contributions"][:12]]
        parts += [
            heading("What moves the dose"),
            bars(items, unit="mg a week"),
            paragraph(
                f"CYP2C9 {seen['cyp2c9']}, VKORC1 -1639 {seen['vkorc1_rs9923231']}. The published equation "
                f"gives {seen['equation_mg_per_week']:g} mg a week. {seen.get('why', '')}"
            ),
        ]
    return Explanation(media_type="text/html", content=page("Warfarin dose", *parts))


def _interval(finding: Finding) -> str:
    ends: Any = finding.evidence.get("interval", ())
    return " to ".join(f"{v:g}" for v in ends)
