"""When a series and a study are whole: by table, and what must hold of any."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.errors import Misconfigured
from db.manifests import Promise
from db.records import Whole
from ingest.complete import (
    POLICIES,
    Decision,
    Policy,
    SeriesFacts,
    Slice,
    StudyFacts,
    Waits,
    decide,
    decide_study,
    policy,
    required,
    slice_order,
    unmet,
)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
WAITS = Waits(quiet=timedelta(seconds=10), longest=timedelta(seconds=900))
AXIAL = "1.00\\0.00\\0.00\\0.00\\1.00\\0.00"


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def numbered(*numbers: int, **more: Any) -> list[Slice]:
    return [Slice(number=n, **more) for n in numbers]


def placed(*places: float) -> list[Slice]:
    return [Slice(position_mm=p, plane=AXIAL) for p in places]


def look(slices: list[Slice], seconds: float, policy: Policy = "wait", **more: Any) -> tuple[str, str]:
    found = decide(SeriesFacts(slices=slices, last_at=NOON, **more), at(seconds), policy, WAITS)
    return found.state.value, found.reason.partition(":")[0]


KEPT = Promise(expected=3, missing=0, differing=0)
SHORT = Promise(expected=3, missing=1, differing=0)
OTHER = Promise(expected=3, missing=0, differing=1)
TABLE: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "no gap, settling": (look(numbered(1, 2, 3), 9), ("waiting", "settling")),
    "no gap, quiet": (look(numbered(1, 2, 3), 10), ("complete", "quiet")),
    "a number lacks": (look(numbered(1, 2, 4), 899), ("waiting", "gap")),
    "a number lacks for long": (look(numbered(1, 2, 4), 900), ("partial", "gap")),
    "a number lacks, partial": (look(numbered(1, 2, 4), 10, "partial"), ("partial", "gap")),
    "a number lacks, partial, settling": (look(numbered(1, 2, 4), 9, "partial"), ("waiting", "gap")),
    "a number lacks, quarantine": (look(numbered(1, 2, 4), 900, "quarantine"), ("quarantined", "gap")),
    "a number lacks, told done": (look(numbered(1, 2, 4), 0, declared=True), ("partial", "gap")),
    "it begins at seven": (look(numbered(7, 8, 9), 10), ("complete", "quiet")),
    "numbers twice": (look(numbered(1, 1, 2, 2), 10), ("complete", "quiet")),
    "a slice lacks": (look(placed(0, 5, 10, 20, 25), 10), ("waiting", "gap")),
    "slices evenly": (look(placed(0, 5, 10, 15, 20), 10), ("complete", "quiet")),
    "slices nearly evenly": (look(placed(0, 5.02, 10, 14.98, 20), 10), ("complete", "quiet")),
    "too few slices to tell": (look(placed(0, 5, 50), 10), ("complete", "quiet")),
    "a scout of three planes": (
        look([replace(s, localizer=True) for s in placed(0, 5, 10, 50)], 10), ("complete", "quiet"),
    ),
    "all stated": (look(numbered(1, 2, 3, in_series=3), 0), ("complete", "counted")),
    "all stated, numbered oddly": (look(numbered(1, 5, 9, in_series=3), 0), ("complete", "counted")),
    "fewer than stated": (look(numbered(1, 2, in_series=3), 100), ("waiting", "count")),
    "fewer than stated for long": (look(numbered(1, 2, in_series=3), 900), ("partial", "count")),
    "fewer than the acquisition": (
        look(numbered(1, 2, acquisition=1, in_acquisition=3), 100), ("waiting", "acquisition"),
    ),
    "the acquisition": (look(numbered(1, 2, 3, in_acquisition=3), 10), ("complete", "quiet")),
    "multi-frame": (look([Slice(frames=60)], 0), ("complete", "multi-frame")),
    "forced": (look(numbered(1, 9), 0, forced=True), ("complete", "forced")),
    "declared": (look(numbered(1, 2), 0, declared=True), ("complete", "declared")),
    "manifest kept": (look(numbered(1, 9), 0, promise=KEPT), ("complete", "manifest")),
    "manifest not kept": (look(numbered(1, 2), 100, promise=SHORT), ("waiting", "manifest-missing")),
    "manifest of others": (look(numbered(1, 2), 100, promise=OTHER), ("waiting", "manifest-differs")),
    "manifest not kept for long": (
        look(numbered(1, 2), 900, "quarantine", promise=SHORT), ("quarantined", "manifest-missing"),
    ),
    "a document": (look([Slice()], 10), ("complete", "quiet")),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_a_series_is_decided_as_the_table_says(name: str) -> None:
    seen, expected = TABLE[name]
    assert seen == expected


def test_the_sentence_counts_what_lacks() -> None:
    found = decide(SeriesFacts(slices=numbered(1, 2, 5, 9), last_at=NOON), at(1000), "wait", WAITS)
    assert found.reason == "gap: 5 instance numbers lacking between 1 and 9"


slices = st.builds(
    Slice,
    number=st.none() | st.integers(-3, 12),
    position_mm=st.none() | st.integers(-3, 12).map(float),
    plane=st.sampled_from(["", AXIAL]),
    frames=st.integers(1, 3),
    localizer=st.booleans(),
    acquisition=st.none() | st.integers(1, 2),
    in_acquisition=st.none() | st.integers(1, 9),
    in_series=st.none() | st.integers(1, 9),
)
promises = st.none() | st.sampled_from([KEPT, SHORT, OTHER])
series = st.builds(
    SeriesFacts, slices=st.lists(slices, min_size=1, max_size=9), last_at=st.just(NOON),
    forced=st.booleans(), declared=st.booleans(), promise=promises,
)  # fmt: skip
times = st.floats(0, 2000)


@given(series, times, st.sampled_from(POLICIES))
def test_a_decision_always_has_a_reason_and_only_waiting_has_another_time(
    facts: SeriesFacts, seconds: float, chosen: Policy
) -> None:
    found = decide(facts, at(seconds), chosen, WAITS)
    assert found.reason.partition(": ")[2]
    assert (found.again is not None) == (found.state is Whole.WAITING)


@given(series, times, st.sampled_from(POLICIES))
def test_whoever_looks_again_when_told_to_finds_it_decided(
    facts: SeriesFacts, seconds: float, chosen: Policy
) -> None:
    found = decide(facts, at(seconds), chosen, WAITS)
    if found.again is not None:
        assert found.again > at(seconds)
        assert decide(facts, found.again, chosen, WAITS).again is None


@given(series, times, times, st.sampled_from(POLICIES))
def test_time_alone_never_undoes_a_decision(
    facts: SeriesFacts, first: float, second: float, chosen: Policy
) -> None:
    early, late = sorted((first, second))
    before = decide(facts, at(early), chosen, WAITS)
    if before.state is not Whole.WAITING:
        assert decide(facts, at(late), chosen, WAITS) == before


@given(st.sets(st.integers(1, 12), min_size=2), st.integers(2, 11), times, st.sampled_from(POLICIES))
def test_an_instance_that_fills_in_never_makes_a_complete_series_incomplete(
    numbers: set[int], one: int, seconds: float, chosen: Policy
) -> None:
    facts = SeriesFacts(slices=numbered(*numbers), last_at=NOON)
    more = replace(facts, slices=numbered(*numbers, min(max(one, min(numbers)), max(numbers))))
    if decide(facts, at(seconds), chosen, WAITS).state is Whole.COMPLETE:
        assert decide(more, at(seconds), chosen, WAITS).state is Whole.COMPLETE


@given(st.integers(1, 9), st.integers(0, 9), times, st.sampled_from(POLICIES))
def test_more_instances_than_are_stated_never_make_a_series_incomplete(
    stated: int, more: int, seconds: float, chosen: Policy
) -> None:
    found = decide(
        SeriesFacts(slices=numbered(*range(stated + more), in_series=stated), last_at=NOON),
        at(seconds), chosen, WAITS,
    )  # fmt: skip
    assert found.state is Whole.COMPLETE


@given(series, times, st.sampled_from(POLICIES))
def test_a_person_s_word_is_final(facts: SeriesFacts, seconds: float, chosen: Policy) -> None:
    found = decide(replace(facts, forced=True), at(seconds), chosen, WAITS)
    assert found.state is Whole.COMPLETE


@given(st.permutations(range(8)))
def test_slices_are_read_along_the_normal_whatever_order_they_came_in(order: list[int]) -> None:
    found = [Slice(position_mm=float(-n), number=n, plane=AXIAL) for n in order]
    assert [found[i].position_mm for i in slice_order(found)] == [-7, -6, -5, -4, -3, -2, -1, 0]


@given(st.lists(slices, max_size=9))
def test_slice_order_keeps_every_instance_once(found: list[Slice]) -> None:
    assert sorted(slice_order(found)) == list(range(len(found)))


@pytest.mark.parametrize(
    ("orientation", "same"),
    [("1\\0\\0\\0\\1\\0", True), ("0.9999\\0\\-0\\0\\1\\0", True), ("1\\0\\0\\0\\0\\-1", False)],
)
def test_a_plane_is_the_same_to_two_places(orientation: str, same: bool) -> None:
    assert (Slice.of({"image_orientation": orientation}).plane == AXIAL) == same


# ── studies ───────────────────────────────────────────────────────────────────────────────────────

WHOLE, PART, OPEN, ASIDE = Whole.COMPLETE, Whole.PARTIAL, Whole.WAITING, Whole.QUARANTINED


def study(*states: Whole, seconds: float = 10, chosen: Policy = "wait", **more: Any) -> Decision:
    facts = StudyFacts(**{"series": states, "instances": 3, "last_at": NOON, **more})
    return decide_study(facts, at(seconds), chosen, WAITS)


STUDIES = [
    (study(WHOLE, OPEN), "waiting", "series-open"),
    (study(WHOLE, WHOLE, seconds=9), "waiting", "settling"),
    (study(WHOLE, WHOLE), "complete", "quiet"),
    (study(WHOLE, PART), "partial", "series-partial"),
    (study(PART, ASIDE), "quarantined", "series-quarantined"),
    (study(WHOLE, expected_series=2), "waiting", "count"),
    (study(WHOLE, expected_series=2, seconds=900), "partial", "count"),
    (study(WHOLE, expected_instances=4), "waiting", "count"),
    (study(WHOLE, expected_instances=3, seconds=0), "complete", "counted"),
    (study(WHOLE, promise=SHORT), "waiting", "manifest-missing"),
    (study(WHOLE, promise=OTHER, seconds=900), "partial", "manifest-differs"),
    (study(WHOLE, promise=KEPT, seconds=0), "complete", "manifest"),
    (study(WHOLE, declared=True, seconds=0), "complete", "declared"),
    (study(WHOLE, unmet=("MR/coronal/1",)), "waiting", "required-series"),
    (study(WHOLE, unmet=("x",), seconds=900, chosen="quarantine"), "quarantined", "required-series"),
    (study(OPEN, unmet=("x",), forced=True, seconds=0), "complete", "forced"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "state", "code"), STUDIES)
def test_a_study_is_decided_as_the_table_says(found: Decision, state: str, code: str) -> None:
    assert (found.state.value, found.reason.partition(":")[0]) == (state, code)


def facts(modality: str, orientation: str = "", frames: int = 1) -> dict[str, object]:
    return {"modality": modality, "orientation": orientation, "frames": frames}


@pytest.mark.parametrize(
    ("rules", "series", "lacking"),
    [
        ("MR/sagittal", [[facts("MR", "sagittal")]], []),
        ("MR/sagittal", [[facts("MR", "coronal")]], ["MR/sagittal/1"]),
        ("MR/any/2", [[facts("MR")], [facts("MR"), facts("MR")]], []),
        ("MR/any/2", [[facts("MR")], [facts("MR")]], ["MR/any/2"]),
        ("MR/any/20", [[facts("MR", frames=20)]], []),
        ("MR/sagittal/20", [[facts("CT")]], []),
        ("MR, CT", [[facts("MR")]], []),
    ],
)
def test_required_series_are_asked_of_studies_of_their_modality(
    rules: str, series: list[list[dict[str, object]]], lacking: list[str]
) -> None:
    assert unmet(required(rules), series) == lacking


@pytest.mark.parametrize("rules", ["mr", "MR/axial", "MR/sagittal/x", "MR//20", "MR sagittal"])
def test_a_required_series_that_is_none_is_refused_by_name(rules: str) -> None:
    with pytest.raises(Misconfigured, match="MODALITY"):
        required(rules)


def test_another_policy_is_refused() -> None:
    assert [policy(word) for word in POLICIES] == list(POLICIES)
    with pytest.raises(Misconfigured, match="wait, partial, quarantine"):
        policy("later")
