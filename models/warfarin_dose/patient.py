"""A patient as the dose models see one: from a table with genotype, or from a row of the IWPC's file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from db.errors import Abstained
from models.payloads import Table

ADULT, OLDEST = 18, 100
HEIGHTS, WEIGHTS = (125.0, 205.0), (34.0, 240.0)  #: the range learnt, cm and kg
TARGETS = (1.7, 3.5)  #: INR
TO_GENE_STRAND = {"C": "G", "T": "A", "G": "G", "A": "A"}  #: rs9923231 as a VCF has it, and as IWPC writes it
KNOWN_CYP2C9 = ("*1/*1", "*1/*2", "*1/*3", "*2/*2", "*2/*3", "*3/*3")
#: linked variants of VKORC1 as IWPC writes them (gene strand): column, alleles -> -1639 G>A, in all races
LINKED = (
    ("VKORC1 1173 consensus", {"C/C": "G/G", "C/T": "A/G", "T/T": "A/A"}, True),
    ("VKORC1 2255 consensus", {"C/C": "G/G", "C/T": "A/G", "T/T": "A/A"}, False),
    ("VKORC1 1542 consensus", {"G/G": "G/G", "C/G": "A/G", "C/C": "A/A"}, False),
)
#: the same, as a VCF has them (plus strand)
LINKED_RSIDS = (
    ("rs9934438", {"G/G": "G/G", "A/G": "A/G", "A/A": "A/A"}, True),
    ("rs2359612", {"G/G": "G/G", "A/G": "A/G", "A/A": "A/A"}, False),
)
INDICATIONS = {
    "deep_vein_thrombosis": "1", "pulmonary_embolism": "2", "atrial_fibrillation": "3", "heart_valve": "4",
    "joint_replacement": "5", "stroke": "6", "cardiomyopathy": "7", "other": "8",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Patient:
    """What is known before the first dose. 0/1 answers are NaN where nobody said."""

    decade: float  #: tens of years, whole
    height: float  #: cm
    weight: float  #: kg
    male: float = np.nan
    race: str = ""  #: "asian", "black", "white", "" for any other or none given
    ancestry: str = ""  #: "japanese", "korean", "chinese", "" for any other or none given
    vkorc1: str = ""  #: -1639 G>A on the gene's strand: "G/G", "A/G", "A/A", "" not known
    cyp2c9: str = ""  #: "*1/*3", "" not known
    amiodarone: float = 0.0
    enzyme_inducer: float = 0.0  #: carbamazepine, phenytoin or rifampicin
    inhibitor: float = 0.0  #: azole or sulphonamide
    statin: float = 0.0
    aspirin: float = np.nan
    smoker: float = np.nan
    diabetes: float = np.nan
    heart_failure: float = np.nan
    valve: float = np.nan  #: replaced heart valve
    indications: frozenset[str] = frozenset()
    target: str = ""  #: "low" (INR up to 2.3 in the middle), "high" (from 3), "" usual or not said

    @property
    def genes(self) -> bool:
        """Whether VKORC1, which says most, is known."""
        return bool(self.vkorc1)


def of(payload: Table) -> Patient:
    """The patient of a table. Raises Abstained with the reason why no dose is told."""
    values = payload.values
    age, height, weight = (_number(values, name) for name in ("age", "height", "weight"))
    if age < ADULT:
        raise Abstained("not-an-adult", "the equations were made for adults")
    for name, value, (low, high) in (
        ("age", age, (ADULT, OLDEST)), ("height", height, HEIGHTS), ("weight", weight, WEIGHTS),
    ):  # fmt: skip
        if not low <= value <= high:
            raise Abstained("out-of-range", f"{name} lies outside {low:g} to {high:g}, the range learnt")
    race = str(values.get("race", ""))
    return Patient(
        decade=float(age // 10),
        height=height,
        weight=weight,
        male={"male": 1.0, "female": 0.0}.get(str(values.get("sex", "")), np.nan),
        race=_race(race),
        ancestry=race if race in ("japanese", "korean", "chinese") else "",
        vkorc1=vkorc1(payload.genotype, _race(race)),
        cyp2c9=cyp2c9(payload.genotype),
        indications=frozenset({str(values["warfarin_indication"])} & set(INDICATIONS))
        if "warfarin_indication" in values
        else frozenset(),
        target=_target(values),
        **{name: _flag(values, f"{name}_use", 0.0) for name in ("amiodarone", "enzyme_inducer", "statin")},
        inhibitor=_flag(values, "azole_or_sulphonamide_use", 0.0),
        aspirin=_flag(values, "aspirin_use", np.nan),
        smoker=_flag(values, "smoker", np.nan),
        diabetes=_flag(values, "diabetes", np.nan),
        heart_failure=_flag(values, "heart_failure", np.nan),
        valve=_flag(values, "heart_valve_replaced", np.nan),
    )


def _number(values: Mapping[str, float | str], name: str) -> float:
    value = values.get(name)
    if value is None or isinstance(value, str) or not np.isfinite(value):
        raise Abstained("missing-value", f"{name} is not known, and the dose depends on it")
    return float(value)


def _flag(values: Mapping[str, float | str], name: str, unknown: float) -> float:
    return {"yes": 1.0, "no": 0.0}.get(str(values.get(name, "")), unknown)


def _race(word: str) -> str:
    return (
        "asian"
        if word in ("japanese", "korean", "chinese")
        else word
        if word in ("asian", "black", "white")
        else ""
    )


def _target(values: Mapping[str, float | str]) -> str:
    if "target_inr" not in values:
        return ""
    target = _number(values, "target_inr")
    if not TARGETS[0] <= target <= TARGETS[1]:
        raise Abstained(
            "target-inr", f"a target INR outside {TARGETS[0]} to {TARGETS[1]} was hardly seen in learning"
        )
    return "high" if target >= 3 else "low" if target <= 2.3 else ""


def _sorted(alleles: str) -> str:
    return "/".join(sorted(alleles.upper().replace("|", "/").split("/")))


def vkorc1(genotype: Mapping[str, str], race: str) -> str:
    """-1639 G>A from rs9923231, the pharmacogenomics diplotype, or a linked variant as IWPC imputed it."""
    told = genotype.get("rs9923231", "")
    if told:
        strand = "/".join(TO_GENE_STRAND.get(a, "?") for a in _sorted(told).split("/"))
        return strand if (strand := _sorted(strand)) in ("G/G", "A/G", "A/A") else ""
    pair = genotype.get("VKORC1", "")
    if pair:
        return {0: "G/G", 1: "A/G", 2: "A/A"}[min(pair.count("rs9923231"), 2)]
    for rsid, means, everyone in LINKED_RSIDS:
        if rsid in genotype and (everyone or race in ("white", "asian")):
            return means.get(_sorted(genotype[rsid]), "")
    return ""


def cyp2c9(genotype: Mapping[str, str]) -> str:
    """The diplotype as given, or from the positions of *2 and *3 when both are known.

    Raises Abstained `allele-not-learnt` for an allele other than *1, *2 and *3.
    """
    told = genotype.get("CYP2C9", "")
    if told:
        pair = "/".join(sorted(part.strip() for part in told.replace("|", "/").split("/")))
        if pair not in KNOWN_CYP2C9:
            raise Abstained(
                "allele-not-learnt",
                "CYP2C9 carries an allele other than *1, *2 and *3: too few were learnt from",
            )
        return pair
    if "rs1799853" in genotype and "rs1057910" in genotype:
        twos, threes = genotype["rs1799853"].upper().count("T"), genotype["rs1057910"].upper().count("C")
        names = ["*2"] * twos + ["*3"] * threes
        return "/".join(sorted((["*1"] * (2 - len(names)) + names)[:2])) if len(names) <= 2 else ""
    return ""


def read(path: Path) -> tuple[list[Patient], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """(patients, weekly doses in mg) of those rows of an IWPC file that reached a stable dose.

    Height, weight and age that are missing are filled in with the median of patients of the same
    sex and race. Raises ValueError when the file has not IWPC's columns.
    """
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or "Therapeutic Dose of Warfarin" not in rows[0]:
        raise ValueError("the file has no column 'Therapeutic Dose of Warfarin'; expected the IWPC's csv")
    stable = [
        r
        for r in rows
        if _value(r["Therapeutic Dose of Warfarin"]) > 0
        and _value(r["Subject Reached Stable Dose of Warfarin"]) == 1
    ]
    patients = [_row(row) for row in stable]
    return _filled(patients), np.array([_value(r["Therapeutic Dose of Warfarin"]) for r in stable])


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


def _range(row: Mapping[str, str]) -> str:
    told = _value(row["Target INR"])
    if np.isnan(told):
        ends = [
            float(e) for e in row["Estimated Target INR Range Based on Indication"].split("-") if e.strip()
        ]
        told = float(np.mean(ends)) if len(ends) == 2 else np.nan
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
