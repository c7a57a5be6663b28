"""The warfarin dose: the published equations, genes that lower it, and what it keeps silent on."""

import csv
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from models import registry
from models.payloads import Note, Table
from models.warfarin_dose import equations
from models.warfarin_dose.evaluate import within_20_percent
from models.warfarin_dose.iwpc import read, refused
from models.warfarin_dose.patient import Patient, cyp2c9, vkorc1
from tests import patients

IWPC = patients.DATA / "treatment" / "iwpc_train.csv"
needs_data = pytest.mark.skipif(not IWPC.is_file(), reason="needs the data folder: set WETREAD_DATA")
WILD = {"CYP2C9": "*1/*1", "rs9923231": "C/C"}
examine = partial(patients.examine, "warfarin-dose")


def patient(genotype: dict[str, str] | None = None, **changed: float | str) -> Table:
    found = patients.patient("warfarin-dose", **changed)
    return replace(found, genotype=WILD if genotype is None else genotype)


def dose(payload: Table) -> float:
    value = examine(payload).findings[0].value
    assert value is not None
    return value


# 5.6044 - .2614*6 + .0087*170 + .0128*80 - .8677 = 5.6713 (A/G, *1/*1, White, no drugs); squared 32.16
def test_the_published_equation_by_hand() -> None:
    told = Patient(decade=6, height=170, weight=80, race="white", vkorc1="A/G", cyp2c9="*1/*1")
    assert equations.dose(equations.pharmacogenetic(told)) == pytest.approx(32.164, abs=0.01)


# 4.0376 - .2546*6 + .0118*170 + .0134*80 - .5695 = 5.0185 (White, amiodarone); squared 25.19
def test_the_clinical_equation_by_hand() -> None:
    told = Patient(decade=6, height=170, weight=80, race="white", amiodarone=1.0)
    assert equations.dose(equations.clinical(told)) == pytest.approx(25.185, abs=0.01)


# NEJM 2009;360:753: 46.0 and 38.4 % of their validation patients; other patients of the same cohort here
@needs_data
def test_the_equations_reach_the_paper_s_figures_on_its_data() -> None:
    known, doses = read(IWPC)
    told = np.array([equations.dose(equations.pharmacogenetic(p)) for p in known])
    plain = np.array([equations.dose(equations.clinical(p)) for p in known])
    assert within_20_percent(doses, told) == pytest.approx(46.0, abs=1.5)
    assert within_20_percent(doses, plain) == pytest.approx(38.4, abs=1.5)


def stable() -> list[dict[str, str]]:
    """The file's rows with a stable dose, by csv alone."""
    with IWPC.open(encoding="utf-8-sig", newline="") as stream:
        return [
            row
            for row in csv.DictReader(stream)
            if row["Subject Reached Stable Dose of Warfarin"] in ("1", "1.0")
            and row["Therapeutic Dose of Warfarin"]
        ]


@needs_data
def test_every_stable_dose_of_the_file_is_read() -> None:
    doses = [float(row["Therapeutic Dose of Warfarin"]) for row in stable()]
    assert read(IWPC)[1].tolist() == doses


@needs_data
def test_a_row_counts_as_answered_only_where_a_table_of_it_would_be() -> None:
    rare = ("*1/*5", "*1/*6", "*1/*11", "*1/*14")
    silent = [
        not all(row[column] for column in ("Height (cm)", "Weight (kg)", "Age"))
        or row["Age"] == "10 - 19"
        or row["CYP2C9 consensus"] in rare
        for row in stable()
    ]
    counted = refused(IWPC)
    assert all(counted[place] for place in np.flatnonzero(silent))
    assert sum(counted) - sum(silent) < 0.01 * len(counted)  # the few aimed at, or measured, beyond the range


def test_a_page_tells_values_in_words_with_their_units() -> None:
    shown = patient(age=61.0, amiodarone_use="yes")
    page = registry.family("warfarin-dose").render(shown, examine(shown).findings, {}).content.decode()
    assert ">age 61 years<" in page
    assert ">amiodarone: yes<" in page
    assert "mg a week" in page
    assert "_" not in page.partition("What moves the dose")[2]


def test_within_20_percent_counts_the_edge() -> None:
    assert within_20_percent(np.array([50.0, 50.0, 50.0]), np.array([40.0, 60.0, 61.0])) == pytest.approx(
        200 / 3
    )


def test_genes_that_slow_warfarin_lower_the_dose() -> None:
    assert dose(patient({"CYP2C9": "*3/*3", "rs9923231": "C/C"})) < dose(patient())
    assert dose(patient({"CYP2C9": "*1/*1", "rs9923231": "T/T"})) < 0.7 * dose(patient())


def test_the_daily_dose_is_a_seventh() -> None:
    week, day = examine(patient()).findings
    assert (week.unit, day.unit) == ("mg/wk", "mg/d")
    assert day.value == pytest.approx((week.value or 0) / 7, abs=0.01)


def test_without_genes_the_clinical_equation_answers_and_says_so() -> None:
    week = examine(patient({})).findings[0]
    assert week.qualifier == "without-genotype"
    assert "VKORC1" in str(week.evidence["why"])
    assert week.value == pytest.approx(week.evidence["equation_mg_per_week"], abs=0.06)


@pytest.mark.parametrize(
    ("genotype", "expected"),
    [
        ({"rs9923231": "C/T"}, "A/G"),
        ({"rs9923231": "T|T"}, "A/A"),
        ({"rs9923231": "G/A"}, "A/G"),
        ({"VKORC1": "Reference/rs9923231"}, "A/G"),
        ({"rs9934438": "G/G"}, "G/G"),
        ({"rs2359612": "A/A"}, ""),
        ({}, ""),
    ],
)
def test_vkorc1_is_told_on_either_strand_and_from_linked_variants(
    genotype: dict[str, str], expected: str
) -> None:
    assert vkorc1(genotype, "black") == expected


def test_cyp2c9_is_told_from_its_two_positions() -> None:
    assert cyp2c9({"rs1799853": "C/T", "rs1057910": "A/C"}) == "*2/*3"
    assert cyp2c9({"rs1799853": "C/C"}) == ""


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"age": 12}, "not-an-adult"),
        ({"weight": 300}, "out-of-range"),
        ({"target_inr": 4.5}, "target-inr"),
        ({"height": float("nan")}, "missing-value"),
    ],
)
def test_it_keeps_silent_where_it_was_not_made_for(changed: dict[str, float], code: str) -> None:
    assert str(examine(patient(**changed)).reason).startswith(code)


def test_an_allele_that_was_not_learnt_is_not_guessed() -> None:
    assert str(examine(patient({"CYP2C9": "*1/*8", "rs9923231": "C/C"})).reason).startswith(
        "allele-not-learnt"
    )


def test_a_note_abstains_alone() -> None:
    first, second = patients.opened("warfarin-dose").examine([Note(text="warfarin 5 mg"), patient()])
    assert str(first.reason).startswith("not-a-table")
    assert second.findings
