"""Coronary disease from a table: answers, evidence, and when it keeps silent."""

from functools import partial

import pytest

from models import registry
from models.heart_disease import evaluate
from models.payloads import Note, Payload, Table, Value
from tests import patients

SET = patients.DATA / "tabular" / "heart.c.arff"
examine = partial(patients.examine, "heart-disease")
patient = partial(patients.patient, "heart-disease")

HEALTHY: dict[str, Value] = {
    "chest_pain": "non_anginal", "exercise_angina": "no", "st_depression": 0, "st_slope": "up",
    "vessels": "0", "thallium": "normal", "max_heart_rate": 170, "sex": "female", "age": 45,
}  # fmt: skip


def test_a_sick_and_a_healthy_patient_are_told_apart() -> None:
    sick, healthy = (examine(p).findings[0] for p in (patient(), patient(**HEALTHY)))
    assert sick.positive
    assert not healthy.positive
    assert sick.probability > 0.9  # type: ignore[operator]
    assert healthy.probability < 0.1  # type: ignore[operator]


def test_contributions_sum_to_the_log_odds() -> None:
    seen = examine(patient()).findings[0].evidence
    added = sum(c["contribution"] for c in seen["contributions"])  # type: ignore[attr-defined]
    assert seen["baseline"] + added == pytest.approx(seen["total"], abs=0.01)  # type: ignore[operator]


def test_a_page_tells_values_in_words_with_their_units() -> None:
    shown = patient(thallium=None, systolic_pressure=142.04)
    page = registry.family("heart-disease").render(shown, examine(shown).findings, {}).content.decode()
    assert ">systolic pressure 142 mmHg<" in page
    assert ">ST slope: flat<" in page
    assert "Not known: thallium scintigram." in page


def test_what_is_not_known_is_named() -> None:
    seen = examine(patient(thallium=None)).findings[0].evidence
    assert seen["missing"] == ["thallium"]
    assert seen["missing_share"] == pytest.approx(1 / 13, abs=1e-4)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (Note(text="chest pain"), "not-a-table"),
        (Table(values={}), "too-little-known"),
        (patient(chest_pain=None), "too-little-known"),
        (patient(age=8), "out-of-range"),
        (patient(chest_pain="in the toe"), "out-of-range"),
        (patient(cholesterol=float("nan")), "out-of-range"),
    ],
)
def test_abstains_with_its_reason(payload: Payload, code: str) -> None:
    assert str(examine(payload).reason).startswith(f"{code}: ")


def test_one_bad_table_abstains_alone() -> None:
    together = patients.opened("heart-disease").examine([patient(), Table(values={}), patient(**HEALTHY)])
    assert [d.abstained for d in together] == [False, True, False]
    assert together[2] == examine(patient(**HEALTHY))


@pytest.mark.skipif(not SET.is_file(), reason="needs the data folder: set WETREAD_DATA")
def test_folds_reach_what_logistic_regression_published() -> None:
    found = evaluate.evaluate(SET, folds=3)
    assert found["n"] == 303
    assert found["accuracy"]["value"] > 0.77  # Detrano 1989
