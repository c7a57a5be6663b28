"""Survival of seriously ill inpatients from physiology and comorbidity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from db.records import Finding
from models.payloads import Payload
from models.registry import Explanation
from models.survival import family
from models.survival.family import load

__all__ = ["example", "load", "render"]
HERE = Path(__file__).parent


def example() -> Payload:
    """An invented patient."""
    return family.example(HERE)


def render(payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """The survival curve with its interval, the risks, and what each value adds."""
    return family.render(HERE, findings)
