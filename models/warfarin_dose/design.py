"""Patients as matrices: with gaps for trees, which can do with them; filled, with interactions, for lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.warfarin_dose.patient import INDICATIONS, Patient

Floats = NDArray[np.float64]

#: column -> what it is called where the answer is explained
COLUMNS = {
    "decade": "age", "height": "height", "weight": "weight", "male": "sex", "asian": "race", "black": "race",
    "race_open": "race", "japanese": "race", "korean": "race", "chinese": "race", "vkorc1": "VKORC1",
    "cyp2c9_2": "CYP2C9", "cyp2c9_3": "CYP2C9", "amiodarone": "amiodarone",
    "enzyme_inducer": "enzyme_inducer",
    "inhibitor": "azole_or_sulphonamide", "statin": "statin", "aspirin": "aspirin", "smoker": "smoker",
    "diabetes": "diabetes", "heart_failure": "heart_failure", "valve": "heart_valve_replaced",
    "low_target": "target_inr", "high_target": "target_inr", **dict.fromkeys(INDICATIONS, "indication"),
}  # fmt: skip
NAMES = tuple(COLUMNS)
AT = {name: place for place, name in enumerate(NAMES)}
FILL = {"male": 0.5, "vkorc1": 1.0}  #: for the filled view; all else 0
GAPS = ("vkorc1", "cyp2c9_2", "aspirin", "smoker", "diabetes", "heart_failure", "valve")


def _row(p: Patient) -> list[float]:
    genes = [float({"G/G": 0, "A/G": 1, "A/A": 2}[p.vkorc1]) if p.vkorc1 else np.nan]
    genes += [float(p.cyp2c9.count(a)) if p.cyp2c9 else np.nan for a in ("*2", "*3")]
    race = [float(p.race == r) for r in ("asian", "black", "")]
    race += [float(p.ancestry == a) for a in ("japanese", "korean", "chinese")]
    drugs = [p.amiodarone, p.enzyme_inducer, p.inhibitor, p.statin, p.aspirin]
    body = [
        p.smoker,
        p.diabetes,
        p.heart_failure,
        p.valve,
        float(p.target == "low"),
        float(p.target == "high"),
    ]
    return [
        p.decade,
        p.height,
        p.weight,
        p.male,
        *race,
        *genes,
        *drugs,
        *body,
        *(float(i in p.indications) for i in INDICATIONS),
    ]


def matrix(patients: Sequence[Patient]) -> Floats:
    """(n, columns) with NaN where nobody said."""
    return np.array([_row(p) for p in patients], dtype=np.float64)


def filled(x: Floats) -> Floats:
    """(n, more columns) without gaps: flags of what was not known, shapes, and interactions."""
    known = np.where(np.isnan(x), np.array([FILL.get(n, 0.0) for n in NAMES]), x)
    column = {name: known[:, place] for name, place in AT.items()}
    one, two = (column["vkorc1"] == 1).astype(float), (column["vkorc1"] == 2).astype(float)
    more = [
        one,
        two,
        (column["cyp2c9_2"] == 2).astype(float),
        (column["cyp2c9_3"] == 2).astype(float),
        np.sqrt(column["height"] * column["weight"] / 3600),  # body surface (Mosteller 1987)
        column["black"] * one,
        column["asian"] * two,
        column["decade"] * column["vkorc1"],
        column["weight"] * column["vkorc1"],
        *(np.isnan(x[:, AT[name]]).astype(float) for name in GAPS),
    ]
    return np.column_stack([known, *more])
