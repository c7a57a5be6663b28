"""IWPC's pharmacogenetic and clinical equations of the warfarin dose (NEJM 2009;360:753, appendix)."""

from __future__ import annotations

from collections.abc import Mapping

from models.warfarin_dose.patient import Patient

VKORC1 = {"G/G": 0.0, "A/G": -0.8677, "A/A": -1.6974, "": -0.4854}
CYP2C9 = {
    "*1/*1": 0.0,
    "*1/*2": -0.5211,
    "*1/*3": -0.9357,
    "*2/*2": -1.0616,
    "*2/*3": -1.9206,
    "*3/*3": -2.3312,
}
CYP2C9_UNKNOWN = -0.2188
RACE = {"asian": -0.1092, "black": -0.2760, "white": 0.0}
RACE_UNKNOWN = -0.1032
CLINICAL_RACE = {"asian": -0.6752, "black": 0.4060, "white": 0.0}
CLINICAL_RACE_UNKNOWN = 0.0443


def pharmacogenetic(patient: Patient) -> dict[str, float]:
    """Terms of the square root of the weekly dose in mg, by what they stand for."""
    return {
        "baseline": 5.6044,
        "age": -0.2614 * patient.decade,
        "height": 0.0087 * patient.height,
        "weight": 0.0128 * patient.weight,
        "VKORC1": VKORC1[patient.vkorc1],
        "CYP2C9": CYP2C9.get(patient.cyp2c9, CYP2C9_UNKNOWN),
        "race": RACE.get(patient.race, RACE_UNKNOWN),
        "enzyme_inducer": 1.1816 * patient.enzyme_inducer,
        "amiodarone": -0.5503 * patient.amiodarone,
    }


def clinical(patient: Patient) -> dict[str, float]:
    """As `pharmacogenetic`, for a patient whose genes are not known."""
    return {
        "baseline": 4.0376,
        "age": -0.2546 * patient.decade,
        "height": 0.0118 * patient.height,
        "weight": 0.0134 * patient.weight,
        "race": CLINICAL_RACE.get(patient.race, CLINICAL_RACE_UNKNOWN),
        "enzyme_inducer": 1.2799 * patient.enzyme_inducer,
        "amiodarone": -0.5695 * patient.amiodarone,
    }


def dose(terms: Mapping[str, float]) -> float:
    """mg a week."""
    return max(sum(terms.values()), 0.0) ** 2
