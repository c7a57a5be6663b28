"""What features are called in pictures."""

import pytest

from models.features import LONGEST, dictionary, told
from models.payloads import Value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("temperature", 38.44, "temperature 38.4 °C"),
        ("urine_output", 2502.3, "urine output 2502 mL a day"),
        ("comorbidities", 2.0, "comorbidities 2"),
        ("tumour_size_class", "20_to_50_mm", "tumour size: over 20 to 50 mm"),
        ("disease_group", "organ_failure_cancer", "disease group: organ failure cancer"),
        ("arterial_ph", None, "arterial pH: not known"),
    ],
)
def test_a_value_is_told_in_words_with_its_unit(name: str, value: Value | None, expected: str) -> None:
    assert told(name, value) == expected


@pytest.mark.parametrize("name", sorted(dictionary()))
def test_a_feature_has_room_beside_a_bar(name: str) -> None:
    feature = dictionary()[name]
    top = feature.high if feature.high is not None else 123.456
    for value in [None, *(feature.categories or [top - 0.001])]:
        assert len(told(name, value)) <= LONGEST
