"""What the HL7 v2 reader makes of messages, and what it refuses."""

from __future__ import annotations

import base64
import os
import re
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest.readers import hl7
from models.payloads import Note, Table, Variants

SAMPLE = Path(__file__).parents[2] / "console" / "samples" / "report.hl7"
DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[3] / "shared" / "data")) / "ehr" / "hl7v2"
MSH = r"MSH|^~\&|APP|HOSP|||20260101120000||ORU^R01|M-1|P|2.5"
PID = "PID|1|P2|S-1^^^GOV^SS~P-7^^^HOSP&1.2&ISO^MR||Canary&van^Clara^C||19500102|F"
WEIGHT = "OBX|1|NM|29463-7^Weight^LN||80|kg|||||F"


def message(*segments: str, msh: str = MSH) -> bytes:
    return "\r".join((msh, *segments, "")).encode()


def result(
    kind: str, code: str, value: str, unit: str = "", status: str = "F", when: str = "", group: str = ""
) -> str:
    return f"OBX|1|{kind}|{code}|{group}|{value}|{unit}|||||{status}|||{when}"


@pytest.fixture
def read(tmp_path: Path):
    def reader(data: bytes, **more: object) -> Evidence:
        path = tmp_path / "m.hl7"
        path.write_bytes(data)
        return hl7.read(path, **more)

    return reader


def values(data: bytes) -> dict[str, float | str]:
    found = hl7.payload(data, Kind.TABLE)
    assert isinstance(found, Table)
    return dict(found.values)


def text(data: bytes) -> str:
    found = hl7.payload(data, Kind.NOTE)
    assert isinstance(found, Note)
    return found.text


def test_the_sample_is_a_table_and_a_note(read) -> None:
    found = read(SAMPLE.read_bytes())
    assert found.identity is not None
    assert (found.kind, found.also, found.format) == (Kind.TABLE, (Kind.NOTE,), "hl7")
    assert (found.identity.number, found.identity.issuer, found.case_key) == ("DEMO-0005", "DEMO", "DEMO-E5")
    assert found.facts["message"] == "ORU^R01"


@pytest.mark.parametrize("drug", ["703^Amiodarone^RXN", "PACERONE^amiodarone 200 mg tablet^L"])
def test_an_ordered_medication_is_told_by_its_substance(drug: str) -> None:
    assert values(message(PID, WEIGHT, "ORC|NW", f"RXE||{drug}"))["amiodarone_use"] == "yes"
    assert "amiodarone_use" not in values(message(PID, WEIGHT, "ORC|CA", f"RXE||{drug}"))


def test_the_sample_s_values_are_in_the_features_units() -> None:
    found = values(SAMPLE.read_bytes())
    assert found["glucose"] == pytest.approx(6.1 * 18.016)
    assert found["leukocytes"] == pytest.approx(11.4)  # 10^9/L is 10^3/uL
    assert (found["sodium"], found["heart_rate"], found["sex"]) == (136, 96, "male")
    assert found["age"] == 77  # 1948-09-11 to 2026-03-02


def test_the_sample_s_text_has_its_lines_titles_and_characters() -> None:
    assert text(SAMPLE.read_bytes()) == (
        "Findings\nThe heart is enlarged. No focal consolidation.\nSmall left pleural effusion.\n\n"
        "Impression\nNo pneumonia. Possible congestive heart failure & left effusion."
    )


def test_the_patient_is_the_medical_record_s_number(read) -> None:
    found = read(message(PID, "PV1|1|I|||||||||||||||||V-1^^^X", WEIGHT))
    who = found.identity
    assert who is not None
    assert (who.number, who.issuer, who.name, who.birth_date) == ("P-7", "HOSP", "Canary^Clara^C", "19500102")
    assert found.case_key == "V-1"


def test_a_message_is_known_by_its_control_id_and_sender(read) -> None:
    first, again = read(message(PID, WEIGHT)), read(message(PID))
    other = read(message(PID, msh=MSH.replace("|HOSP|", "|CLINIC|")))
    assert first.uid == again.uid != other.uid
    assert re.fullmatch("[0-9a-f]{64}", first.uid)


