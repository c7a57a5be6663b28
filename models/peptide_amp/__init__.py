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
NO_WEIGHTS = "Residues are weighed of the first ten peptides of a file that are answered."


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
        where = str(finding.site).replace("record", "Peptide")
        if finding.abstained:
            parts.append(drawing.heading(f"{where}: left open ({finding.reason})"))
            continue
        word = "antimicrobial" if finding.positive else "not antimicrobial"
        told = f"probability {drawing.percent(finding.probability or 0.0)}"
        asked = f"antimicrobial from {100 * (finding.threshold or 0.0):g} % on"
        parts.append(drawing.heading(f"{where}: {word}, {told} ({asked})"))
        peptide, weights = payload.records[seen["record"] - 1], list(seen.get("weights", ()))
        most = max((abs(w) for w in weights), default=0.0) or 1.0
        parts.append(drawing.letters(peptide, [(i, i + 1, w / most) for i, w in enumerate(weights)]))
        parts.append(
            drawing.paragraph(f"The darkest residue: {most:.2g} log-odds." if weights else NO_WEIGHTS)
        )
        near = [
            (r["peptide"], "yes" if r["antimicrobial"] else "no", f"{100 * r['likeness']:.0f} %")
            for r in seen["relatives"]
        ]
        parts.append(drawing.table(("most alike of those learnt from", "antimicrobial", "likeness"), near))
    return Explanation(
        media_type="text/html", content=drawing.page("Antimicrobial peptides by sequence", *parts)
    )
