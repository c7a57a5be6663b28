"""Routing rules: the first that matches decides, a bad file is refused with its line, reasons are given."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import Evidence, Kind
from ingest import routing
from ingest.matching import Subject, subject
from ingest.rules import BadRules, Rules, parse
from models.registry import cards
from tests.bench import CARDS, card

ROOT = Path(__file__).parent.parent.parent
FILM = {
    "modality": "CT", "body_part": "CHEST", "orientation": "transverse", "rows": 512, "frames": 1,
    "image_type": "ORIGINAL\\PRIMARY\\AXIAL", "burned_in": False, "view_position": "",
}  # fmt: skip


def rules(text: str) -> Rules:
    return parse(text.encode(), CARDS)


def fired(match: str, path: str = "a/b.dcm", site: str = "", **facts: str | float) -> bool:
    found = rules(f'[[rule]]\nname = "x"\nmatch = {match}')
    kind = "note" if "note_type" in facts else "image"
    seen = Subject(kind=kind, facts={**(FILM if kind == "image" else {}), **facts}, path=path, site=site)
    return found.decide(seen).rule == "x"


@pytest.mark.parametrize(
    "match",
    ["{}", '{modality = "CT"}', '{modality = ["MR", "CT"]}', '{modality = "ct"}', '{body_part = "CH*"}',
     "{rows = 512}", "{rows = [256, 512]}", "{rows = {min = 512}}", "{rows = {min = 1, max = 512}}",
     '{image_type = "AXIAL"}', '{image_type = "ORIGINAL*"}', "{burned_in = false}", '{path = "**/*.dcm"}',
     '{path = "a/*"}', '{kind = "image"}', '{orientation = "transverse", rows = {max = 600}}'],
)  # fmt: skip
def test_what_holds_matches(match: str) -> None:
    assert fired(match)


@pytest.mark.parametrize(
    "match",
    ['{modality = "MR"}', '{modality = "C"}', '{view_position = "*"}', "{rows = {min = 513}}",
     "{rows = {max = 511}}", "{columns = 512}", "{burned_in = true}", '{path = "*.dcm"}', '{path = "b/**"}',
     '{path = "A/*"}', '{kind = "note"}', '{site = "north"}', '{image_type = "AXI"}', "{slices = 1}",
     '{body_part = "[C]HEST"}'],
)  # fmt: skip
def test_what_does_not_hold_does_not_match(match: str) -> None:
    assert not fired(match)


def test_a_note_is_matched_by_its_type() -> None:
    assert fired('{note_type = "discharge"}', note_type="discharge")
    assert not fired('{note_type = "discharge"}', note_type="nursing")


def test_slices_are_the_series_count_or_the_frames_of_a_multi_frame_image() -> None:
    assert fired("{slices = {min = 40}}", slices=40)
    assert fired("{slices = {min = 40}}", frames=40)
    assert not fired("{slices = {min = 40}}", frames=40, slices=3)


def test_a_folder_names_the_site_before_the_setting_does() -> None:
    assert subject(Evidence(kind=Kind.NOTE), "site=north/x/a.txt", "south").site == "north"
    assert subject(Evidence(kind=Kind.NOTE), "x/site=a.txt", "south").site == "south"


TWO = """
[[rule]]
name = "first"
match = { modality = "MR" }
lane = "stat"
[[rule]]
name = "second"
match = { modality = "CT" }
lane = "off-peak"
policy = "partial"
[[rule]]
name = "third"
"""


def test_the_first_rule_that_matches_decides_and_those_before_say_why_not() -> None:
    found = rules(TWO).decide(Subject(kind="image", facts=FILM))
    assert (found.rule, found.lane, found.policy, found.models) == ("second", "off-peak", "partial", None)
    assert found.earlier == (("first", "modality is CT, not MR"),)


def test_without_a_rule_that_matches_the_default_decides() -> None:
    found = Rules().decide(Subject(kind="image", facts={}))
    assert (found.rule, found.models, found.lane, found.policy) == ("default", None, "routine", "wait")


@pytest.mark.parametrize(
    ("models", "lanes", "found"),
    [
        ('["film"]', ["stat"], {"film"}),
        ('"none"', ["stat"], set()),
        ('"all"', ["stat"], None),
        ('["film"]', ["off-peak"], set()),
        ('["film"]', ["stat", "routine"], None),
    ],
)
def test_a_lane_asks_for_the_models_that_rules_send_there(
    models: str, lanes: list[str], found: set[str] | None
) -> None:
    assert rules(f'[[rule]]\nname = "x"\nmodels = {models}\nlane = "stat"').models_of(lanes) == found


def test_a_path_that_may_name_a_patient_is_in_no_reason() -> None:
    found = rules('[[rule]]\nname = "x"\nmatch = {path = "stat/**", site = "n"}')
    decision = found.decide(Subject(kind="note", facts={}, path="canary/a.txt", site="canary"))
    assert "canary" not in repr(decision)


def models_owed(rule: str, evidence: Evidence) -> tuple[list[str], str | None]:
    decision = rules(f'[[rule]]\nname = "x"\n{rule}').decide(subject(evidence))
    owed, unread = routing.owed(evidence, CARDS, decision)
    return [f"{o.model} {o.lane}" for o in owed], unread


def test_a_rule_names_the_models_and_the_lane() -> None:
    dx = Evidence(kind=Kind.IMAGE, facts={"modality": "DX"})
    assert models_owed('models = ["film"]\nlane = "stat"', dx) == (["film stat"], None)


def test_a_rule_that_wants_no_model_is_recorded_as_the_reason() -> None:
    dx = Evidence(kind=Kind.IMAGE, facts={"modality": "DX"})
    assert models_owed('models = "none"', dx) == (
        [], "by-rule: rule x gives it to no model that reads it",
    )  # fmt: skip


def test_a_rule_gives_no_model_what_its_card_does_not_ask_for() -> None:
    note = Evidence(kind=Kind.NOTE)
    assert models_owed('models = ["film", "words"]', note) == (["words routine"], None)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('[[rule]]\nname = "a"\nname = "b"', 3, "not TOML"),
        ('[[rule]]\nname = "a"\n\n[[rule]]\nname = "b"\nlanes = "stat"', 6, "lanes"),
        ('[[rule]]\nname = "a"\nlane = "now"', 3, "lane"),
        ('[[rule]]\nname = "a"\n[rule.match]\nmodality = 7', 4, "modality"),
        ('[[rule]]\nname = "a"\nmatch = { modality = "CT", colour = "red" }', 3, "colour"),
        ('[[rule]]\nname = "a"\n[rule.match]\nrows = { min = 9, max = 1 }', 4, "min is above its max"),
        ('[[rule]]\nname = "a"\n[rule.match]\nrows = {}', 4, "min, max or both"),
        ('[[rule]]\nname = "a"\n[[rule]]\nname = "a"', 4, "has this name"),
        ('[[rule]]\nlane = "stat"', 1, "name"),
        ('[[rule]]\nname = "a"\nmodels = ["film", "absent"]', 3, "no model absent"),
        ('[[rule]]\nname = "a"\nmatch.note_type = "nursing"\nmodels = ["film"]', 4, "film reads images"),
        ('[[rule]]\nname = "a"\nmatch.modality = "DX"\nmodels = ["words"]', 4, "words reads notes"),
        ('[[rule]]\nname = "a"\nmatch.modality = "CT"\nmodels = ["film"]', 4, "film reads DX, CR"),
        ('[[rule]]\nname = "a"\nmatch = {modality = "DX", note_type = "x"}', 3, "nothing can match"),
        ("caf\xe9 = 1", 1, "not UTF-8"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_its_line_and_reason(text: str, line: int, reason: str) -> None:
    with pytest.raises(BadRules, match=re.escape(reason)) as caught:
        parse(text.encode("latin-1"), CARDS)
    assert (caught.value.line, f"line {line}:" in str(caught.value)) == (line, True)


def test_the_documented_example_is_one_that_loads() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/rules.md").read_text(), flags=re.DOTALL)
    found = parse(example.encode(), [card("chest-xray", "image", "DX", "CR"), *cards()])
    assert [rule.name for rule in found.rules][:2] == ["emergency-films", "not-a-chest"]
    seen = Subject(kind="image", facts={"modality": "DX"}, path="emergency/1/a.dcm")
    assert (found.decide(seen).models, found.decide(seen).lane) == (("chest-xray",), "stat")


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: f"[[rule]]\n{t}".encode()))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with suppress(BadRules):
        parse(data, CARDS)
