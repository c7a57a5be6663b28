"""What the note reader makes of texts, headers, sidecars and folders, and what it refuses."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest

from builders import note_bytes
from db.errors import Rejected
from db.records import Evidence, Kind
from ingest.readers import note

TEXT = "CHEST: No focal consolidation.\nNo effusion.\n"


@pytest.fixture
def read(tmp_path: Path):
    def reader(data: bytes, **more: object) -> Evidence:
        path = tmp_path / "n.txt"
        path.write_bytes(data)
        return note.read(path, **more)

    return reader


def refusal(read, data: bytes, **more: object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        read(data, **more)
    return caught.value


def test_a_bare_note_is_a_case_of_its_own(read) -> None:
    found = read(TEXT.encode())
    assert (found.kind, found.case_key, found.identity) == (Kind.NOTE, "", None)
    assert found.facts == {
        "note_type": "",
        "characters": len(TEXT),
        "lines": 2,
        "encoding": "utf-8",
        "has_header": False,
    }


def test_a_header_says_whose_the_note_is(read) -> None:
    data = note_bytes(
        TEXT, mrn="P-7", issuer="HOSP", patient_name="Canary^Clara", dob="1950-01-02", visit="E9",
        note_type="Discharge Summary",
    )  # fmt: skip
    found = read(data)
    who = found.identity
    assert who is not None
    assert (who.number, who.issuer, who.name, who.birth_date) == ("P-7", "HOSP", "Canary^Clara", "19500102")
    assert (found.case_key, found.facts["note_type"], found.facts["has_header"]) == ("E9", "discharge", True)


def test_the_model_sees_the_text_without_its_header() -> None:
    assert note.payload(note_bytes(TEXT, patient_id="P-7", author="Dr. Poe")).text == TEXT


def test_the_accession_number_stands_in_for_the_encounter(read) -> None:
    assert read(note_bytes(TEXT, accession="A1")).case_key == "A1"
    assert read(note_bytes(TEXT, accession="A1", encounter="E1")).case_key == "E1"


@pytest.mark.parametrize(
    "start", ["Impression: pneumonia.\n\n", "HISTORY: cough\nMRN: 7\n\n", "\nMRN: 7\n\n"]
)
def test_only_a_first_line_with_a_known_key_begins_a_header(start: str) -> None:
    text = start + TEXT
    assert note.payload(text.encode()).text == text


def test_a_header_without_a_blank_line_is_text() -> None:
    text = "MRN: 7\nNo pneumonia was seen today\nfollow up\n"
    assert note.payload(text.encode()).text == text


def test_clinical_lines_within_a_header_stay_in_the_text() -> None:
    data = b"MRN: 7\nReason for exam: cough\nDate: 2024-01-02\n\nClear.\n"
    assert note.payload(data).text == "Reason for exam: cough\nClear.\n"


def test_the_sidecar_goes_before_the_header_and_that_before_the_folder(read) -> None:
    data = note_bytes(TEXT, patient_id="P-7", encounter="E-header")
    parts = ["ward", "patient=P-7", "encounter=E-folder"]
    assert read(data, parts=parts).case_key == "E-header"
    assert read(data, parts=parts, sidecar=b'{"encounter_id": "E-sidecar"}').case_key == "E-sidecar"
    assert read(TEXT.encode(), parts=["patient-P-8", "Encounter-5"]).case_key == "5"


@pytest.mark.parametrize(
    ("header", "sidecar", "parts"),
    [
        ({"mrn": "P-7"}, b'{"mrn": "P-8"}', []),
        ({"mrn": "P-7"}, None, ["patient=P-8"]),
        ({}, b'{"PatientID": "x", "patient_id": "P-7"}', ["patient=P-8"]),
        ({"mrn": "P-7", "patient_id": "P-8"}, None, []),
        ({}, None, ["patient=P-7", "patient=P-8"]),
    ],
)
def test_two_patients_for_one_note_are_a_contradiction(read, header, sidecar, parts) -> None:
    met = refusal(read, note_bytes(TEXT, **header), sidecar=sidecar, parts=parts)
    assert met.code == "contradiction"
    assert "P-7" not in f"{met}{met.advice}"


@pytest.mark.parametrize(
    "sidecar", [b"", b"[]", b"{", b"\xff", b'{"mrn": {"a": 1}}', b'{"mrn": true}', b"[" * 9999]
)
def test_a_sidecar_that_is_no_object_of_texts_is_refused(read, sidecar: bytes) -> None:
    assert refusal(read, TEXT.encode(), sidecar=sidecar).code == "bad-sidecar"


@pytest.mark.parametrize("key", ["patient_id", "PatientID", "patientId", "Patient ID", "MRN", "mrn"])
def test_a_key_may_be_spelled_as_people_spell_it(read, key: str) -> None:
    found = read(TEXT.encode(), sidecar=json.dumps({key: "P-7"}).encode())
    assert found.identity is not None
    assert found.identity.number == "P-7"


def test_a_number_in_a_sidecar_is_taken_as_written(read) -> None:
    found = read(TEXT.encode(), sidecar=json.dumps({"patient_id": 4711}).encode())
    assert found.identity is not None
    assert found.identity.number == "4711"


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_unicode_is_read_by_its_mark(read, mark: bytes, encoding: str) -> None:
    data = mark + "Fièvre à 39 °C – 肺炎".encode(encoding)
    assert read(data).facts["encoding"] == encoding
    assert note.payload(data).text == "Fièvre à 39 °C – 肺炎"
    assert note.claims(data, ".txt")


def test_a_code_page_is_never_guessed(read) -> None:
    met = refusal(read, "Fièvre".encode("latin-1"))
    assert (met.code, met.sentence) == ("undecodable-text", "the text is not UTF-8 at byte 2")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b" \r\n\t\f \n", "empty"),
        (codecs.BOM_UTF8, "empty"),
        (note_bytes(" ", mrn="7"), "empty"),
        (b"a" * 1_000_001, "too-large"),
        (b"abc\0def" * 9, "binary"),
        (b"\xff\x00" * 50, "binary"),
        (b"\x01\x02\x03 few words", "binary"),
        (codecs.BOM_UTF16_LE + b"a", "undecodable-text"),
    ],
)
def test_refusals_have_stable_codes(read, data: bytes, code: str) -> None:
    met = refusal(read, data)
    assert (met.code, bool(met.advice)) == (code, True)


def test_the_limit_is_the_callers(read) -> None:
    data = b"word " * 300_000
    assert refusal(read, data).code == "too-large"
    assert read(data, max_bytes=2_000_000).facts["characters"] == 1_500_000
    assert len(note.payload(data).text) == 1_500_000


def test_control_characters_become_spaces_and_offsets_hold() -> None:
    text = "No fever.\x1b[31m\tClear lungs.\r\nEnd.\x0c" + "x" * 40
    assert note.payload(text.encode()).text == text.replace("\x1b", " ")


def test_the_note_type_is_one_of_a_fixed_list(read) -> None:
    assert read(note_bytes(TEXT, note_type="Progress Note")).facts["note_type"] == "progress"
    assert read(note_bytes(TEXT, note_type="Clara Canary's letter")).facts["note_type"] == "other"


@pytest.mark.parametrize(
    ("head", "suffix", "kind"),
    [
        (b'<?xml version="1.0"?><Report>', ".xml", "XML"),
        (b'<Bundle xmlns="http://hl7.org/fhir">', ".xml", "FHIR in XML"),
        (b"%PDF-1.7", ".pdf", "PDF"),
        (b"\xff\xd8\xff\xe0", ".jpg", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", ".png", "PNG"),
        (b"PK\x03\x04", ".docx", "zip"),
        (b"age,sex\n\0", ".csv", "named as a table"),
        (b"\x5c\x01\0\0" + bytes(340) + b"n+1\0", ".nii", "NIfTI"),
        (b"100 2 360 650000", ".atr", "WFDB"),
        (b"\x01\x02\x03\x80", ".dat", "WFDB"),
    ],
)
def test_known_kinds_are_named(head: bytes, suffix: str, kind: str) -> None:
    found = note.foreign(head, suffix)
    assert found is not None
    assert found[0] == "unsupported-kind"
    assert kind in found[1]
    assert not note.claims(head, ".txt") or suffix in (".csv", ".atr", ".dat")


@pytest.mark.parametrize(
    "head", [b"", b"No pneumonia.", b"BMI 25, afebrile", b"{cough} [none]", b"<50 % stenosis"]
)
def test_prose_is_a_note_and_nothing_foreign(head: bytes) -> None:
    assert note.foreign(head, ".txt") is None
    assert note.claims(head, ".txt")
    assert not note.claims(head, ".csv")


def test_a_sidecar_is_known_by_the_note_beside_it() -> None:
    names = {"a.txt", "a.txt.json", "b.note", "b.json", "c.json", "d.dcm", "d.json"}
    found = {name for name in names if note.is_sidecar(Path(name), names)}
    assert found == {"a.txt.json", "b.json"}


def test_an_empty_file_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "n.txt"
    path.touch()
    assert note.whole(path) is not None
    path.write_text("Clear.")
    assert note.whole(path) is None


def test_half_a_surrogate_pair_in_a_sidecar_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "n.txt"
    path.write_text("Fever.")
    found = note.read(path, sidecar=b'{"patient_id": "1", "patient_name": "A\\ud800B"}')
    assert found.identity is not None
    assert found.identity.name == "A?B"
