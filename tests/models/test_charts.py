"""Charts are well-formed and true to their numbers."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import charts

words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
numbers = st.floats(-1e6, 1e6)


def _well_formed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own output


@given(st.lists(st.tuples(words, numbers), max_size=6), words)
def test_bars_are_well_formed_whatever_the_names_and_numbers(
    items: list[tuple[str, float]], unit: str
) -> None:
    assert len(_well_formed(charts.bars(items, unit=unit, baseline=0.5)).findall("rect")) == len(items)


def test_bars_go_right_for_more_and_left_for_less_in_proportion() -> None:
    more, less = _well_formed(charts.bars([("a", 2.0), ("b", -1.0)])).findall("rect")
    assert float(more.get("width", 0)) == pytest.approx(2 * float(less.get("width", 0)), abs=0.2)
    assert float(less.get("x", 0)) < float(more.get("x", 0))


def test_bars_say_where_the_contributions_start_and_end() -> None:
    assert "in log-odds; from -1 to 0.5" in charts.bars(
        [("a", 2.0), ("b", -0.5)], unit="log-odds", baseline=-1.0
    )


@given(st.lists(st.tuples(numbers, numbers), max_size=8), st.booleans())
def test_lines_are_well_formed_and_inside_the_frame(points: list[tuple[float, float]], steps: bool) -> None:
    x, y = [p[0] for p in points], [p[1] for p in points]
    svg = charts.lines([("one", x, y)], x_label="t", y_label="S", band=(x, y, y), steps=steps)
    drawn = [p.get("d", "") for p in _well_formed(svg).findall("path") if p.get("stroke-width")]
    for across, down in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", drawn[0]):
        assert 63 <= float(across) <= 621
        assert 13 <= float(down) <= 327


def test_a_step_curve_holds_each_value_until_the_next() -> None:
    assert charts._stepped([0, 2, 5], [1.0, 0.8, 0.3]) == ([0, 2, 2, 5, 5], [1.0, 1.0, 0.8, 0.8, 0.3])


def test_a_gap_in_a_curve_is_left_open() -> None:
    svg = charts.lines([("", [0, 1, 2, 3], [0, math.nan, 1, 2])], x_label="x", y_label="y")
    (curve,) = [p.get("d", "") for p in _well_formed(svg).findall("path") if p.get("stroke-width")]
    assert curve.count("M") == 2


@pytest.mark.parametrize(
    ("low", "high", "told"), [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-3, 12, [0, 5, 10]), (7, 7, [7])]
)
def test_ticks_are_round_numbers(low: float, high: float, told: list[float]) -> None:
    assert charts.ticks(low, high) == told


def test_a_heat_map_shades_by_size_and_leaves_the_unknown_blank() -> None:
    svg = charts.heat([[1, 4], [np.nan, 0]], rows=["a", "b"], columns=["c", "d"])
    shades = [float(r.get("fill-opacity", 0)) for r in _well_formed(svg).findall("rect")]
    assert shades == pytest.approx([0.15, 0.6, 0.0])


def test_a_heat_map_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(1, 2\)"):
        charts.heat([[1]], rows=["a"], columns=["b", "c"])


def test_a_mark_at_the_edge_is_named_where_there_is_room() -> None:
    svg = charts.lines([("", [0, 10], [1, 0])], x_label="t", y_label="S", marks=[(5, "half"), (10, "1825")])
    assert re.search(r'text-anchor="start">half<', svg)
    assert re.search(r'text-anchor="end">1825<', svg)
