"""The opened dose models: a weekly and a daily dose with interval, and what moves it; or silence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from db.errors import Abstained
from db.records import WETREAD, Code, Diagnosis, Finding
from models.card import ModelCard
from models.contributions import shapley
from models.payloads import Payload, Table
from models.warfarin_dose import aim, equations
from models.warfarin_dose.design import COLUMNS, Floats, matrix
from models.warfarin_dose.ensemble import Ensemble
from models.warfarin_dose.patient import Patient, of

WEIGHTS, CALIBRATION = "weights.safetensors", "calibration.json"


class WarfarinDose:
    """The model; arithmetic on the CPU whatever the device asked for."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.device = "cpu"
        arrays = load_file(card.folder / WEIGHTS)
        self.ensemble = Ensemble(arrays)
        self.background = np.asarray(arrays["background"], dtype=np.float64)
        self.calibration = json.loads((card.folder / CALIBRATION).read_text("utf-8"))

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a patient, in order; a payload it was not made for abstains alone."""
        return [self._examine(payload) for payload in payloads]

    def weekly(self, patients: Sequence[Patient]) -> Floats:
        """(n,) mg a week: by the ensemble where VKORC1 is known, else by the clinical equation."""
        told = self._dose(matrix(patients))
        plain = [equations.dose(equations.clinical(p)) for p in patients]
        return np.where([p.genes for p in patients], told, plain)

    def _dose(self, x: Floats) -> Floats:
        grid, best = (np.array(self.calibration["aim"][name]) for name in ("expected", "told"))
        return aim.told(self.ensemble.expected(x), grid, best)

    def _examine(self, payload: Payload) -> Diagnosis:
        if not isinstance(payload, Table):
            return Diagnosis.abstain("not-a-table", "a table of values was expected, another kind was given")
        try:
            patient = of(payload)
        except Abstained as error:
            return Diagnosis(abstained=True, reason=str(error))
        dose = float(self.weekly([patient])[0])
        low, high = self.calibration["doses"]
        if not low <= dose <= high:
            return Diagnosis.abstain(
                "dose-out-of-range",
                f"the dose comes out beyond {low:g} to {high:g} mg a week, where few were learnt from",
            )
        return Diagnosis(findings=self._findings(patient, dose))

    def _findings(self, patient: Patient, dose: float) -> tuple[Finding, ...]:
        way = "genotype" if patient.genes else "clinical"
        qualifier = (
            None
            if patient.genes and patient.cyp2c9
            else "cyp2c9-unknown"
            if patient.genes
            else "without-genotype"
        )
        low, high = (dose * ratio for ratio in self.calibration["ratios"][way])
        seen: dict[str, object] = {
            "kind": "dose",
            "way": way,
            "interval": [round(low, 1), round(high, 1)],
            "vkorc1_rs9923231": patient.vkorc1 or "not known",
            "cyp2c9": patient.cyp2c9 or "not known",
            "equation_mg_per_week": round(equations.dose(self._equation(patient)), 1),
            "average_mg_per_week": self.calibration["average"],
            "contributions": self._contributions(patient, dose),
        }
        if not patient.genes:
            seen["why"] = "VKORC1 is not known: the dose is the clinical equation's, and far less sure"
        return tuple(
            Finding(
                code=Code(
                    value=f"warfarin-{name}-dose",
                    system=WETREAD,
                    meaning=f"maintenance dose of warfarin a {span}",
                ),
                positive=None,
                value=round(dose / days, 2),
                unit=unit,
                qualifier=qualifier,
                evidence=seen
                if days == 1
                else {"kind": "dose", "interval": [round(low / days, 2), round(high / days, 2)]},
            )
            for name, span, days, unit in (("weekly", "week", 1, "mg/wk"), ("daily", "day", 7, "mg/d"))
        )

    def _equation(self, patient: Patient) -> Mapping[str, float]:
        return equations.pharmacogenetic(patient) if patient.genes else equations.clinical(patient)

    def _contributions(self, patient: Patient, dose: float) -> list[dict[str, Any]]:
        """What each thing known moves the dose by, in mg a week, against invented average patients."""
        if not patient.genes:
            terms = equations.clinical(patient)
            whole = sum(terms.values())
            told = {name: term / whole * dose for name, term in terms.items()}
        else:
            row = matrix([patient])[0]
            parts = shapley(self._dose, row, self.background, draws=32)
            told = {}
            for feature, value, part in zip(COLUMNS.values(), row, parts, strict=True):
                name = f"{feature} (not known)" if np.isnan(value) else feature
                told[name] = told.get(name, 0.0) + float(part)
        order = sorted(told.items(), key=lambda pair: -abs(pair[1]))
        return [{"feature": name, "mg_per_week": round(value, 2)} for name, value in order if round(value, 2)]
