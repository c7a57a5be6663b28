"""The opened ensemble: is each peptide antimicrobial, by which residues and relatives; or silence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from db.records import WETREAD, Code, Diagnosis, Finding
from models.card import ModelCard
from models.payloads import Payload, Sequences
from models.peptide_amp import alignment, ensemble
from models.peptide_amp.data import LETTERS
from models.peptide_amp.ensemble import Floats

CODE = Code(value="antimicrobial-peptide", system=WETREAD, meaning="Antimicrobial peptide")
FINDING, CONFIDENT = "antimicrobial peptide", "confident answer"  #: operating points' names on the card
SHORTEST, LONGEST = 10, 180  #: residues; the training peptides have 11 to 172
FEWEST_LETTERS = 4  #: different amino acids; all but four of the 2,132 training peptides have so many
MOST_RECORDS = 1_000  #: as many as a file may hold; some 40 ms each
WEIGHED = 10  #: peptides of a file whose residues are weighed, the first that are answered: a second each
RELATIVES = 3


def refusal(peptide: str) -> tuple[str, str] | None:
    """(code, sentence) of why a peptide is not judged; None when it is."""
    if not SHORTEST <= len(peptide) <= LONGEST:
        return "wrong-length", f"{len(peptide)} residues, {SHORTEST} to {LONGEST} are read"
    if set(peptide) - set(LETTERS):
        return "not-amino-acids", "a letter is none of the 20 standard amino acids"
    if len(set(peptide)) < FEWEST_LETTERS:
        return "low-complexity", f"{len(set(peptide))} different amino acids, {FEWEST_LETTERS} are asked"
    return None


def refused_file(file: Sequences) -> tuple[str, str] | None:
    """(code, sentence) of why no record of a file is read; None when some can be."""
    if file.alphabet != "protein":
        return "not-protein", "the sequences are not protein"
    if len(file.records) > MOST_RECORDS:
        return "too-many", f"over {MOST_RECORDS} records"
    each = [refusal(record) for record in file.records]
    return (each[0] if each else ("empty", "the file holds no record")) if all(each) else None


class PeptideAmp:
    """The model; plain arithmetic on the CPU whatever the device asked for."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.device = "cpu"
        self.ensemble = ensemble.load(card.folder)
        self.threshold = card.threshold(FINDING)
        self.confident = card.threshold(CONFIDENT)
        self._own = np.array([alignment.scores([r], [r])[0, 0] for r in self.ensemble.references])

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a file of sequences, in order; one that it was not made for abstains alone."""
        return [self._examine(payload) for payload in payloads]

    def unsure(self, chance: float) -> bool:
        """Whether neither answer is likely enough."""
        return max(chance, 1 - chance) < self.confident

    def _examine(self, payload: Payload) -> Diagnosis:
        if not isinstance(payload, Sequences):
            return Diagnosis.abstain("not-a-sequence", "the payload holds no sequences")
        refused = refused_file(payload)
        if refused:
            return Diagnosis.abstain(*refused)
        found, weighed = [], 0
        for number, peptide in enumerate(payload.records, 1):
            silent = refusal(peptide)
            if silent:
                found.append(_silent(number, silent))
                continue
            found.append(self._finding(number, peptide, weigh=weighed < WEIGHED))
            weighed += not found[-1].abstained
        return Diagnosis(findings=tuple(found))

    def _finding(self, number: int, peptide: str, *, weigh: bool) -> Finding:
        odds, scores = self.ensemble.log_odds([peptide])
        chance = float(expit(odds[0]))
        if self.unsure(chance):
            sentence = f"probability {chance:.2f}, {self.confident} of either answer is asked"
            return _silent(number, ("not-confident", sentence))
        evidence: dict[str, object] = {
            "kind": "residues",
            "record": number,
            "relatives": self._relatives(peptide, scores[0]),
        }
        if weigh:
            evidence["weights"] = [round(float(w), 3) for w in self.ensemble.weights(peptide)]
            evidence["unit"] = "log-odds lost when the residue is replaced by alanine"
        return Finding(
            code=CODE,
            positive=chance >= self.threshold,
            probability=chance,
            threshold=self.threshold,
            site=f"record {number}",
            evidence=evidence,
        )

    def _relatives(self, peptide: str, scores: Floats) -> list[dict[str, object]]:
        """The training peptides that align best, by the share of both own scores that they reach."""
        own = float(alignment.scores([peptide], [peptide])[0, 0])
        shares = scores / np.sqrt(own * self._own)
        order = np.argsort(-shares, kind="stable")[:RELATIVES]
        return [
            {
                "peptide": self.ensemble.references[i],
                "antimicrobial": bool(self.ensemble.labels[i]),
                "likeness": round(float(shares[i]), 3),
            }
            for i in order.tolist()
        ]


def _silent(number: int, refused: tuple[str, str]) -> Finding:
    """One record left open, with the reason."""
    return Finding(
        code=CODE,
        positive=False,
        abstained=True,
        reason=f"{refused[0]}: {refused[1]}",
        site=f"record {number}",
        evidence={"kind": "residues", "record": number},
    )
