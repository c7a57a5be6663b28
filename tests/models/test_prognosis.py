"""The prognosis families on patients: curves, order of risk, and what they keep silent on."""

from typing import Any

import numpy as np
import pytest

from db.records import Diagnosis
from models import registry
from models.payloads import Note, Table
from models.survival import study
from models.survival.measure import c_index
from models.survival.model import Prognosis
from tests import patients

DATA = patients.DATA / "survival"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the data folder: set WETREAD_DATA")
NAMES = ("gbsg", "metabric", "support", "whas")
names = pytest.mark.parametrize("name", NAMES)


def model(name: str) -> Prognosis:
    opened = patients.opened(f"prognosis-{name}")
    assert isinstance(opened, Prognosis)
    return opened


def patient(name: str, **changed: float | str) -> Table:
    return patients.patient(f"prognosis-{name}", **changed)


def examine(name: str, payload: Any) -> Diagnosis:
    return patients.examine(f"prognosis-{name}", payload)


def risk(name: str, **changed: float | str) -> float:
    found = examine(name, patient(name, **changed)).findings[0].probability
    assert found is not None
    return found


@names
def test_risk_grows_with_time_and_stands_in_its_interval(name: str) -> None:
    risks = [f for f in examine(name, patient(name)).findings if f.probability is not None]
    told = [float(f.probability or 0) for f in risks]
    assert told == sorted(told)
    for finding, value in zip(risks, told, strict=True):
        low, high = finding.evidence["interval"]  # type: ignore[misc]
        assert low - 1e-3 <= value <= high + 1e-3


@names
def test_contributions_are_of_the_features_that_were_given(name: str) -> None:
    told: Any = examine(name, patient(name)).findings[0].evidence["contributions"]
    assert {c["feature"] for c in told} == set(model(name).study.names)


@pytest.mark.parametrize(
    ("name", "worse"),
    [
        ("gbsg", {"positive_nodes": 20.0}),
        ("metabric", {"age": 88.0}),
        ("support", {"cancer": "metastatic"}),
        ("whas", {"age": 95.0}),
    ],
)
def test_what_is_known_to_shorten_life_raises_the_risk(name: str, worse: dict[str, float | str]) -> None:
    assert risk(name, **worse) > risk(name)


@names
def test_a_value_that_is_not_known_is_not_filled_in(name: str) -> None:
    whole = dict(patient(name).values)
    whole.pop("age")
    found = examine(name, Table(values=whole))
    assert found.abstained
    assert str(found.reason).startswith("missing-value")


@names
def test_a_child_is_outside_every_study(name: str) -> None:
    assert str(examine(name, patient(name, age=6.0)).reason).startswith("out-of-range")


def test_a_category_that_the_study_did_not_have_is_refused() -> None:
    assert str(examine("gbsg", patient("gbsg", menopause="around")).reason).startswith("unknown-category")


def test_a_note_abstains_alone() -> None:
    first, second = model("whas").examine([Note(text="infarction"), patient("whas")])
    assert str(first.reason).startswith("not-a-table")
    assert second.findings


@names
def test_a_row_of_a_file_counts_as_answered_within_the_study_s_range_alone(name: str) -> None:
    served = model(name).study
    row = served.row(patient(name))
    changed = np.repeat(row[None], 4, axis=0)
    changed[1:, served.names.index("age")] = [6.0, 140.0, np.nan]
    assert served.answers(changed).tolist() == [True, False, False, False]


@pytest.mark.parametrize(("name", "told"), [("gbsg", "positive nodes 6"), ("support", "heart rate 118 /min")])
def test_a_page_tells_values_in_words_with_their_units(name: str, told: str) -> None:
    found = registry.family(f"prognosis-{name}")
    page = found.render(patient(name), examine(name, patient(name)).findings, {}).content.decode()
    assert f">{told}<" in page
    assert "_" not in page.partition("What moves the hazard")[2]


@needs_data
def test_the_mark_of_the_cases_tells_who_died() -> None:
    with np.load(DATA / "whas_train.npz") as stored:
        assert stored["e"][stored["x"][:, 0] == 1].all()  # why the column is not used


@needs_data
@names
def test_served_weights_order_the_rows_they_learnt_from(name: str) -> None:
    whole = study.cohort(model(name).study, DATA / f"{name}_train.npz")
    rows = whole.take(np.arange(0, len(whole.t), 4))  # some files are sorted
    assert c_index(rows.t, rows.e, model(name).score(rows.x)) > 0.6
