"""What the package of a family on molecules offers to the registry, so that the family says only its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.records import Finding
from models.payloads import Molecules, Payload
from models.registry import Explanation

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.registry import Model


def load(card: ModelCard, device: str) -> Model:
    """The machine, opened. It runs on the CPU, whatever device is asked for."""
    from models.chemistry.model import Chemist

    return Chemist(card)


def example(folder: Path) -> Payload:
    """The well-known molecules of a family's folder."""
    lines = (folder / "example" / "molecules.txt").read_text("utf-8").splitlines()
    return Molecules(smiles=tuple(line.split()[0] for line in lines if line.strip()))


def _told(finding: Finding) -> str:
    where = f"{finding.code.meaning}, {finding.site}"
    if finding.abstained:
        return f"{where}: left open ({finding.reason})"
    if finding.value is not None:
        seen: Mapping[str, Any] = finding.evidence
        low, high = seen["interval_95"]
        return f"{where}: {finding.value:.2f} {finding.unit} ({low} to {high})"
    answer = "yes" if finding.positive else "no"
    return f"{where}: {answer}, {finding.probability:.3f} (asked: {finding.threshold})"


def render(
    title: str, payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]
) -> Explanation:
    """Each molecule with its atoms coloured by what they add, its properties as bars and its values."""
    from models import drawing
    from models.chemistry.picture import picture

    if not isinstance(payload, Molecules):
        raise TypeError(f"molecules were expected, got {type(payload).__name__}")
    parts = [drawing.paragraph("Red atoms raise the answer, blue ones lower it; the darker, the more.")]
    for finding in findings:
        seen: Mapping[str, Any] = finding.evidence
        parts.append(drawing.heading(_told(finding)))
        if "atoms" not in seen:
            continue
        parts.append(picture(payload.smiles[seen["record"] - 1], seen["atoms"]))
        most = max((abs(share) for share in seen["atoms"] if share is not None), default=0.0)
        parts.append(drawing.paragraph(f"Darkest: {most:.2g} {seen['unit']}. Likeness {seen['likeness']}."))
        parts.append(drawing.bars(list(seen["properties"].items()), unit=seen["unit"]))
        parts.append(drawing.table(("property", "value"), seen["values"].items()))
    return Explanation(media_type="text/html", content=drawing.page(title, *parts))
