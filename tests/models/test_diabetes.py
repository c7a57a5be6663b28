"""Diabetes within five years from a table: direction, the set's zeros, and silence."""

from functools import partial

import numpy as np
import pytest

from models.diabetes import HERE
from models.payloads import Note, Payload
from models.tabular import measure, recipe, rows
from tests import patients

SET = patients.DATA / "tabular" / "diabetes.arff"
needs_data = pytest.mark.skipif(not SET.is_file(), reason="needs the data folder: set WETREAD_DATA")
examine = partial(patients.examine, "diabetes")
patient = partial(patients.patient, "diabetes")


@pytest.mark.parametrize("name", ["glucose_2h", "bmi", "pedigree"])
def test_more_of_what_raises_the_risk_raises_it(name: str) -> None:
    low, high = {"glucose_2h": (90, 180), "bmi": (22, 42), "pedigree": (0.15, 1.4)}[name]
    below, above = (examine(patient(**{name: v})).findings[0].probability for v in (low, high))
    assert below < above  # type: ignore[operator]


@needs_data
def test_zeros_that_no_living_woman_has_are_not_known() -> None:
    own = recipe.read(HERE)
    table = rows.load(SET, own).rows
    unknown = dict(zip(own.features, np.isnan(table).sum(0).tolist(), strict=True))
    # the counts of zeros that the set is known for
    assert unknown == {
        "pregnancies": 0, "glucose_2h": 5, "diastolic_pressure": 35, "triceps_skinfold": 227,
        "insulin_2h": 374, "bmi": 11, "pedigree": 0, "age": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (Note(text="thirst"), "not-a-table"),
        (patient(bmi=None), "too-little-known"),
        (patient(age=12), "out-of-range"),
        (patient(sex="male"), "out-of-range"),
    ],
)
def test_abstains_with_its_reason(payload: Payload, code: str) -> None:
    assert str(examine(payload).reason).startswith(f"{code}: ")


def test_a_woman_s_table_may_say_so() -> None:
    assert examine(patient(sex="female")) == examine(patient())


@needs_data
def test_folds_reach_what_was_published() -> None:
    one = recipe.read(HERE).model_copy(update={"divisions": 1})  # five take as long as they are many
    assert measure.evaluate(one, SET, 3)["auc"]["value"] > 0.81
