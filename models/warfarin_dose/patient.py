"""A patient as the dose models see one, from a table with genotype."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from db.errors import Abstained
from models.payloads import Table

ADULT, OLDEST = 18, 100
HEIGHTS, WEIGHTS = (125.0, 205.0), (34.0, 240.0)  #: the range learnt, cm and kg
TARGETS = (1.7, 3.5)  #: INR
TO_GENE_STRAND = {"C": "G", "T": "A", "G": "G", "A": "A"}  #: rs9923231 as a VCF has it, and as IWPC writes it
KNOWN_CYP2C9 = ("*1/*1", "*1/*2", "*1/*3", "*2/*2", "*2/*3", "*3/*3")
#: variants linked with VKORC1 -1639, as a VCF has them (plus strand): alleles -> -1639 G>A, in all races
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
