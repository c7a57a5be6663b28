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
#: contributions whose value a table names otherwise
ASKED = {
    **{drug: f"{drug}_use" for drug in ("amiodarone", "enzyme_inducer", "azole_or_sulphonamide", "statin")},
    "aspirin": "aspirin_use",
    "indication": "warfarin_indication",
}


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
    from models.charts import bars
    from models.drawing import heading, page, paragraph, table
    from models.features import WRITTEN

    rows = [
        (f.code.meaning, f"{f.value:.1f} {WRITTEN[str(f.unit)]}", _interval(f), f.qualifier or "")
        for f in findings
    ]
    parts = [table(("finding", "dose", "95 % of patients", "remark"), rows)]
    seen: Mapping[str, Any] = next((f.evidence for f in findings if "contributions" in f.evidence), {})
    if seen:
        items = [
            (_told(c["feature"], payload, seen), float(c["mg_per_week"])) for c in seen["contributions"][:12]
        ]
        parts += [
            heading("What moves the dose"),
            bars(items, unit="mg a week"),
            paragraph(
                f"CYP2C9 {seen['cyp2c9']}, VKORC1 -1639 {seen['vkorc1_rs9923231']}. The published equation "
                f"gives {seen['equation_mg_per_week']:.1f} mg a week. {seen.get('why', '')}"
            ),
        ]
    return Explanation(media_type="text/html", content=page("Warfarin dose", *parts))


def _interval(finding: Finding) -> str:
    ends: Any = finding.evidence.get("interval", ())
    return " to ".join(f"{v:.1f}" for v in ends)


def _told(name: str, payload: Payload, seen: Mapping[str, Any]) -> str:
    """A contribution's name with the value that it is of."""
    from models.features import label, told

    genes = {"VKORC1": seen["vkorc1_rs9923231"], "CYP2C9": seen["cyp2c9"]}
    called = name.removesuffix(" (not known)")
    if called in genes:
        return f"{called} {genes[called]}"
    if called == "baseline" or not isinstance(payload, Table):
        return label(called)
    key = ASKED.get(called, called)
    unsaid = "no" if key.endswith("_use") and called == name else None  # a drug not mentioned is not taken
    return told(key, payload.values.get(key, unsaid))
