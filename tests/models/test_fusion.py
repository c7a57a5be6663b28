"""A case's answers: calibrated parts add up in log-odds, the others are compared."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import ICD10CM, SNOMED
from models import registry
from models.fusion import answers, questions


def result(model: str, system: str, code: str, **more: Any) -> dict[str, Any]:
    return {
        "result_id": f"{model}-0", "model": model, "abstained": False, "status": "preliminary",
        "finding": {"code": code, "system": system, "meaning": "m"}, "probability": None, "positive": True,
        "qualifier": None, **more,
    }  # fmt: skip


def film(probability: float, **more: Any) -> dict[str, Any]:
    positive = probability > 0.5
    return result("chest-xray", SNOMED, "233604007", probability=probability, positive=positive, **more)


def note(qualifier: str | None = None, code: str = "J18.9") -> dict[str, Any]:
    return result("note-assertion", ICD10CM, code, qualifier=qualifier, positive=qualifier is None)


def test_a_probability_at_its_base_rate_leaves_the_prior() -> None:
    (found,) = answers([film(questions()["pneumonia"].base["chest-xray"])])
    assert found.probability == pytest.approx(questions()["pneumonia"].prior, abs=1e-4)


def test_odds_multiply() -> None:
    """By hand: prior 1:9; film .9 at base .667 -> odds 9 / 2.003 = 4.493; 4.493 / 9 -> .333."""
    (found,) = answers([film(0.9)])
    assert found.probability == pytest.approx(0.3330, abs=5e-4)


def test_a_model_trained_anew_is_compared_alone() -> None:
    (found,) = answers([film(0.9, model_version="1.0.0+0a1b2c3d"), note("negated")])
    assert found.probability is None
    assert found.contradiction


def test_a_film_that_shows_what_the_note_denies_is_a_contradiction() -> None:
    (found,) = answers([film(0.9), note("negated")])
    assert found.contradiction
    assert [(t.model, t.says) for t in found.terms] == [("chest-xray", True), ("note-assertion", False)]


@pytest.mark.parametrize("qualifier", ["uncertain", "historical", "family"])
def test_what_neither_asserts_nor_denies_contradicts_nothing(qualifier: str) -> None:
    assert not answers([film(0.9), note(qualifier)])[0].contradiction


def test_a_measurement_says_neither_yes_nor_no() -> None:
    volume = result("volumes", SNOMED, "233604007", positive=None)
    (found,) = answers([film(0.9), volume])
    assert [t.says for t in found.terms] == [True, None]
    assert not found.contradiction


def test_an_uncalibrated_statement_moves_no_probability() -> None:
    assert answers([film(0.9), note()])[0].probability == answers([film(0.9)])[0].probability
    assert answers([note()])[0].probability is None


@pytest.mark.parametrize("spoilt", [{"abstained": True}, {"status": "superseded"}])
def test_abstained_and_superseded_results_say_nothing(spoilt: dict[str, Any]) -> None:
    assert answers([film(0.9, **spoilt)]) == []


def test_findings_that_answer_no_question_are_left_out() -> None:
    assert answers([note(code="Z99.9")]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_a_fused_probability_is_one(given: list[float]) -> None:
    (answer,) = answers([film(p) for p in given])
    assert answer.probability is not None
    assert 0 < answer.probability < 1


@given(st.floats(0.001, 0.49), st.floats(0.51, 0.999))
def test_stronger_evidence_never_lowers_it(low: float, high: float) -> None:
    fused = [answers([film(p)])[0].probability or 0.0 for p in (low, high)]
    assert fused[0] < fused[1]


def test_questions_name_models_that_there_are() -> None:
    known = {card.name for card in registry.cards()}
    assert {model for q in questions().values() for model in q.base} <= known
