"""Which of six skin diseases a table of signs speaks for, and when the model keeps silent."""

from functools import partial

import pytest

from models.dermatology import HERE
from models.payloads import Table, Value
from models.tabular import recipe
from tests import patients

examine = partial(patients.examine, "dermatology")
patient = partial(patients.patient, "dermatology")
NONE: dict[str, Value] = {name: 0 for name in recipe.read(HERE).features if name != "age"}


LICHEN_PLANUS: dict[str, Value] = {
    "polygonal_papules": 3, "oral_mucosa": 2, "itching": 3, "koebner_phenomenon": 1,
    "band_like_infiltrate": 3,
    "saw_tooth_retes": 3, "basal_layer_damage": 3, "melanin_incontinence": 2, "focal_hypergranulosis": 2,
}  # fmt: skip
RUBRA_PILARIS: dict[str, Value] = {
    "follicular_papules": 3, "follicular_horn_plug": 3, "perifollicular_parakeratosis": 3, "scaling": 2,
    "knee_and_elbow": 2, "erythema": 2, "age": 9,
}  # fmt: skip
CHRONIC: dict[str, Value] = {
    "papillary_fibrosis": 3, "itching": 3, "rete_elongation": 2, "acanthosis": 2, "erythema": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("signs", "code"), [(LICHEN_PLANUS, "L43.9"), (RUBRA_PILARIS, "L44.0"), (CHRONIC, "L30.9")]
)
def test_textbook_signs_get_their_disease(signs: dict[str, Value], code: str) -> None:
    (finding,) = examine(patient(**{**NONE, "age": 40, **signs})).findings
    assert finding.code.value == code
    assert finding.positive


def test_runners_up_are_less_likely_and_all_add_up_to_at_most_one() -> None:
    (finding,) = examine(patient()).findings
    others = [a["probability"] for a in finding.evidence["alternatives"]]  # type: ignore[attr-defined]
    assert finding.probability > others[0] >= others[1]  # type: ignore[operator]
    assert finding.probability + sum(others) <= 1 + 1e-5  # type: ignore[operator]


@pytest.mark.parametrize(
    ("table", "code"),
    [
        (patient(**NONE), "not-confident"),
        (patient(**{**NONE, **LICHEN_PLANUS, **RUBRA_PILARIS}), "not-confident"),
        (patient(erythema=7), "out-of-range"),
        (Table(values={name: v for name, v in patient().values.items() if "rete" not in name}), ""),
        (Table(values=dict(list(patient().values.items())[:11])), "too-little-known"),
    ],
)
def test_abstains_with_its_reason_or_answers(table: Table, code: str) -> None:
    diagnosis = examine(table)
    assert str(diagnosis.reason or "").startswith(code)
    assert diagnosis.abstained == bool(code)
