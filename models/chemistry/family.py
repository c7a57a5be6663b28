"""What the package of a family on molecules offers to the registry, so that the family says only its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.records import Finding
from models import card, charts, drawing
from models.payloads import Molecules, Payload
from models.registry import Explanation

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.registry import Model


def load(own: ModelCard, device: str) -> Model:
    """The machine, opened. It runs on the CPU, whatever device is asked for."""
    from models.chemistry.model import Chemist

    return Chemist(own)


def example(folder: Path) -> Payload:
    """The well-known molecules of a family's folder."""
    lines = (folder / "example" / "molecules.txt").read_text("utf-8").splitlines()
    return Molecules(smiles=tuple(line.split()[0] for line in lines if line.strip()))


#: descriptors shown, by RDKit's name: what people call them, with their unit
VALUES = {
    "MolWt": ("molecular weight", "g/mol"),
    "MolLogP": ("lipophilicity: logP, octanol to water, after Crippen", ""),
    "TPSA": ("topological polar surface", "Å²"),
    "NumHDonors": ("hydrogen bond donors", ""),
    "NumHAcceptors": ("hydrogen bond acceptors", ""),
    "NumRotatableBonds": ("rotatable bonds", ""),
}
LITRE = (("mol/L", 1.0), ("mmol/L", 1e-3), ("µmol/L", 1e-6), ("nmol/L", 1e-9))  #: and their sizes in mol/L


def concentration(logarithm: float) -> str:
    """10 to the power of the logarithm in mol/L, with two figures and the prefix that suits it."""
    amount = float(10**logarithm)
    unit, size = next((pair for pair in LITRE if amount >= pair[1]), LITRE[-1])
    return f"{float(f'{amount / size:.2g}'):g} {unit}"


def _told(finding: Finding) -> str:
    """The answer in one line: yes or no with its probability, or the value with its interval."""
    where = f"{str(finding.site).replace('record', 'Molecule')}, {finding.code.meaning.lower()}"
    if finding.abstained:
        return f"{where}: left open ({finding.reason})"
    if finding.value is not None:
        seen: Mapping[str, Any] = finding.evidence
        low, high = seen["interval_95"]
        told = f"{finding.value:.1f} ({low:.1f} to {high:.1f}) {str(finding.unit).strip('{}')}"
        return f"{where}: {told}, about {concentration(finding.value)}"
    answer, chance = "yes" if finding.positive else "no", drawing.percent(finding.probability or 0.0)
    return f"{where}: {answer}, probability {chance} (yes from {100 * (finding.threshold or 0.0):g} % on)"


def render(
    folder: Path, payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]
) -> Explanation:
    """Each molecule with its atoms coloured by what they add, its properties as bars and its values."""
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
        likeness = f"Likeness to the molecule learnt from that is most alike: {100 * seen['likeness']:.0f} %."
        parts.append(drawing.paragraph(f"The darkest atom: {most:.2g} {seen['unit']}. {likeness}"))
        parts.append(charts.bars(list(seen["properties"].items()), unit=seen["unit"]))
        rows = [(*VALUES.get(name, (name, "")), value) for name, value in seen["values"].items()]
        told = [(name, value, unit) for name, unit, value in rows]
        parts.append(drawing.table(("property", "value", "unit"), told))
    return Explanation(media_type="text/html", content=drawing.page(card.read(folder).title, *parts))
