"""Coronary disease from a table: answers, evidence, and when it keeps silent."""

import functools
import os
from pathlib import Path

import pytest

from db.records import Diagnosis
from models import registry
from models.heart_disease import evaluate, example
from models.payloads import Note, Payload, Table, Value
from models.tabular.model import TabularModel

DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
SET = DATA / "tabular" / "heart.c.arff"


@functools.cache
def model() -> TabularModel:
    opened = registry.load("heart-disease", "cpu")
    assert isinstance(opened, TabularModel)
    return opened


def examine(payload: Payload) -> Diagnosis:
    return model().examine([payload])[0]


def patient(**changes: Value | None) -> Table:
    known = example()
    assert isinstance(known, Table)
    values = {**known.values, **changes}
    return Table(values={name: value for name, value in values.items() if value is not None})


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
    together = model().examine([patient(), Table(values={}), patient(**HEALTHY)])
    assert [d.abstained for d in together] == [False, True, False]
    assert together[2] == examine(patient(**HEALTHY))


@pytest.mark.skipif(not SET.is_file(), reason="needs the data folder: set WETREAD_DATA")
def test_folds_reach_what_logistic_regression_published() -> None:
    found = evaluate.evaluate(SET, folds=3)
    assert found["n"] == 303
    assert found["accuracy"]["value"] > 0.77  # Detrano 1989
