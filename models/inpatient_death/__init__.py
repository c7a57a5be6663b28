"""The risk that a seriously ill inpatient dies in hospital, from physiology, laboratory and comorbidity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from db.records import Finding
from models.payloads import Payload
from models.registry import Explanation
from models.tabular import family
from models.tabular.family import load

__all__ = ["example", "load", "render"]
HERE = Path(__file__).parent


def example() -> Payload:
    """An invented patient."""
    return family.example(HERE)


def render(payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """The values that speak for and against, as bars."""
    return family.render("inpatient-death", payload, findings, artifacts)
