"""The opened prognosis: one patient's survival curve, risks at stated times, and what they rest on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from safetensors.numpy import load_file

from db.errors import Abstained
from db.records import WETREAD, Code, Diagnosis, Finding
from models.card import ModelCard
from models.contributions import shapley
from models.payloads import Payload, Table
from models.survival import curve, study
from models.survival.blend import Score
from models.survival.hazards import Floats

WEIGHTS = "weights.safetensors"
WORDS = {"mo": "months", "d": "days"}


class Prognosis:
    """The model; arithmetic on the CPU whatever the device asked for."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.device = "cpu"
        self.study = study.read(card.folder)
        arrays = load_file(card.folder / WEIGHTS)
        self.score = Score(self.study, arrays)
        self.curve = curve.restored(arrays)
        self.background = np.asarray(arrays["background"], dtype=np.float64)

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a patient, in order; a payload it was not made for abstains alone."""
        return [self._examine(payload) for payload in payloads]

    def _examine(self, payload: Payload) -> Diagnosis:
        if not isinstance(payload, Table):
            return Diagnosis.abstain("not-a-table", "a table of values was expected, another kind was given")
        try:
            row = self.study.row(payload)
        except Abstained as error:
            return Diagnosis(abstained=True, reason=str(error))
        score = float(self.score(row[None])[0])
        shape = self.curve.survival(np.array([score]))[0]
        low, high = self.curve.band(score)
        drawn = self._evidence(row, score, shape, low, high)
        risks = [self._risk(when, shape, low, high, drawn) for when in self.study.horizons]
        return Diagnosis(findings=(*risks, self._median(shape, low, high)))

    def _evidence(
        self, row: Floats, score: float, shape: Floats, low: Floats, high: Floats
    ) -> dict[str, object]:
        def log_hazard(x: Floats) -> Floats:
            return np.asarray(self.curve.slope * self.score(x))

        parts = shapley(log_hazard, row, self.background, draws=32)
        order = np.argsort(-np.abs(parts), kind="stable")
        values = self.study.shown(row)
        return {
            "kind": "survival",
            "unit": self.study.unit,
            "times": [round(float(v), 3) for v in self.curve.times],
            "event_free": [round(float(v), 4) for v in shape],
            "low": [round(float(v), 4) for v in low],
            "high": [round(float(v), 4) for v in high],
            "relative_hazard": round(float(np.exp(self.curve.slope * score)), 4),
            "contributions": [
                {"feature": name, "value": values[name], "log_hazard": round(float(parts[i]), 4)}
                for i in order.tolist()
                for name in [self.study.names[i]]
            ],
        }

    def _risk(self, when: int, shape: Floats, low: Floats, high: Floats, drawn: dict[str, object]) -> Finding:
        told, least, most = (1 - curve.at(self.curve.times, c, when) for c in (shape, high, low))
        threshold = self.card.threshold(f"{self.study.slug} within {when} {WORDS[self.study.unit]}")
        return Finding(
            code=Code(
                value=f"{self.study.slug}-within-{when}-{WORDS[self.study.unit]}",
                system=WETREAD,
                meaning=f"{self.study.outcome} within {when} {WORDS[self.study.unit]}",
            ),
            positive=told >= threshold,
            probability=told,
            threshold=threshold,
            value=round(told, 4),
            unit="1",
            evidence={**drawn, "interval": [round(least, 4), round(most, 4)]},
        )

    def _median(self, shape: Floats, low: Floats, high: Floats) -> Finding:
        told = curve.median(self.curve.times, shape)
        ends = [curve.median(self.curve.times, c) for c in (low, high)]
        code = Code(
            value=f"median-time-without-{self.study.slug}",
            system=WETREAD,
            meaning=f"median time without {self.study.outcome}",
        )
        if told is None:
            end = f"{self.study.horizons[-1]} {WORDS[self.study.unit]}"
            reason = f"median-not-reached: more than half are expected without the event at {end}"
            return Finding(code=code, positive=False, abstained=True, reason=reason)
        return Finding(
            code=code,
            positive=None,
            value=round(told, 2),
            unit=self.study.unit,
            evidence={
                "kind": "median",
                "interval": [None if end is None else round(end, 2) for end in ends],
                "curve_ends": self.study.horizons[-1],
            },
        )
