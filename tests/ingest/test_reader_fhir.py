"""What the FHIR reader makes of bundles and resources, and what it refuses."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest.coded import age, moment
from ingest.markup import stripped
from ingest.readers import fhir
from models.payloads import Note, Variants
from tests.fhir_resources import attached, bundle, observation, patient, report, values

SAMPLE = Path(__file__).parents[2] / "console" / "samples" / "patient.fhir.json"
DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[3] / "shared" / "data")) / "ehr" / "fhir_r4"


@pytest.fixture
def read(tmp_path: Path):
    def reader(data: bytes, **more: object) -> Evidence:
        path = tmp_path / "b.json"
        path.write_bytes(data)
        return fhir.read(path, **more)

    return reader


def text(data: bytes) -> str:
    found = fhir.payload(data, Kind.NOTE)
    assert isinstance(found, Note)
    return found.text


def test_the_sample_is_a_table_variants_and_a_note(read) -> None:
    found = read(SAMPLE.read_bytes())
    assert (found.kind, found.also) == (Kind.TABLE, (Kind.VARIANTS, Kind.NOTE))
    assert found.identity is not None
    assert (found.identity.number, found.identity.name) == ("DEMO-0004", "Demo^Fiona")
    assert (found.identity.birth_date, found.case_key, found.uid) == ("19570630", "DEMO-E4", "")
    genes = fhir.payload(SAMPLE.read_bytes(), Kind.VARIANTS)
    assert isinstance(genes, Variants)
    assert genes.diplotypes == {"CYP2C9": "*1/*3"}


def test_the_sample_s_values_are_the_latest_in_the_features_units() -> None:
    found = values(SAMPLE.read_bytes())
    assert found["heart_rate"] == 72  # the later of 88 and 72
    assert found["height"] == pytest.approx(164)  # 1.64 m
    assert found["glucose"] == pytest.approx(7.9 * 18.016)
    assert (found["systolic_pressure"], found["diastolic_pressure"]) == (141, 86)
    assert found["amiodarone_use"] == "yes"
    assert (found["diabetes"], found["sex"], found["age"]) == (
        "yes",
        "female",
        68,
    )  # 1957-06-30 to 2026-03-02


def test_a_single_observation_is_a_table_of_its_patient_s(read) -> None:
    data = json.dumps(observation("8302-2", 70, "[in_i]", encounter={"reference": "Encounter/E9"})).encode()
    found = read(data)
    assert found.identity is not None
    assert (found.kind, found.identity.number, found.case_key) == (Kind.TABLE, "7", "E9")
    assert values(data) == {"height": pytest.approx(177.8)}


def test_age_and_sex_alone_make_no_table(read) -> None:
    assert read(bundle(patient())).kind is Kind.DOCUMENT


@pytest.mark.parametrize(
    ("one", "left_out"),
    [
        (observation("8302-2", 170, "cm", status="entered-in-error"), 0),
        (observation("8302-2", 170, "kg"), 1),
        (observation("8302-2", 1700, "cm"), 1),
        (observation("8302-2", "tall"), 1),
        (observation("8302-2", 0, valueQuantity={"value": 170, "comparator": "<"}), 1),
        (observation("99999-9", 170, "cm"), 0),
    ],
)
def test_what_cannot_be_understood_is_left_out_and_counted(read, one: dict[str, Any], left_out: int) -> None:
    data = bundle(one, observation("29463-7", 80, "kg"))
    assert values(data) == {"weight": 80}
    assert read(data).facts["left_out"] == left_out


@pytest.mark.parametrize(
    "odd",
    [
        {"valueQuantity": {"value": 170, "comparator": ">"}},
        {"valueQuantity": {"value": 170, "code": "kg"}},
        {"valueQuantity": {"value": 1700, "code": "cm"}},
    ],
)
def test_an_older_value_does_not_stand_in_for_one_left_out(odd: dict[str, Any]) -> None:
    weight, older = observation("29463-7", 80, "kg"), observation("8302-2", 169, "cm", when="2020-01-01")
    assert "height" not in values(bundle(weight, observation("8302-2", 0, when="2026-01-01", **odd), older))
    assert values(bundle(weight, observation("8302-2", 0, when="2019-01-01", **odd), older))["height"] == 169


def test_a_condition_that_is_over_or_refuted_says_nothing() -> None:
    weight = observation("29463-7", 80, "kg")
    code = {"coding": [{"system": "http://snomed.info/sct", "code": "73211009"}]}
    here = {"resourceType": "Condition", "code": code}
    over = here | {"clinicalStatus": {"coding": [{"code": "resolved"}]}}
    refuted = here | {"verificationStatus": {"coding": [{"code": "refuted"}]}}
    assert values(bundle(weight, here))["diabetes"] == "yes"
    assert "diabetes" not in values(bundle(weight, over, refuted))


def test_texts_are_joined_by_a_line_of_form_feed() -> None:
    composition = {
        "resourceType": "Composition", "status": "final",
        "section": [{"title": "Impression", "text": {"div": "<div><p>No  effusion.</p><p>Clear.</p></div>"}}],
    }  # fmt: skip
    data = bundle(attached(b"No fever."), report(conclusion="Stable."), composition)
    assert text(data) == "No fever.\n\f\nStable.\n\f\nImpression\nNo effusion.\n\nClear."


def test_a_text_alone_is_a_note_known_by_its_words(read) -> None:
    first, second = read(bundle(attached(b"No fever."))), read(bundle(report(conclusion="No fever.")))
    assert first.kind is Kind.NOTE
    assert first.content == second.content != ""


def test_markup_is_stripped() -> None:
    data = bundle(attached(b"<p>No <b>fever</b> &amp; cough</p><script>x</script>", "text/html"))
    assert text(data) == "No fever & cough"


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        ("<p>No <b>fever</b><br/>No cough</p>", "No fever\nNo cough"),
        ("<tr><td>Na</td><td>139</td></tr><tr><td>K</td></tr>", "Na\t139\n\nK"),
        ("BP <90 and pulse > 120", "BP <90 and pulse > 120"),
        ("EF &lt; 30 % &amp; falling", "EF < 30 % & falling"),
        ("a<!-- x > y <b> -->b<!----> c", "ab c"),
        ("a<style>p{}</style>b<SCRIPT>if(a<b){}</SCRIPT >c", "abc"),
        ("a<!-- never ended", "a"),
    ],
)
def test_words_of_markup_are_kept_and_nothing_else(markup: str, words: str) -> None:
    assert stripped(markup) == words


@pytest.mark.parametrize(
    "piece", ["<", "<a ", "<a href='", "<!--", "<![CDATA[", "</", "<p>", "&#", "<script>"]
)
def test_markup_costs_no_more_than_its_length(piece: str) -> None:
    start = time.process_time()
    stripped(piece * 100_000)
    assert time.process_time() - start < 3


def test_an_embedded_pdf_alone_is_refused_and_beside_values_counted(read) -> None:
    pdf = attached(b"%PDF-1.7", "application/pdf")
    with pytest.raises(Rejected, match="unsupported-body"):
        read(bundle(patient(), pdf))
    assert read(bundle(pdf, observation("29463-7", 80, "kg"))).facts["unread"] == 1


def test_a_message_is_known_by_its_identifier(read) -> None:
    identifier = {"system": "urn:x", "value": "m-1"}
    first = read(bundle(patient(), type="message", identifier=identifier))
    again = read(bundle(patient(gender="female"), type="message", identifier=identifier))
    assert first.uid == again.uid
    assert re.fullmatch("[0-9a-f]{64}", first.uid)
    assert read(bundle(patient(), type="collection", identifier=identifier)).uid == ""


@pytest.mark.parametrize(
    ("resources", "number"),
    [
        ([patient(identifier=[{"value": "S"}, {"value": "M", "type": {"coding": [{"code": "MR"}]}}])], "M"),
        ([patient(identifier=[{"value": "S"}, {"value": "O", "use": "official"}])], "O"),
        ([patient()], "7"),
        ([patient(), report(subject={"reference": "Patient/7/_history/2"})], "7"),
        ([report(subject={"identifier": {"value": "I-1"}})], "I-1"),
    ],
)
def test_a_patient_s_number_is_the_medical_record_s(read, resources, number: str) -> None:
    found = read(bundle(*resources))
    assert found.identity is not None
    assert found.identity.number == number


@pytest.mark.parametrize(
    "resources",
    [
        [patient(), patient(id="8")],
        [patient(), observation("29463-7", 80, "kg") | {"subject": {"reference": "Patient/8"}}],
        [observation("29463-7", 80), observation("29463-7", 80) | {"subject": {"reference": "Patient/8"}}],
    ],
)
def test_two_patients_are_refused(read, resources) -> None:
    with pytest.raises(Rejected, match="several-patients"):
        read(bundle(*resources))


def test_several_encounters_make_no_case(read) -> None:
    visits = [{"resourceType": "Encounter", "id": name} for name in ("a", "b")]
    assert read(bundle(*visits)).case_key == ""
    assert read(bundle(*visits[:1])).case_key == "a"


def test_resources_may_come_line_by_line() -> None:
    lines = [json.dumps(one) for one in (patient(), observation("29463-7", 80, "kg"))]
    assert values("\n".join(lines).encode()) == {"weight": 80, "sex": "male", "age": 75}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (SAMPLE.read_bytes()[:-20], "truncated"),
        (b'{"resourceType": "Bundle",}', "malformed"),
        (b'{"resourceType": 7}', "malformed"),
        (b'{"resourceType": "Bundle", "entry": {}}', "malformed"),
        (b'{"resourceType": "Bundle", "entry": [7]}', "malformed"),
        (b'{"resourceType": "Bundle", "a": ' + b"[" * 100_000, "malformed"),
        (b'{"resourceType": "Bundle\xff"}', "undecodable-text"),
        (bundle(report(conclusion="No fever. " * 100_001)), "too-large"),
    ],
)
def test_refusals_have_stable_codes(read, data: bytes, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        read(data)
    assert (caught.value.code, bool(caught.value.advice)) == (code, True)


def test_a_bundle_is_known_by_its_content() -> None:
    assert fhir.claims(SAMPLE.read_bytes()[:4096], ".txt")
    assert not fhir.claims(b'{"age": 63}', ".json")
    assert not fhir.claims(b'The "resourceType" was unclear.', ".json")


def test_a_bundle_is_whole_at_its_last_bracket(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(SAMPLE.read_bytes().rstrip()[:-5] + b"x")
    assert fhir.whole(path) is not None
    path.write_bytes(SAMPLE.read_bytes())
    assert fhir.whole(path) is None


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("2026-03-02T00:15:00+01:00", "20260301231500"),
        ("20260302001500+0100", "20260301231500"),
        ("2026-03-02", "20260302000000"),
        ("2026", "20260101000000"),
        ("202603020815", "20260302081500"),
        ("soon", ""),
        ("20261345", ""),
        ("00010101000000+1400", ""),
    ],
)
def test_times_of_every_standard_sort(written: str, found: str) -> None:
    assert moment(written) == found


def test_age_counts_whole_years() -> None:
    assert (age("19570630", "20260629000000"), age("19570630", "20260630000000")) == (68, 69)
    assert age("1957", "20260630000000") is age("20270101", "20260630000000") is None


def mutated(document: Any, seed: int) -> Any:
    """The document with some of its parts dropped, doubled or exchanged for others of another type."""
    rng = random.Random(seed)
    other = (None, True, 7, -1e308, "x", "", [], {}, [[]], [None], {"value": []}, "\ud800", "9" * 400)

    def walk(part: Any) -> Any:
        if rng.random() < 0.03:
            return copy.deepcopy(rng.choice(other))
        if isinstance(part, dict):
            return {key: walk(value) for key, value in part.items() if rng.random() > 0.01}
        if isinstance(part, list):
            return [walk(value) for value in part for _ in range(1 + (rng.random() < 0.02))]
        return part

    return walk(document)


def ending(read, data: bytes) -> str:
    try:
        return read(data).kind.value
    except Rejected as why:
        return why.code if why.advice and "DEMO" not in f"{why}" else "without advice"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_whatever_is_changed_in_a_bundle_it_is_read_or_refused(read, seed: int) -> None:
    document = mutated(json.loads(SAMPLE.read_bytes()), seed)
    assert ending(read, json.dumps(document).encode()) != "without advice"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.one_of(
        st.binary(max_size=300), st.binary(max_size=40).map(lambda b: SAMPLE.read_bytes()[:900] + b)
    )
)
def test_random_bytes_are_refused(read, data: bytes) -> None:
    fhir.claims(data, ".json")
    assert re.fullmatch("[a-z-]+", ending(read, data))


@pytest.mark.parametrize("path", sorted(DATA.glob("*")) or [None], ids=lambda p: p and p.name[:24])
def test_public_bundles_are_read(path: Path | None) -> None:
    if path is None:
        pytest.skip("the folder with public FHIR bundles is not here; set WETREAD_DATA")
    start = time.process_time()
    found = fhir.read(path)
    assert time.process_time() - start < 0.5
    people = "Questionnaire" not in path.name
    assert (found.kind, found.identity is not None) == (Kind.TABLE if people else Kind.DOCUMENT, people)
    assert {"height", "weight", "age", "sex"} <= set(str(found.facts["features"]).split(",")) or not people