def test_an_admission_without_values_is_a_document(read) -> None:
    assert read(message(PID, msh=MSH.replace("ORU^R01", "ADT^A01"))).kind is Kind.DOCUMENT


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("frame", [("", ""), ("\x0b", "\x1c\r"), ("\ufeff", "")])
def test_line_ends_and_frames_are_tolerated(read, end: str, frame: tuple[str, str]) -> None:
    data = (frame[0] + end.join((MSH, PID, WEIGHT)) + end + frame[1]).encode()
    assert hl7.claims(data, ".txt")
    assert read(data).facts["features"] == "age,sex,weight"


def test_a_batch_of_one_is_a_message(read) -> None:
    assert read(b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + message(PID, WEIGHT) + b"BTS|1\rFTS|1\r").kind is Kind.TABLE


@pytest.mark.parametrize(
    ("one", "left_out"),
    [
        (result("NM", "8302-2^^LN", "170", "cm", status="X"), 0),
        (result("NM", "8302-2^^LN", "170", "kg"), 1),
        (result("NM", "8302-2^^LN", "60~120", "cm"), 1),
        (result("SN", "8302-2^^LN", "<^170", "cm"), 1),
        (result("NM", "8302-2^^LN", "", "cm"), 0),
        (result("NM", "8302-2^^99LOCAL", "170", "cm"), 0),
    ],
)
def test_what_cannot_be_understood_is_left_out_and_counted(read, one: str, left_out: int) -> None:
    data = message(one, WEIGHT)
    assert values(data) == {"weight": 80}
    assert read(data).facts["left_out"] == left_out


@pytest.mark.parametrize(
    "one",
    [
        result("SN", "8302-2^^LN", "^170", "cm"),
        result("SN", "8302-2^^LN", "=^1.7", "m"),
        result("NM", "HT^Height^L^8302-2^Body height^LN", "170", "cm^centimetre^UCUM"),
        result("ST", "8302-2^^LN", "170", "cm"),
    ],
)
def test_a_number_may_come_in_other_types(one: str) -> None:
    assert values(message(one)) == {"height": pytest.approx(170)}


def test_the_latest_result_wins() -> None:
    first = result("NM", "8867-4^^LN", "90", "/min", when="20260101130000")
    assert (
        values(message(first, result("NM", "8867-4^^LN", "70", "/min", when="20260101120000")))["heart_rate"]
        == 90
    )


def test_a_diagnosis_makes_its_feature_present() -> None:
    assert values(message("DG1|1||73211009^Diabetes^SCT"))["diabetes"] == "yes"
    with pytest.raises(Rejected, match="wrong-kind"):
        values(message("DG1|1||99999^Something^SCT"))


def test_a_diplotype_belongs_to_the_gene_of_its_group() -> None:
    data = message(
        result("CWE", "48018-6^Gene^LN", "HGNC:2623^CYP2C9^HGNC", group="1a"),
        result("CWE", "48018-6^Gene^LN", "HGNC:2621^CYP2C19^HGNC", group="2a"),
        result("ST", "84413-4^Genotype^LN", "*1/*3", group="1a"),
    )
    found = hl7.payload(data, Kind.VARIANTS)
    assert isinstance(found, Variants)
    assert found.diplotypes == {"CYP2C9": "*1/*3"}


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        (r"a \F\ b \S\ c \T\ d \R\ e \E\ f", "a | b ^ c & d ~ e \\ f"),
        (r"one\.br\two", "one\ntwo"),
        (r"\H\No\N\ fever", "No fever"),
        (r"5 \X0D0A\mg \XC3A9\ ", "5 \r\nmg é".replace("\r\n", "\n")),
        (r"5 \ 7 mg \ZZ\ and more", r"5 \ 7 mg \ZZ\ and more"),
        ("first~second", "first\nsecond"),
        ("first\nsecond", "first\nsecond"),
    ],
)
def test_escapes_are_resolved_and_nothing_is_lost(written: str, plain: str) -> None:
    assert text(message(result("TX", "18748-4^^LN", written))) == plain


def test_an_embedded_text_is_read_and_a_pdf_counted(read) -> None:
    def embedded(data: bytes, kind: str) -> str:
        return result("ED", "11506-3^^LN", f"^{kind}^Base64^{base64.b64encode(data).decode()}")

    assert text(message(embedded(b"No fever.", "text^plain"))) == "No fever."
    assert text(message(embedded(b"<p>No fever.</p>", "text^html"))) == "No fever."
    assert read(message(embedded(b"%PDF", "application^pdf"), WEIGHT)).facts["unread"] == 1
    with pytest.raises(Rejected, match="unsupported-body"):
        read(message(embedded(b"%PDF", "application^pdf")))


