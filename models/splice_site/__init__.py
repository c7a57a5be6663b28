"""Splice sites in DNA: donor and acceptor junctions of exon and intron, with the bases that say so."""

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
NAMES = {"SO:0000163": "Donor site (exon | intron)", "SO:0000164": "Acceptor site (intron | exon)"}


def load(card: ModelCard, device: str) -> Model:
    """The machines, opened. They run on the CPU, whatever device is asked for."""
    from models.splice_site.model import SpliceSite

    return SpliceSite(card)


def example() -> Payload:
    """Invented windows: a donor, an acceptor and neither, and a longer record that holds both."""
    lines = (HERE / "example" / "windows.txt").read_text("utf-8").split(">")[1:]
    records = tuple("".join(part.splitlines()[1:]) for part in lines)
    return Sequences(records=records, alphabet="dna")


def _told(finding: Finding) -> str:
    name = NAMES.get(finding.code.value, finding.code.meaning)
    if finding.abstained:
        return f"{name}, {finding.site}: left open ({finding.reason})"
    from models import drawing

    word, chance = "yes" if finding.positive else "no", drawing.percent(finding.probability or 0.0)
    asked = f"yes from {100 * (finding.threshold or 0.0):g} % on"
    return f"{name}, {finding.site}: {word}, probability {chance} ({asked})"


def render(payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """Each finding's 60 bases, shaded by what each adds to the site's log-odds; a bar at the junction."""
    from models import drawing

    if not isinstance(payload, Sequences):
        raise TypeError(f"sequences were expected, got {type(payload).__name__}")
    parts = [drawing.paragraph("Red bases speak for the site, blue ones against it; the darker, the more.")]
    for finding in findings:
        seen: Mapping[str, Any] = finding.evidence
        parts.append(drawing.heading(_told(finding)))
        if "weights" in seen:
            at, weights = seen["start"] - 1, list(seen["weights"])
            window, half = payload.records[seen["record"] - 1][at : at + len(weights)], len(weights) // 2
            most = max(abs(w) for w in weights) or 1.0
            marks = [(i + (i >= half), i + (i >= half) + 1, w / most) for i, w in enumerate(weights)]
            parts.append(drawing.letters(f"{window[:half]}|{window[half:]}", marks))
            parts.append(drawing.paragraph(f"The darkest base: {most:.2g} log-odds."))
    return Explanation(media_type="text/html", content=drawing.page("Splice junctions in DNA", *parts))
