"""What units become: by hand with the arithmetic shown, and never one that no straight line leads to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.errors import Rejected
from ingest.units import convert
from models.features import Feature


def feature(unit: str, **units: float) -> Feature:
    return Feature(meaning="x", kind="number", unit=unit, units=units)


GLUCOSE = Feature(meaning="x", kind="number", unit="mg/dL", units={"mmol/L": 18.016})


@pytest.mark.parametrize(
    ("number", "unit", "wanted", "found"),
    [
        (150, "[lb_av]", "kg", 68.0388555),  # 1 lb = 0.45359237 kg
        (150, "lbs", "kg", 68.0388555),
        (70, "in", "cm", 177.8),  # 2.54 cm
        (1.83, "m", "cm", 183),
        (6, "mo", "a", 0.5),
        (98.6, "[degF]", "Cel", 37),
        (98.6, "°F", "Cel", 37),
        (310.15, "K", "Cel", 37),
        (13.3322387415, "kPa", "mm[Hg]", 100),  # 1 mmHg = 133.322387415 Pa
        (105600, "{cells}/uL", "10*9/L", 105.6),
        (7.2, "K/uL", "10*9/L", 7.2),
        (7.2, "K/mcL", "10*9/L", 7.2),
        (7.2, "10³/µL", "10*9/L", 7.2),
        (7200, "cells/mcL", "10*9/L", 7.2),
        (7.2, "Thousand/uL", "10*9/L", 7.2),
        (4, "gm/dL", "g/L", 40),
        (88, "mcmol/L", "mmol/L", 0.088),
        (250, "mcg/L", "ng/mL", 250),
        (1500, "mL/24 h", "mL/d", 1500),
        (221, "giga.l-1", "10*3/uL", 221),
        (7.2, "x10^9/L", "10*3/uL", 7.2),
        (41, "%", "1", 0.41),
        (88, "umol/L", "mmol/L", 0.088),
        (12, "mIU/L", "u[IU]/mL", 12),
        (95, "MG/DL", "mg/dL", 95),
        (72, "beats/min", "/min", 72),
        (7.4, "[pH]", "1", 7.4),
        (81.5, "", "kg", 81.5),
    ],
)
def test_a_unit_becomes_the_features(number: float, unit: str, wanted: str, found: float) -> None:
    assert convert(number, unit, feature(wanted)) == pytest.approx(found, rel=1e-6)


def test_a_molar_unit_goes_by_the_feature_s_factor() -> None:
    assert convert(5.5, "mmol/L", GLUCOSE) == pytest.approx(5.5 * 18.016)
    assert convert(5500, "umol/L", GLUCOSE) == pytest.approx(5.5 * 18.016)


@pytest.mark.parametrize(
    ("unit", "wanted"),
    [
        ("mmol/L", "mg/dL"),  # without a factor
        ("kg", "cm"),
        ("meq/L", "mmol/L"),  # the charge is not known
        ("[arb'U]/mL", "10*9/L"),
        ("U/L", "10*9/L"),
        ("dB", "1"),
        ("10*999999999/L", "10*9/L"),
        ("((((((((", "kg"),
        ("Canary Clara", "kg"),
        ("k" * 41, "kg"),
    ],
)
def test_a_unit_that_leads_nowhere_is_refused_unquoted(unit: str, wanted: str) -> None:
    with pytest.raises(Rejected) as caught:
        convert(1.0, unit, feature(wanted))
    assert caught.value.code == "unit"
    assert unit not in f"{caught.value}"


@settings(max_examples=300, deadline=None)
@given(st.text("mgkLl/dul*10^.[]()HzeqIU{}%9-Cel ", max_size=24))
def test_any_unit_is_turned_or_refused(unit: str) -> None:
    try:
        found = convert(1.0, unit, feature("mg/dL", **{"mmol/L": 18.016}))
    except Rejected:
        return
    assert isinstance(found, float)
