"""The opened machine: a finding a molecule, with what its atoms and properties add; or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from db.records import Code, Diagnosis, Finding
from models.card import ModelCard
from models.chemistry import domain, machine, recipe
from models.chemistry.attribution import attributed, variants
from models.chemistry.structure import PLACE, Structure, parse
from models.payloads import Molecules, Payload

TOLD = ("MolWt", "MolLogP", "TPSA", "NumHDonors", "NumHAcceptors", "NumRotatableBonds")  #: shown as values


class Chemist:
    """The model; plain arithmetic on the CPU whatever the device asked for."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.device = "cpu"
        self.recipe = recipe.read(card.folder)
        self.machine = machine.load(card.folder, self.recipe)
        asked = self.recipe.asked
        self.code = Code(value=asked.code, system=asked.system, meaning=asked.meaning)
        self.threshold = card.threshold(asked.meaning) if self.recipe.classifies else None

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a file of molecules, in order; one that it was not made for abstains alone."""
        return [self._examine(payload) for payload in payloads]

    def _examine(self, payload: Payload) -> Diagnosis:
        if not isinstance(payload, Molecules):
            return Diagnosis.abstain("not-a-molecule", "the payload holds no molecules")
        if not payload.smiles:
            return Diagnosis.abstain("empty", "the file holds no molecule")
        if len(payload.smiles) > domain.MOST_MOLECULES:
            return Diagnosis.abstain("too-many", f"more than {domain.MOST_MOLECULES:,} molecules in one file")
        findings = tuple(self._record(number, smiles) for number, smiles in enumerate(payload.smiles, 1))
        reasons = [finding.reason for finding in findings if finding.abstained]
        if len(reasons) == len(findings):  # nothing is answered: the first reason stands for the file
            return Diagnosis(abstained=True, reason=reasons[0])
        return Diagnosis(findings=findings)

    def _record(self, number: int, smiles: str) -> Finding:
        structure = parse(smiles)
        refused = domain.refusal(structure, self.recipe.gate)
        if structure is None or refused:
            return self._silent(number, refused or domain.UNREADABLE)
        asked, atoms, names = variants(structure.mol, self.machine)
        answer = self.machine.answer(asked)
        likeness = float(answer.likeness[0])
        if refused := domain.unlike(likeness, self.recipe.gate):
            return self._silent(number, refused)
        by_atom, by_group = attributed(answer.raw, atoms, names)
        evidence: dict[str, Any] = {
            "kind": "molecule",
            "record": number,
            "atoms": _placed(structure, [round(float(share), 3) for share in by_atom]),
            "properties": {name: round(share, 3) for name, share in by_group.items()},
            "unit": "log-odds" if self.recipe.classifies else self.recipe.asked.value_name,
            "values": self._values(asked.descriptors[0].tolist()),
            "likeness": round(likeness, 3),
            "fragments_left_out": len(structure.others),
        }
        return self._finding(number, float(self.machine.said(answer.raw[:1])[0]), likeness, evidence)

    def _values(self, descriptors: list[float]) -> dict[str, float]:
        told = dict(zip(self.machine.names, descriptors, strict=True))
        return {name: round(told[name], 2) for name in TOLD if name in told}

    def _finding(self, number: int, said: float, likeness: float, evidence: dict[str, Any]) -> Finding:
        """The answer: a probability, or a value with its interval."""
        site = f"record {number}"
        if self.threshold is not None:
            return Finding(
                code=self.code, positive=said >= self.threshold, probability=said, threshold=self.threshold,
                site=site, evidence=evidence,
            )  # fmt: skip
        error = self.machine.error(likeness)
        interval = [round(said - error, 2), round(said + error, 2)]
        return Finding(
            code=self.code, positive=None, value=said, unit=self.recipe.asked.unit, site=site,
            evidence={**evidence, "interval_95": interval},
        )  # fmt: skip

    def _silent(self, number: int, refused: domain.Refusal) -> Finding:
        return Finding(
            code=self.code, positive=False, abstained=True, reason=f"{refused[0]}: {refused[1]}",
            site=f"record {number}", evidence={"kind": "molecule", "record": number},
        )  # fmt: skip


def _placed(structure: Structure, shares: list[float]) -> list[float | None]:
    """The shares by the atoms' places in the SMILES as written; None of atoms that were left out."""
    found: list[float | None] = [None] * structure.atoms
    for atom, share in zip(structure.mol.GetAtoms(), shares, strict=True):
        if atom.HasProp(PLACE):
            found[atom.GetIntProp(PLACE)] = share
    return found
