"""A result in a few words: named, measured and answered as a clinician reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from console.wording import lasting, measured, moment, named, outcome, read_by


def result(meaning: str = "m", code: str = "c", **more: Any) -> dict[str, Any]:
    return {
        "finding": {"code": code, "system": "s", "meaning": meaning}, "site": None, "value": None,
        "unit": None, "evidence": {}, "probability": None, "threshold": None, "positive": None,
        "qualifier": None, "abstained": False, "reason": None, "partial": False, "status": "preliminary",
        **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (result(positive=True), "positive"),
        (result(positive=False), "negative"),
        (result(positive=False, qualifier="negated"), "negated"),
        (result(value=2070.0, unit="mm3"), "measured"),
        (result(value=35.1, qualifier="without-genotype"), "measured, without-genotype"),
        (result(positive=True, evidence={"kind": "recommendation"}), "other than usual"),
        (result(positive=False, evidence={"kind": "recommendation"}), "as usual"),
        (result(positive=False, abstained=True, reason="unlike: x"), "abstained: unlike: x"),
        (result(positive=True, partial=True, status="superseded"), "positive (partial, superseded)"),
    ],
)  # fmt: skip
def test_an_answer_is_a_word(row: dict[str, Any], said: str) -> None:
    assert outcome(row) == said


def test_a_unit_is_said_without_the_braces_of_its_annotation() -> None:
    assert measured(result(value=-2.3456, unit="{log10(mol/L)}")) == "-2.35 log10(mol/L)"
    assert measured(result(value=1.5, unit="1")) == "1.5"


def test_a_long_number_is_rounded_and_its_unit_written_out() -> None:
    assert measured(result(value=35.1234, unit="mg/wk")) == "35.1 mg a week"
    assert measured(result(value=2070.34, unit="mm3")) == "2070 mm3"


def test_a_genotype_is_said_beside_its_score() -> None:
    row = result(value=1.0, unit="{score}", evidence={"diplotype": "*1/*4"})
    assert measured(row) == "*1/*4, 1 score"


def test_a_risk_is_not_said_twice() -> None:
    assert measured(result(value=0.4692, unit="1", probability=0.469223)) == ""


def test_a_site_is_named_once() -> None:
    assert named(result("Peptide", "p", site="record 2")) == "Peptide, record 2 (p)"
    assert named(result("CYP2C9 Poor Metabolizer", "p", site="CYP2C9")) == "CYP2C9 Poor Metabolizer (p)"


def test_a_drug_s_finding_is_named_as_the_recommendation_that_it_is() -> None:
    row = result("codeine", "2670", evidence={"kind": "recommendation"})
    assert named(row) == "Recommendation for codeine (2670)"


def test_what_no_model_reads_has_neither_name_nor_version() -> None:
    row = {**result(model="none", model_version="1"), "finding": None}
    assert (named(row), read_by(row)) == ("-", "no model")
    assert read_by(result(model="chest-xray", model_version="1.0.0")) == "chest-xray 1.0.0"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h 0 min"),
     (7500, "2 h 5 min"), (86_399, "23 h 59 min"), (273_600, "3 d 4 h")],
)  # fmt: skip
def test_a_stretch_of_time_is_said_in_two_units_at_most(seconds: float, said: str) -> None:
    assert lasting(seconds) == said


def test_a_time_ahead_of_this_clock_is_no_negative_age() -> None:
    now = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
    assert moment(now + timedelta(seconds=3), now).endswith(", 0.0 s ago")
