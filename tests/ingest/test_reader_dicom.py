"""What the DICOM reader records of an object, and what it refuses and how."""

from __future__ import annotations

import json
import logging
import warnings
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from builders import ROOT, SYNTAXES, dicom_bytes, report_dicom
from db.errors import Rejected
from db.records import Evidence, Kind
from ingest.quiet import quiet
from ingest.readers import dicom

CANARY = ("Canary", "Clara", "P-4711", "19500102")


@pytest.fixture
def put(tmp_path: Path):
    def write(data: bytes, name: str = "x.dcm") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def refusal(path: Path) -> Rejected:
    with pytest.raises(Rejected) as caught:
        dicom.read(path)
    return caught.value


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
def test_identifiers_are_read_in_every_transfer_syntax(put, transfer_syntax: str) -> None:
    data = dicom_bytes(transfer_syntax=transfer_syntax, sop_uid="1.2.3.4", patient_id="P-7", issuer="HOSP")
    found = dicom.read(put(data))
    assert (found.kind, found.uid) == (Kind.IMAGE, "1.2.3.4")
    assert (found.study_uid, found.series_uid) == (f"{ROOT}.100", f"{ROOT}.100.1")
    assert found.facts["transfer_syntax_uid"] == transfer_syntax
    who = found.identity
    assert who is not None
    assert (who.number, who.issuer, who.name, who.birth_date) == ("P-7", "HOSP", "Canary^Clara", "19500102")


def test_facts_are_those_of_the_header(put) -> None:
    facts = dicom.read(put(dicom_bytes(rows=8, columns=10, bits=12))).facts
    expected = {
        "modality": "DX",
        "sop_class_name": "Digital X-Ray Image Storage - For Presentation",
        "rows": 8,
        "columns": 10,
        "frames": 1,
        "bits_stored": 12,
        "photometric": "MONOCHROME2",
        "body_part": "CHEST",
        "view_position": "PA",
        "image_type": "ORIGINAL\\PRIMARY",
        "pixel_spacing": "0.2\\0.2",
        "burned_in": False,
        "has_pixels": True,
    }
    assert {key: facts[key] for key in expected} == expected


def test_a_slice_tells_its_plane_and_place(put) -> None:
    where = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [5, 6, -42.5]}
    facts = dicom.read(put(dicom_bytes(modality="CT", **where))).facts
    # (1,0,0) x (0,1,0) = (0,0,1); its dot product with (5,6,-42.5) is -42.5
    assert (facts["orientation"], facts["slice_position_mm"]) == ("transverse", -42.5)


def test_the_case_is_the_accession_number_with_its_issuer(put) -> None:
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "RIS"
    assert dicom.read(put(dicom_bytes(accession="A9"))).case_key == "A9"
    data = dicom_bytes(accession="A9", IssuerOfAccessionNumberSequence=[issuer])
    assert dicom.read(put(data)).case_key == "A9^^^RIS"


def test_without_accession_number_the_case_is_the_study(put) -> None:
    assert dicom.read(put(dicom_bytes(study_uid="1.2.9"))).case_key == "1.2.9"


def test_an_object_of_nobody_has_no_identity(put) -> None:
    assert dicom.read(put(dicom_bytes(patient_id="", name=""))).identity is None


def test_a_report_is_a_document(put) -> None:
    found = dicom.read(put(report_dicom()))
    assert (found.kind, found.facts["modality"], found.facts["has_pixels"]) == (Kind.DOCUMENT, "SR", False)


def test_free_text_where_a_code_belongs_is_left_out(put) -> None:
    ds = pydicom.dcmread(BytesIO(dicom_bytes(body_part="CHESTXXXXXXXXXXX")))
    data = dicom_bytes(body_part="CHESTXXXXXXXXXXX").replace(b"CHESTXXXXXXXXXXX", b"Seen by Dr. Poe.")
    assert ds.BodyPartExamined == "CHESTXXXXXXXXXXX"
    assert dicom.read(put(data)).facts["body_part"] == ""


def test_no_preamble_is_no_obstacle(put) -> None:
    data = dicom_bytes()[132:]
    assert dicom.claims(data[:4096], "")
    assert dicom.read(put(data, "IM0001")).kind is Kind.IMAGE
    assert dicom.payload(data).pixels.shape == (8, 8)


@pytest.mark.parametrize(
    "head",
    [b"", b"MRN: 7\n\nNo pneumonia.", b"\x89PNG\r\n\x1a\n" + bytes(200), b"%PDF-1.7", bytes(4096), b"{}"],
)
def test_other_files_are_not_claimed_whatever_their_name(head: bytes) -> None:
    assert not dicom.claims(head, ".dcm")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"not DICOM at all", "not-dicom"),
        (dicom_bytes(drop=["SOPInstanceUID"]), "no-sop-instance-uid"),
        (dicom_bytes(drop=["StudyInstanceUID"]), "no-sop-instance-uid"),
        (dicom_bytes(drop=["SeriesInstanceUID"]), "no-sop-instance-uid"),
        (dicom_bytes(drop=["PixelData"]), "no-pixels"),
        (
            dicom_bytes(study_uid="1.2.3").replace(b"\x00UI\x06\x001.2.3\0", b"\x00UI\x06\x00../../"),
            "bad-uid",
        ),
        (dicom_bytes()[:200], "truncated"),
        (dicom_bytes()[:-20], "truncated"),
        (
            dicom_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0", 1),
            "unsupported-transfer-syntax",
        ),
    ],
)
def test_refusals_have_stable_codes(put, data: bytes, code: str) -> None:
    met = refusal(put(data))
    assert met.code == code
    assert met.sentence
    assert met.advice


def test_a_uid_may_end_in_padding(put) -> None:
    data = dicom_bytes(sop_uid="1.2.3").replace(b"\x00UI\x06\x001.2.3\0", b"\x00UI\x06\x001.2.3 ")
    assert dicom.read(put(data)).uid == "1.2.3"


def test_no_refusal_quotes_the_patient(put) -> None:
    data = dicom_bytes(patient_id="P-4711", name="Canary^Clara", rows=16, columns=16)
    for end in range(132, len(data), 7):
        met = refusal(put(data[:end]))
        assert not any(word in f"{met} {met.advice}" for word in CANARY)


def test_a_library_warning_stays_inside(put, caplog: pytest.LogCaptureFixture) -> None:
    data = dicom_bytes(birth_date="19500102").replace(b"19500102", b"Canary99")
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        found = dicom.read(put(data))
    assert found.identity is not None
    assert found.identity.birth_date == ""
    assert [str(w.message) for w in caught] == []
    assert "Canary" not in caplog.text


def test_quiet_gives_the_filters_back_when_the_last_one_leaves() -> None:
    before = list(warnings.filters)
    with quiet(), quiet():
        warnings.warn("Canary", stacklevel=1)
    assert warnings.filters == before


def test_evidence_never_shows_the_patient(put) -> None:
    found: Evidence = dicom.read(put(dicom_bytes(patient_id="P-4711")))
    assert not any(word in repr(found) for word in CANARY)


def test_a_place_beyond_all_numbers_is_no_place(put) -> None:
    where = {"ImageOrientationPatient": ["1e200"] * 3 + ["-1e200"] * 3, "ImagePositionPatient": ["1e300"] * 3}
    facts = dicom.read(put(dicom_bytes(**where))).facts
    assert facts["slice_position_mm"] is None
    json.dumps(dict(facts), allow_nan=False)  # PostgreSQL's JSON has no NaN
