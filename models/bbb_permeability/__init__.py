"""Whether a substance passes the blood-brain barrier, from its structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from db.records import Finding
from models.chemistry import family
from models.chemistry.family import load
from models.payloads import Payload
from models.registry import Explanation

__all__ = ["example", "load", "render"]
HERE = Path(__file__).parent


def example() -> Payload:
    """A few well-known molecules."""
    return family.example(HERE)


def render(payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """Each molecule with its atoms coloured by what they add."""
    return family.render(HERE, payload, findings, artifacts)
