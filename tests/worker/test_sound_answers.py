"""A model's answer is checked before it is anybody's result."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from db.records import ICD10CM, Code, Diagnosis, Finding
from models.payloads import Note
from worker.runtime import Runtime

FINDING = Finding(
    code=Code(value="J18.9", system=ICD10CM, meaning="Pneumonia"),
    positive=False,
    probability=0.2,
    threshold=0.5,
)


def answered(*findings: Finding, inputs: int = 1) -> list[Diagnosis]:
    model: Any = SimpleNamespace(
        card=SimpleNamespace(name="m"), examine=lambda payloads: [Diagnosis(findings=findings)]
    )
    return Runtime("cpu").examine(model, [Note(text="x")] * inputs)


def test_a_sound_answer_passes() -> None:
    assert answered(FINDING, replace(FINDING, probability=None, value=3.5))[0].findings[0] is FINDING


@pytest.mark.parametrize("probability", [float("nan"), float("inf"), -0.01, 1.01])
def test_what_is_no_probability_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.1|NaN or an infinite"):
        answered(FINDING, replace(FINDING, probability=probability))


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or an infinite"):
        answered(replace(FINDING, value=value))


def test_an_answer_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match="1 answers to 2 inputs"):
        answered(FINDING, inputs=2)
