"""The IWPC's file: its rows as patients with their stable doses, and which of them would be answered."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from db.errors import Abstained
from models.payloads import Table
from models.warfarin_dose.patient import INDICATIONS, KNOWN_CYP2C9, Patient, of

#: linked variants of VKORC1 as IWPC writes them (gene strand): column, alleles -> -1639 G>A, in all races
LINKED = (
    ("VKORC1 1173 consensus", {"C/C": "G/G", "C/T": "A/G", "T/T": "A/A"}, True),
    ("VKORC1 2255 consensus", {"C/C": "G/G", "C/T": "A/G", "T/T": "A/A"}, False),
    ("VKORC1 1542 consensus", {"G/G": "G/G", "C/G": "A/G", "C/C": "A/A"}, False),
)


def read(path: Path) -> tuple[list[Patient], NDArray[np.float64]]:
    """(patients, weekly doses in mg) of those rows of an IWPC file that reached a stable dose.

    Height, weight and age that are missing are filled in with the median of patients of the same
    sex and race. Raises ValueError when the file has not IWPC's columns.
    """
    rows = _stable(path)
    return _filled([_row(row) for row in rows]), np.array(
        [_value(r["Therapeutic Dose of Warfarin"]) for r in rows]
    )


def refused(path: Path) -> list[bool]:
    """Of the same rows, whether the model would keep silent on such a patient for what `of` asks.

    A row is told as a table would tell it: nothing is filled in, and an age is the middle of its ten years.
    """
    return [_refused(row) for row in _stable(path)]


def _refused(row: Mapping[str, str]) -> bool:
    told = {
        "height": _value(row["Height (cm)"]),
        "weight": _value(row["Weight (kg)"]),
        "target_inr": _target(row),
    }
    if row["Age"][:1].isdigit():
        told["age"] = 10.0 * int(row["Age"][0]) + 5
    known = {name: value for name, value in told.items() if not np.isnan(value)}
    alleles = row["CYP2C9 consensus"]
    try:
        of(Table(values=known, genotype={"CYP2C9": alleles} if alleles.startswith("*") else {}))
    except Abstained:
        return True
    return False


def _stable(path: Path) -> list[dict[str, str]]:
    """The rows that reached a stable dose."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or "Therapeutic Dose of Warfarin" not in rows[0]:
        raise ValueError("the file has no column 'Therapeutic Dose of Warfarin'; expected the IWPC's csv")
    return [
        r
        for r in rows
        if _value(r["Therapeutic Dose of Warfarin"]) > 0
        and _value(r["Subject Reached Stable Dose of Warfarin"]) == 1
    ]


def _value(cell: str) -> float:
    words = {"YES": 1.0, "NO": 0.0}
    try:
        return (
            words.get(cell.strip().upper(), float("nan")) if not cell.strip()[:1].isdigit() else float(cell)
        )
    except ValueError:
        return float("nan")


def _any(row: Mapping[str, str], *columns: str) -> float:
    return float(any(_value(row[c]) == 1 for c in columns))


def _row(row: Mapping[str, str]) -> Patient:
    race = {"Asian": "asian", "Black or African American": "black", "White": "white"}.get(
        row["Race (OMB)"], ""
    )
    reported = row["Race (Reported)"].lower()
    ancestry = next((a for a in ("japanese", "korean", "chinese") if a in reported), "")
    return Patient(
        decade=float(row["Age"][0]) if row["Age"][:1].isdigit() else np.nan,
        height=_value(row["Height (cm)"]),
        weight=_value(row["Weight (kg)"]),
        male={"male": 1.0, "female": 0.0}.get(row["Gender"], np.nan),
        race=race,
        ancestry=ancestry,
        vkorc1=_imputed(row, race),
        cyp2c9=row["CYP2C9 consensus"] if row["CYP2C9 consensus"] in KNOWN_CYP2C9 else "",
        amiodarone=_any(row, "Amiodarone (Cordarone)"),
        enzyme_inducer=_any(
            row, "Carbamazepine (Tegretol)", "Phenytoin (Dilantin)", "Rifampin or Rifampicin"
        ),
        inhibitor=_any(row, "Anti-fungal Azoles", "Sulfonamide Antibiotics"),
        statin=_any(row, *(c for c in row if "statin (" in c)),
        aspirin=_value(row["Aspirin"]),
        smoker=_value(row["Current Smoker"]),
        diabetes=_value(row["Diabetes"]),
        heart_failure=_value(row["Congestive Heart Failure and/or Cardiomyopathy"]),
        valve=_value(row["Valve Replacement"]),
        indications=frozenset(
            n for n, code in INDICATIONS.items() if code in row["Indication for Warfarin Treatment"]
        ),
        target=_range(row),
    )


def _target(row: Mapping[str, str]) -> float:
    """The INR that is aimed at, or the middle of its range; NaN where nobody said."""
    told = _value(row["Target INR"])
    if np.isnan(told):
        ends = [_value(e) for e in row["Estimated Target INR Range Based on Indication"].split("-")]
        told = float(np.mean(ends)) if len(ends) == 2 else np.nan
    return told


def _range(row: Mapping[str, str]) -> str:
    told = _target(row)
    return "high" if told >= 3 else "low" if told <= 2.3 else ""


def _imputed(row: Mapping[str, str], race: str) -> str:
    """-1639 G>A as typed, else from linked variants by the IWPC's rules (appendix, S1)."""
    raw = next((row[c] for c in row if "rs9923231" in c and row[c] in ("A/A", "A/G", "G/G")), "")
    told = row["VKORC1     -1639 consensus"] or raw
    if told in ("A/A", "A/G", "G/G"):
        return told
    for column, means, everyone in LINKED:
        if row[column] and (everyone or race in ("white", "asian")):
            return means.get(row[column], "")
    return ""


def _filled(patients: list[Patient]) -> list[Patient]:
    def middle(name: str, like: Patient) -> float:
        known = [getattr(p, name) for p in patients if not np.isnan(getattr(p, name))]
        near = [
            getattr(p, name)
            for p in patients
            if p.race == like.race and p.male == like.male and not np.isnan(getattr(p, name))
        ]
        return float(np.median(near or known))

    table: dict[tuple[str, str, float], float] = {}
    for name in ("decade", "height", "weight"):
        for patient in patients:
            if np.isnan(getattr(patient, name)) and (name, patient.race, patient.male) not in table:
                table[name, patient.race, patient.male] = middle(name, patient)

    def value(name: str, p: Patient) -> float:
        known = float(getattr(p, name))
        return table[name, p.race, p.male] if np.isnan(known) else known

    return [
        replace(p, decade=value("decade", p), height=value("height", p), weight=value("weight", p))
        for p in patients
    ]
