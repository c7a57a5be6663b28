"""The opened regression: the likely disease of a note, how sure, and the words that say so; or silence."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from db.records import ICD10CM, Code, Diagnosis, Finding
from models import text
from models.card import ModelCard
from models.note_diagnosis import gate, labels, linear
from models.note_diagnosis.features import content
from models.note_diagnosis.linear import Floats
from models.payloads import Note, Payload

LONGEST_NOTE = 200_000  #: characters; a description of symptoms has hundreds, a long chart 100,000
SHOWN_WORDS = 12
ALTERNATIVES = 3
FINDING = "likely disease"  #: the operating point's name on the card


class NoteDiagnosis:
    """The model; plain arithmetic on the CPU whatever the device asked for."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.device = "cpu"
        self.linear = linear.load(card.folder)
        self.diseases = labels.diseases()
        calibration = json.loads((card.folder / "calibration.json").read_text("utf-8"))
        self.temperature = float(calibration["temperature"])
        self.threshold = card.threshold(FINDING)

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a note, in order; a note that it was not made for abstains alone."""
        return [self._examine(payload) for payload in payloads]

    def silent(self, note: str, logits: Floats) -> tuple[str, str] | None:
        """(code, sentence) of why these logits are no answer to this note; None when they are."""
        if gate.stranger(note, self.linear.knows):
            inside, every = gate.known(note, self.linear.knows)
            return "nothing-known", (
                f"{inside} of the note's {every} words are known; {gate.FEWEST_KNOWN} must be, and half"
            )
        if gate.mostly_denied(note, self.linear.knows):
            return "mostly-denied", "over half of the known words stand in denials"
        highest = float(softmax(logits / self.temperature).max())
        if highest < self.threshold:
            return (
                "not-confident",
                f"the likeliest disease has {highest:.2f}, at least {self.threshold} is asked",
            )
        return None

    def _examine(self, payload: Payload) -> Diagnosis:
        if not isinstance(payload, Note):
            return Diagnosis.abstain("not-a-note", "the payload is an image, a note was expected")
        refusal = text.refusal(payload, longest=LONGEST_NOTE)
        if refusal:
            return Diagnosis.abstain(*refusal)
        logits = self.linear.logits(payload.text)
        refusal = self.silent(payload.text, logits)
        if refusal:
            return Diagnosis.abstain(*refusal)
        return Diagnosis(findings=(self._finding(payload.text, softmax(logits / self.temperature)),))

    def _finding(self, note: str, probabilities: NDArray[np.float64]) -> Finding:
        order = np.argsort(-probabilities, kind="stable")
        best = int(order[0])
        return Finding(
            code=self._code(best),
            positive=True,
            probability=float(probabilities[best]),
            threshold=self.threshold,
            evidence={
                "kind": "words",
                "words": self._words(note, best),
                "alternatives": [
                    {"code": self.diseases[i].code, "meaning": self.diseases[i].meaning, "probability": p}
                    for i in order[1 : 1 + ALTERNATIVES].tolist()
                    for p in [round(float(probabilities[i]), 6)]
                ],
            },
        )

    def _code(self, number: int) -> Code:
        disease = self.diseases[number]
        return Code(value=disease.code, system=ICD10CM, meaning=disease.meaning)

    def _words(self, note: str, label: int) -> list[dict[str, object]]:
        """The words that raise the disease most; only words of the vocabulary, so that no name is shown.

        weight: what the word adds to the calibrated logit against the mean of all diseases.
        """
        weights = self.linear.contributions(note, label) / self.temperature
        told = [
            (float(weight), word)
            for weight, word in zip(weights, content(note), strict=True)
            if weight > 0 and self.linear.knows(word.form) and word.form.isalpha()
            if word.form not in gate.EMPTY_WORDS
        ]
        told.sort(key=lambda pair: (-pair[0], pair[1].start))
        return [
            {"word": w.form, "start": w.start, "end": w.end, "weight": round(weight, 4)}
            for weight, w in told[:SHOWN_WORDS]
        ]