def test_the_documents_of_a_message_are_kept_apart() -> None:
    document = ["OBR|1||1|18748-4^^LN", result("TX", "a", "No fever.")]
    assert text(message(*document, *document)) == "No fever.\n\f\nNo fever."


def test_a_document_s_type_is_told(read) -> None:
    assert read(message("TXA|1|DS", result("TX", "a", "Home."))).facts["note_type"] == "discharge"


def test_the_character_set_that_the_message_names_is_taken() -> None:
    named = MSH + "||||||8859/1"
    assert text(message(result("TX", "a", "Fièvre"), msh=named).decode().encode("latin-1")) == "Fièvre"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (PID.encode(), "malformed"),
        (b"MSH", "malformed"),
        (b"MSH||||", "malformed"),
        (b"FHS|^~\\&|A\r", "malformed"),
        (message(PID) * 2, "several-messages"),
        (message(PID, "PID|2||P-8^^^H^MR"), "several-patients"),
        (b"\x0b" + message(PID), "truncated"),
        (message("NTE|1||\xff").decode().encode("latin-1"), "undecodable-text"),
        (message("NTE|1||\0"), "binary"),
        (message(*["NTE|1"] * 100_001), "too-large"),
        (message(result("TX", "a", "~" * 10_001)), "too-large"),
        (message("x\n" * 2_000_001), "too-large"),
        (message(result("TX", "a", "No fever. " * 100_001)), "too-large"),
        (message(msh=MSH + "||||||8859/77") + b"\xff", "undecodable-text"),
    ],
)
def test_refusals_have_stable_codes(read, data: bytes, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        read(data)
    assert (caught.value.code, bool(caught.value.advice)) == (code, True)
    assert "Canary" not in f"{caught.value}"


@pytest.mark.parametrize("head", [b"", b"MSH is a hormone.", b"MSH: 12 pg/mL", b"PID|1", b"BHS (heart)"])
def test_prose_is_no_message(head: bytes) -> None:
    assert not hl7.claims(head, ".txt")
    assert hl7.claims(head, ".hl7")


@pytest.mark.parametrize(
    "line", [MSH + "|" * 9000, "MSH|^~\\&" + "8859/" * 4000, MSH + "\\" * 9000, "\n" * 9000 + MSH]
)
def test_a_long_line_costs_no_more_than_its_length(line: str) -> None:
    start = time.process_time()
    with pytest.raises(Rejected):
        hl7.payload(line.encode() + b"\r" + b"\xff", Kind.TABLE)
    assert time.process_time() - start < 1


def ending(read, data: bytes) -> str:
    try:
        return read(data).kind.value
    except Rejected as why:
        return why.code if why.advice and "DEMO" not in f"{why}" else "without advice"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_comes_is_read_or_refused(read, data) -> None:
    out = bytearray(SAMPLE.read_bytes())
    for _ in range(data.draw(st.integers(0, 8))):
        at = data.draw(st.integers(0, len(out)))
        piece = st.one_of(
            st.binary(max_size=6), st.sampled_from([b"|", b"^", b"~", b"\\", b"&", b"\rOBX|", b"\rPID|"])
        )
        out[at : at + data.draw(st.integers(0, 9))] = data.draw(piece)
    hl7.claims(bytes(out), "")
    assert re.fullmatch("[a-z-]+", ending(read, bytes(out)))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tail=st.one_of(st.binary(max_size=300), st.text("MSHPIDOBX|^~\\&\r19.", max_size=200).map(str.encode)))
def test_random_bytes_are_read_or_refused(read, tail: bytes) -> None:
    assert ending(read, tail) != "without advice"
    assert ending(read, message(PID) + tail) != "without advice"


def test_every_public_message_is_read_or_refused_for_a_reason(read) -> None:
    paths = sorted(DATA.glob("*"))
    if not paths:
        pytest.skip("the folder with public HL7 v2 messages is not here; set WETREAD_DATA")
    assert all(hl7.claims(path.read_bytes()[:4096], path.suffix) for path in paths)
    ends = Counter(ending(read, path.read_bytes()) for path in paths)
    assert ends.keys() <= {"table", "note", "document", "several-patients", "unsupported-body"}
    assert ends["several-patients"] + ends["unsupported-body"] <= len(paths) * 0.15
