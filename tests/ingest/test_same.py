"""Same and not the same: bytes, UIDs, pixels and words under other headers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from console import samples
from db import reports
from ingest.readers import dicom, note
from tests.bench import Bench
from tests.builders import DEFLATED, EXPLICIT, IMPLICIT, RLE, dicom_bytes, note_bytes, write_tree

GRADIENT = np.arange(64, dtype=np.uint8).reshape(8, 8)


def links(bench: Bench) -> list[str]:
    with bench.store.read() as connection:
        return list(connection.scalars(text("SELECT relation FROM evidence_links")))


def content(tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str = "a.dcm") -> str:
    path = tmp_path_factory.mktemp("same") / name
    path.write_bytes(data)
    return (note if name.endswith(".txt") else dicom).read(path).content


# ── pixels ────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_pixels_under_another_header_are_linked_and_both_read(bench: Bench) -> None:
    write_tree(bench.inbox, {"a.dcm": dicom_bytes()})
    bench.settle()
    write_tree(bench.inbox, {"b.dcm": dicom_bytes(patient_id="P-2", name="Other^One", InstanceNumber=9)})
    bench.settle()
    assert (links(bench), bench.files(), len(set(bench.sent))) == (["same_pixels_as"], {"ready": 2}, 2)


def test_the_link_stands_in_both_cases_and_in_the_audit(bench: Bench) -> None:
    write_tree(bench.inbox, {"a.dcm": dicom_bytes(), "b.dcm": dicom_bytes(study_uid="1.2.3")})
    bench.settle()
    with bench.store.read() as connection:
        cases = list(connection.scalars(text("SELECT case_id FROM v_cases")))
        found = [reports.case_report(connection, case) for case in cases]
        steps = list(connection.scalars(text("SELECT action FROM v_audit WHERE action = 'evidence:linked'")))
    assert [[k["relation"] for k in case["links"]] for case in found if case] == [["same_pixels_as"]] * 2
    assert len(steps) == 1


HEADERS = [
    {"transfer_syntax": IMPLICIT},
    {"transfer_syntax": DEFLATED},
    {"name": "Another^Name"},
    {"body_part": "ABDOMEN"},
    {"PixelSpacing": [0.5, 0.5]},
]


@pytest.mark.parametrize("header", HEADERS, ids=str)
def test_another_header_or_encoding_of_the_data_set_is_the_same_content(
    tmp_path_factory: pytest.TempPathFactory, header: dict[str, Any]
) -> None:
    first = content(tmp_path_factory, dicom_bytes(pixels=GRADIENT, transfer_syntax=EXPLICIT))
    assert content(tmp_path_factory, dicom_bytes(pixels=GRADIENT, **header)) == first


OTHERS = [
    {"pixels": GRADIENT + 1},
    {"pixels": GRADIENT.reshape(4, 16)},
    {"photometric": "MONOCHROME1"},
    {"ImagePositionPatient": [0, 0, 5]},
    {"transfer_syntax": RLE},
]


@pytest.mark.parametrize("other", OTHERS, ids=range(len(OTHERS)))
def test_other_pixels_another_layout_or_another_place_are_other_content(
    tmp_path_factory: pytest.TempPathFactory, other: dict[str, Any]
) -> None:
    first = content(tmp_path_factory, dicom_bytes(pixels=GRADIENT))
    assert content(tmp_path_factory, dicom_bytes(**{"pixels": GRADIENT, **other})) != first


# ── words ─────────────────────────────────────────────────────────────────────────────────────────

NOTE = "Cough since Monday.\nNo fever."


def test_a_note_sent_again_under_another_header_is_one_reading(bench: Bench) -> None:
    write_tree(bench.inbox, {"a.txt": note_bytes(NOTE, patient_id="7", encounter="E-1")})
    bench.settle()
    again = note_bytes(NOTE.replace("\n", "\r\n") + "  \r\n\r\n", patient_id="7", author="Dr X")
    write_tree(bench.inbox, {"b.txt": again})
    bench.settle()
    assert (links(bench), bench.files(), len(set(bench.sent))) == (
        ["same_text_as"], {"ready": 1, "done": 1}, 1,
    )  # fmt: skip
    assert bench.store.verify_audit().ok


def test_the_same_words_of_another_patient_are_another_reading(bench: Bench) -> None:
    for number in ("7", "8"):
        write_tree(bench.inbox, {f"{number}.txt": note_bytes(NOTE, patient_id=number)})
    bench.settle()
    assert (links(bench), len(set(bench.sent))) == ([], 2)


def test_the_same_words_of_two_unknown_patients_in_two_encounters_are_two_readings(bench: Bench) -> None:
    for encounter in ("E-1", "E-2"):
        write_tree(bench.inbox, {f"{encounter}.txt": note_bytes(NOTE, encounter=encounter)})
    bench.settle()
    assert (links(bench), len(set(bench.sent))) == ([], 2)


words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=20)
lines = st.lists(words, min_size=1)


@given(lines, st.sampled_from(["\r\n", "\r", "\n"]), st.integers(0, 3))
def test_line_ends_and_outer_blank_lines_do_not_change_a_note(
    tmp_path_factory: pytest.TempPathFactory, found: list[str], ends: str, blank: int
) -> None:
    body = ["Seen today.", *found, "End."]
    first = content(tmp_path_factory, "\n".join(body).encode(), "a.txt")
    other = ends.join([*body, *[""] * blank])
    assert content(tmp_path_factory, other.encode(), "a.txt") == first


def test_other_words_are_other_content(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = {content(tmp_path_factory, words, "a.txt") for words in (b"No fever.", b"Fever.", b"No  fever.")}
    assert len(found) == 3


def test_the_stored_digest_is_keyed(bench: Bench) -> None:
    """A short text could be guessed from a plain digest of it."""
    write_tree(bench.inbox, {"a.txt": b"Cough."})
    bench.settle()
    with bench.store.read() as connection:
        stored = str(connection.scalar(text("SELECT content FROM evidence")))
    plain = note.read(write_tree(bench.settings.home, {"a.txt": b"Cough."})[0]).content
    assert plain
    assert stored.startswith("s-")
    assert plain[:20] not in stored


# ── messages ──────────────────────────────────────────────────────────────────────────────────────

SAMPLES = Path(samples.__file__).parent


def message() -> bytes:
    """A FHIR bundle with an identifier of its own."""
    bundle = json.loads((SAMPLES / "patient.fhir.json").read_text("utf-8"))
    return json.dumps({**bundle, "type": "message", "identifier": {"value": "m-1"}}).encode()


@pytest.mark.parametrize(("name", "data"), [
    ("a.hl7", (SAMPLES / "report.hl7").read_bytes()), ("a.json", message())
], ids=["hl7", "fhir"])  # fmt: skip
def test_a_message_sent_again_in_other_bytes_is_a_duplicate(bench: Bench, name: str, data: bytes) -> None:
    write_tree(bench.inbox, {f"1/{name}": data})
    bench.settle()
    write_tree(bench.inbox, {f"2/{name}": data.rstrip() + b"\r\n\r\n"})
    bench.settle()
    assert bench.files()["duplicate"] == 1


def test_another_text_under_the_same_message_identifier_is_a_conflict(bench: Bench) -> None:
    data = (SAMPLES / "report.hl7").read_bytes()
    write_tree(bench.inbox, {"1.hl7": data})
    bench.settle()
    write_tree(bench.inbox, {"2.hl7": data + b"OBX|99|TX|X||another word||||||F\r"})
    bench.settle()
    assert bench.refused() == ["conflict"]
