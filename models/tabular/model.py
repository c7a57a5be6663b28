"""An opened family on tables: what one patient's values make likely, how sure, and which of them say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db.records import Code, Diagnosis, Finding
from models.card import ModelCard
from models.card import read as read_card
from models.contributions import shapley
from models.payloads import Payload, Table
from models.tabular import ensemble, recipe, rows
from models.tabular.ensemble import Ensemble
from models.tabular.recipe import Recipe
from models.tabular.rows import Floats

WEIGHTS = "model.safetensors"
DRAWS = 64  #: orders in which features are put in, for contributions
ALTERNATIVES = 2


def opened(found: Recipe) -> TabularModel:
    """The model in a recipe's folder."""
    return TabularModel(read_card(found.folder))


class TabularModel:
    """The model; plain arithmetic on the CPU whatever the device asked for."""

    def __init__(self, card: ModelCard) -> None:
        from safetensors.numpy import load_file

        self.card = card
        self.device = "cpu"
        self.recipe = recipe.read(card.folder)
        arrays: dict[str, NDArray[Any]] = load_file(card.folder / WEIGHTS)
        self.main = ensemble.unpacked(arrays, "main.", self.recipe)
        self.blind = ensemble.unpacked(arrays, "blind.", self.recipe) if self.recipe.informative else None
        self.threshold = card.threshold(self.recipe.sought)
        self._informative = [self.recipe.features.index(name) for name in self.recipe.informative]
        self._asked = [self.recipe.features.index(name) for name in card.needs.features]

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a table, in order; a table that it was not made for abstains alone."""
        return [self._examine(payload) for payload in payloads]

    def serving(self, row: Floats) -> Ensemble:
        """The ensemble for a row: where all informative features are absent, their absence must not tell."""
        if self.blind is not None and np.isnan(row[self._informative]).all():
            return self.blind
        return self.main

    def probabilities(self, table: Floats) -> Floats:
        """(n, classes) calibrated probabilities of (n, features) rows."""
        found = np.zeros((len(table), len(self.recipe.classes)))
        blind = np.array([self.serving(row) is not self.main for row in table], dtype=bool)
        for served, inside in ((self.main, ~blind), (self.blind, blind)):
            if served is not None and inside.any():
                found[inside] = served.probabilities(table[inside])
        return found

    def refusal(self, row: Floats) -> tuple[str, str] | None:
        """(code, sentence) of why a row is not answered; None when it is."""
        known = int((~np.isnan(row)).sum())
        if np.isnan(row[self._asked]).any() or known < self.recipe.fewest_known * len(row):
            return "too-little-known", (
                f"{known} of {len(row)} values are known; {self.recipe.fewest_known:.0%} are asked, "
                f"with {', '.join(self.card.needs.features)} among them"
            )
        beyond = self.main.design.outside(row)
        if beyond:
            names = ", ".join(self.recipe.features[place] for place in beyond)
            return "out-of-range", f"beyond the patients learnt from: {names}"
        return None

    def _examine(self, payload: Payload) -> Diagnosis:
        if not isinstance(payload, Table):
            return Diagnosis.abstain("not-a-table", "the payload is no table of one patient's values")
        for name, learnt in self.recipe.only.items():
            if payload.values.get(name, learnt[0]) not in learnt:
                return Diagnosis.abstain("out-of-range", f"learnt from {name} {' or '.join(learnt)} alone")
        try:
            row = rows.row(payload.values, self.recipe)
        except (ValueError, TypeError) as error:
            return Diagnosis.abstain("out-of-range", str(error))
        refusal = self.refusal(row)
        if refusal:
            return Diagnosis.abstain(*refusal)
        served = self.serving(row)
        table = served.probabilities(row[None])[0]
        place = 1 if len(table) == 2 else int(table.argmax())
        probability = float(table[place])
        if len(table) > 2 and probability < self.threshold:
            return Diagnosis.abstain(
                "not-confident",
                f"the likeliest disease has {probability:.2f}, at least {self.threshold} is asked",
            )
        return Diagnosis(findings=(self._finding(row, served, place, table),))

    def _finding(self, row: Floats, served: Ensemble, place: int, table: Floats) -> Finding:
        one = self.recipe.classes[place]
        probability = float(table[place])
        return Finding(
            code=Code(value=one.value, system=one.system, meaning=one.meaning),
            positive=probability >= self.threshold,
            probability=probability,
            threshold=self.threshold,
            value=probability if self.recipe.risk else None,
            unit="1" if self.recipe.risk else None,
            evidence=self._evidence(row, served, place, table),
        )

    def _evidence(self, row: Floats, served: Ensemble, place: int, table: Floats) -> dict[str, object]:
        """What each value adds to the calibrated log-odds, against drawn values of the training set."""

        def log_odds(some: Floats) -> Floats:
            chance = np.clip(served.probabilities(some)[:, place], 1e-6, 1 - 1e-6)
            return np.asarray(np.log(chance / (1 - chance)))

        shares = shapley(log_odds, row, served.design.background, draws=DRAWS)
        total = float(log_odds(row[None])[0])
        order = np.argsort(-np.abs(shares), kind="stable").tolist()
        names = self.recipe.features
        missing = [names[i] for i in range(len(row)) if np.isnan(row[i])]
        others = (
            [i for i in np.argsort(-table, kind="stable").tolist() if i != place] if len(table) > 2 else []
        )
        return {
            "kind": "contributions",
            "unit": "log-odds",
            "baseline": round(total - float(shares.sum()), 4),
            "total": round(total, 4),
            "contributions": [self._share(names[i], float(row[i]), float(shares[i])) for i in order],
            "missing": missing,
            "missing_share": round(len(missing) / len(row), 4),
            "ensemble": "main" if served is self.main else "without " + ", ".join(self.recipe.informative),
            "alternatives": [
                {
                    "code": self.recipe.classes[i].value,
                    "meaning": self.recipe.classes[i].meaning,
                    "probability": round(float(table[i]), 6),
                }
                for i in others[:ALTERNATIVES]
            ],
            "calibration": "temperature and level fitted on out-of-fold predictions"
            if self.recipe.risk
            else "temperature fitted on out-of-fold predictions",
        }

    def _share(self, name: str, number: float, share: float) -> dict[str, object]:
        feature = self.recipe.feature(name)
        return {
            "feature": name,
            "meaning": feature.meaning,
            "value": rows.spoken(number, feature),
            "unit": feature.unit,
            "contribution": round(share, 4),
        }
