"""Antimicrobial peptides: which sequences are one, and the residues and relatives that say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.records import Finding
from models.payloads import Payload, Sequences
from models.registry import Explanation

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.registry import Model

HERE = Path(__file__).parent


def load(card: ModelCard, device: str) -> Model:
    """The ensemble, opened. It runs on the CPU, whatever device is asked for."""
    from models.peptide_amp.model import PeptideAmp

    return PeptideAmp(card)


def example() -> Payload:
    """An invented helix of lysine and leucine, and an invented acidic peptide."""
    lines = (HERE / "example" / "peptides.txt").read_text("utf-8").split(">")[1:]
    records = tuple("".join(part.splitlines()[1:]) for part in lines)
    return Sequences(records=records, alphabet="protein")


def render(payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """Each peptide shaded by what its residues add, and the training peptides it is most like."""
    from models import drawing

    if not isinstance(payload, Sequences):
        raise TypeError(f"sequences were expected, got {type(payload).__name__}")
    parts = [
        drawing.paragraph(
            "Red residues speak for an antimicrobial peptide, blue ones against it (against alanine there)."
        )
    ]
    for finding in findings:
        seen: Mapping[str, Any] = finding.evidence
        if finding.abstained:
            parts.append(drawing.heading(f"{finding.site}: left open ({finding.reason})"))
            continue
        word = "antimicrobial" if finding.positive else "not antimicrobial"
        told = f"{finding.probability:.3f} (asked: {finding.threshold})"
        parts.append(drawing.heading(f"{finding.site}: {word}, {told}"))
        peptide, weights = payload.records[seen["record"] - 1], list(seen.get("weights", ()))
        most = max((abs(w) for w in weights), default=1.0) or 1.0
        parts.append(drawing.letters(peptide, [(i, i + 1, w / most) for i, w in enumerate(weights)]))
        near = [
            (r["peptide"], "yes" if r["antimicrobial"] else "no", r["likeness"]) for r in seen["relatives"]
        ]
        parts.append(drawing.table(("most alike of training", "antimicrobial", "likeness"), near))
    return Explanation(media_type="text/html", content=drawing.page("peptide-amp", *parts))
