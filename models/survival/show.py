"""A prognosis drawn: the survival curve with its interval, the risks, and each value's part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from db.records import Finding
from models import features
from models.charts import bars, lines
from models.drawing import heading, page, paragraph, table
from models.registry import Explanation
from models.survival.model import WORDS
from models.survival.study import Study, meaning


def render(study: Study, findings: Sequence[Finding]) -> Explanation:
    """One page: curve, risks at the stated times, contributions to the log hazard."""
    parts = [table(("finding", "value", "unit", "95 % interval"), [_row(f) for f in findings])]
    drawn = next((f.evidence for f in findings if f.evidence.get("kind") == "survival"), None)
    if drawn is not None:
        parts += _curve(study, drawn)
    return Explanation(media_type="text/html", content=page(study.title, *parts))


def _row(finding: Finding) -> tuple[str, str, str, str]:
    ends: Any = finding.evidence.get("interval", ())
    interval = " to ".join("not reached" if v is None else _figure(v, finding) for v in ends)
    said = str(finding.reason) if finding.value is None else _figure(finding.value, finding)
    unit = finding.unit or ""
    return finding.code.meaning, said, features.WRITTEN.get(unit, unit), interval


def _figure(value: float, finding: Finding) -> str:
    """A risk with two decimals, a time with the figures that matter."""
    return features.rounded(value) if finding.probability is None else f"{value:.2f}"


def _curve(study: Study, drawn: Mapping[str, Any]) -> list[str]:
    times, unit = drawn["times"], WORDS[study.unit]
    items = [
        (features.told(c["feature"], c["value"]), float(c["log_hazard"])) for c in drawn["contributions"][:12]
    ]
    return [
        heading(f"Without {study.outcome}"),
        lines(
            [("expected", times, drawn["event_free"])],
            x_label=unit,
            y_label="without the event",
            band=(times, drawn["low"], drawn["high"]),
            y_range=(0.0, 1.0),
            marks=[(float(h), f"{h}") for h in study.horizons],
        ),
        heading("What moves the hazard"),
        bars(items, unit="log hazard"),
        table(
            ("value", "means"),
            [(features.label(c["feature"]), meaning(c["feature"])) for c in drawn["contributions"]],
        ),
        paragraph(
            f"The hazard is {features.rounded(drawn['relative_hazard'])} times that of the average score. "
            "The band covers the choice of patients learnt from, not what the model leaves out."
        ),
    ]
