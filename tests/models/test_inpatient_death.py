"""The risk of death in hospital from a table: direction, calibration, what is not read, and silence."""

from functools import partial
from pathlib import Path

import pytest

from models.inpatient_death import HERE, evaluate
from models.payloads import Payload, Sequences, Table, Value
from models.tabular import recipe
from tests import patients

SET = patients.DATA / "tabular" / "support2_train.csv"
# what the data set's protocol counts as leaking, and what is no matter of physiology
LEAKING = (
    "sps",
    "aps",
    "charges",
    "totcst",
    "totmcst",
    "avtisst",
    "surv2m",
    "surv6m",
    "prg2m",
    "prg6m",
    "dnr",
)
LEAKING += ("dnrday", "sfdm2", "hday", "slos", "d.time", "death", "race", "income", "edu", "sno")
examine = partial(patients.examine, "inpatient-death")
patient = partial(patients.patient, "inpatient-death")


def risk(table: Table) -> float:
    (finding,) = examine(table).findings
    assert finding.value == finding.probability is not None
    return finding.probability


@pytest.mark.parametrize(
    "worse",
    [{"coma_score": 100}, {"mean_arterial_pressure": 35}, {"age": 92}, {"pao2_fio2": 55}, {"bilirubin": 20}],
)
def test_the_sicker_are_at_higher_risk(worse: dict[str, Value]) -> None:
    assert risk(patient(**worse)) > risk(patient())


def test_no_leaking_column_is_read() -> None:
    own = recipe.read(HERE)
    read = {own.columns.get(name, name) for name in own.features}
    assert not read & set(LEAKING)


def test_a_table_without_daily_living_is_not_read_as_a_patient_too_ill_to_answer() -> None:
    none = patient(adl=None, adl_surrogate=None, adl_patient=None)
    (finding,) = examine(none).findings
    assert finding.evidence["ensemble"] == "without adl_patient, adl_surrogate, adl"
    shares = {c["feature"]: c["contribution"] for c in finding.evidence["contributions"]}  # type: ignore[attr-defined]
    assert abs(shares["adl_patient"]) < 1e-6
    assert examine(patient()).findings[0].evidence["ensemble"] == "main"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (Sequences(records=("ACGT",), alphabet="dna"), "not-a-table"),
        (patient(creatinine=None), "too-little-known"),
        (Table(values=dict(list(patient().values.items())[:9])), "too-little-known"),
        (patient(age=5), "out-of-range"),
        (patient(disease_group="hiccups"), "out-of-range"),
    ],
)
def test_abstains_with_its_reason(payload: Payload, code: str) -> None:
    assert str(examine(payload).reason).startswith(f"{code}: ")


@pytest.mark.skipif(not SET.is_file(), reason="needs the data folder: set WETREAD_DATA")
def test_a_file_in_the_set_s_layout_is_measured_with_its_subgroups(tmp_path: Path) -> None:
    lines = SET.read_text("utf-8").splitlines()
    part = tmp_path / "part.csv"
    part.write_text("\n".join([lines[0], *lines[1::12]]))
    found = evaluate.evaluate(part)
    assert found["n"] == len(lines[1::12])
    assert found["auc"]["value"] > 0.8
    assert {"auc_sex_female", "auc_sex_male", "auc_race_white", "brier", "calibration_slope"} <= set(found)
    plotted = evaluate.curves(part)
    assert len(plotted["y"]) == len(plotted["p"]) == len(plotted["groups"]["race"]) == found["n"]
