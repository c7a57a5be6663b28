"""The opened centroids: which of four tumours a sample's expressions are like, and by which genes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from db.records import Code, Diagnosis, Finding
from models.card import ModelCard
from models.payloads import Expression, Payload
from models.tumour_expression import centroids, gate
from models.tumour_expression.data import GENES, ICDO, TUMOURS, Floats, centred

SHOWN_GENES = 20
FINDING = "tumour class"  #: the operating point's name on the card


class TumourExpression:
    """The model; plain arithmetic on the CPU whatever the device asked for."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.device = "cpu"
        self.centroids, further = centroids.load(card.folder)
        self.temperature = float(further["temperature"][0])
        self.furthest = float(further["furthest"][0])
        self.mean = further["mean"]
        self.threshold = card.threshold(FINDING)

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a sample, in order; one that the model was not made for abstains alone."""
        return [self._examine(payload) for payload in payloads]

    def _examine(self, payload: Payload) -> Diagnosis:
        if not isinstance(payload, Expression):
            return Diagnosis.abstain("not-an-expression", "the payload holds no gene expressions")
        row = gate.values(payload)
        if row is None:
            return Diagnosis.abstain("genes-unknown", "the genes are not the 2,308 named V1 to V2308")
        refused = gate.refusal(row, self.mean, self.centroids, self.furthest)
        if refused:
            return Diagnosis.abstain(*refused)
        chances = centroids.probabilities(self.centroids.scores(row[None]), self.temperature)[0]
        if chances.max() < self.threshold:
            return Diagnosis.abstain(
                "not-confident", f"the likeliest tumour has {chances.max():.2f}, {self.threshold} is asked"
            )
        return Diagnosis(findings=(self._finding(row, chances),))

    def _finding(self, row: Floats, chances: Floats) -> Finding:
        best = int(chances.argmax())
        tumour = TUMOURS[best]
        return Finding(
            code=Code(value=tumour.code, system=ICDO, meaning=tumour.meaning),
            positive=True,
            probability=float(chances[best]),
            threshold=self.threshold,
            evidence={
                "kind": "genes",
                "genes": self._genes(row, best),
                "of": len(self.centroids.genes),
                "unit": "log-odds against the mean of the four tumours",
                "alternatives": [
                    {"code": t.code, "meaning": t.meaning, "probability": round(float(p), 6)}
                    for t, p in sorted(zip(TUMOURS, chances, strict=True), key=lambda pair: -pair[1])
                    if t is not tumour
                ],
            },
        )

    def _genes(self, row: Floats, label: int) -> list[dict[str, object]]:
        """The genes that move the tumour's calibrated score most, against the mean of the four.

        All genes' weights sum to the score exactly.
        """
        weights = centred(self.centroids.terms(row[None])[0])[:, label] / self.temperature
        order = np.argsort(-np.abs(weights), kind="stable")[:SHOWN_GENES]
        return [
            {
                "gene": GENES[self.centroids.genes[i]],
                "value": round(float(row[self.centroids.genes[i]]), 4),
                "weight": round(float(weights[i]), 4),
            }
            for i in order.tolist()
        ]
