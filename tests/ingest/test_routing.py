"""Which model an input owes a job: by kind and modality, else the reason why none does."""

from __future__ import annotations

import pytest

from db.records import Evidence, Kind
from ingest import routing
from tests.bench import card

DX, ANY, WORDS = card("film", "image", "DX"), card("any", "image"), card("words", "note")


def image(modality: str | None) -> Evidence:
    return Evidence(kind=Kind.IMAGE, facts={"modality": modality})


@pytest.mark.parametrize(
    ("evidence", "models"),
    [
        (image("DX"), ["film", "any"]),
        (image("CT"), ["any"]),
        (image(None), ["any"]),
        (Evidence(kind=Kind.NOTE), ["words"]),
        (Evidence(kind=Kind.DOCUMENT, facts={"modality": "DX"}), []),
    ],
)
def test_an_input_owes_the_models_that_ask_for_it(evidence: Evidence, models: list[str]) -> None:
    assert [o.model for o in routing.owed(evidence, [DX, ANY, WORDS])[0]] == models


def test_a_job_names_the_exact_version_and_weights_of_the_card() -> None:
    (owed,), unread = routing.owed(Evidence(kind=Kind.NOTE), [WORDS])
    assert (owed.version, owed.weights_sha256, unread) == (WORDS.version, WORDS.weights_sha256, None)


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (image("CT"), "no-model: no installed model reads CT images"),
        (image(None), "no-model: no installed model reads images of this modality"),
        (image("Clara"), "no-model: no installed model reads images of this modality"),
        (Evidence(kind=Kind.NOTE), "no-model: no installed model reads notes"),
        (
            Evidence(kind=Kind.DOCUMENT),
            "no-image: a DICOM object without pixels is kept and shown; no model reads it",
        ),
    ],
)
def test_an_input_that_no_model_reads_says_why(evidence: Evidence, reason: str) -> None:
    assert routing.owed(evidence, [DX]) == ([], reason)
