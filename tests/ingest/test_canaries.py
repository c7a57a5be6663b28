"""A patient whose every word is a canary: whatever kind of file speaks of her, nothing else does."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import prometheus_client
import pytest
import structlog
from pydicom.dataset import Dataset
from sqlalchemy import text

import builders
from console import samples
from db import logs, metrics
from db.errors import Rejected
from db.records import Kind
from ingest import identify, reading
from tests import bench as benches
from tests.bench import Bench
from tests.builders import write_tree

NAME, NUMBER, BORN = "Zyxwvut^Quibble", "MRN-90210-Q", "19171107"
SENTENCE = "Grumbling over marmalade"
WORDS = ("zyxwvut", "quibble", "90210", "19171107", "1917-11-07", "grumbling", "marmalade")
PLACES = (
    *(b"63", b"90", b"2345-7", b"11506-3", b"0/1", b"94942290", b"ACGT", b"CCO", b"360", b"212 200"),
    *(b"final", b"mg/dL", b"Bundle", b"MSH|^~", b"patientRole", b"\nage", b"#CHROM", b"GT"),
)
SAMPLES = Path(samples.__file__).parent
ALL = tuple(benches.card(f"{kind}s", kind) for kind in Kind if kind is not Kind.DOCUMENT)


def _table() -> bytes:
    return (f"patient_id,patient_name,birth_date,encounter,age,sex,rs1799853,{NAME},remark\n"
            f"{NUMBER},{NAME},1917-11-07,{NUMBER},63,female,C/T,{NAME},{SENTENCE}\n").encode()  # fmt: skip


def _json() -> bytes:
    owner = {"patient_id": NUMBER, "patient_name": NAME, "birth_date": BORN, "encounter": NUMBER}
    return json.dumps({**owner, "values": {"age": 63, NAME: SENTENCE}}).encode()


def _fhir() -> bytes:
    patient = {
        "resourceType": "Patient", "id": NUMBER, "identifier": [{"system": NAME, "value": NUMBER}],
        "name": [{"family": "Quibble", "given": ["Zyxwvut"]}], "birthDate": "1917-11-07", "gender": "female",
        "text": {"div": f"<div>{SENTENCE}</div>"},
    }  # fmt: skip
    glucose = {
        "resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/{NUMBER}"},
        "code": {"text": NAME, "coding": [{"system": "http://loinc.org", "code": "2345-7", "display": NAME}]},
        "valueQuantity": {"value": 90, "unit": "mg/dL"}, "note": [{"text": SENTENCE}],
    }  # fmt: skip
    note = {
        "resourceType": "DocumentReference", "status": "current", "description": SENTENCE,
        "subject": {"reference": f"Patient/{NUMBER}"}, "type": {"text": NAME},
        "content": [{"attachment": {"contentType": "text/plain", "title": NAME,
                                    "data": base64.b64encode(SENTENCE.encode()).decode()}}],
    }  # fmt: skip
    entries = [{"fullUrl": NUMBER, "resource": one} for one in (patient, glucose, note)]
    return json.dumps(
        {"resourceType": "Bundle", "type": "document", "id": NUMBER, "entry": entries,
         "identifier": {"system": NAME, "value": NUMBER}}
    ).encode()  # fmt: skip


def _hl7() -> bytes:
    return "\r".join((
        f"MSH|^~\\&|{NAME}|{NAME}|{NUMBER}|{NAME}|20240101||ORU^R01|{NUMBER}|P|2.5.1",
        f"PID|1||{NUMBER}^^^{NAME}^MR||{NAME}||{BORN}|F|||{SENTENCE}",
        f"PV1|1|I|{NAME}||||||||||||||||{NUMBER}",
        f"OBR|1|{NUMBER}|{NUMBER}|11506-3^{NAME}^LN|||20240101",
        f"OBX|1|NM|2345-7^{NAME}^LN||90|mg/dL|{NAME}|||||F",
        f"OBX|2|TX|11506-3^{NAME}^LN||{SENTENCE}||||||F",
        f"ZZ1|{NAME}|{SENTENCE}",
    )).encode()  # fmt: skip


def _cda() -> bytes:
    return f"""<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<id root="1.2.3" extension="{NUMBER}"/><code code="11506-3" displayName="{NAME}"/><title>{SENTENCE}</title>
<recordTarget><patientRole><id root="1.2.4" extension="{NUMBER}"/><patient>
<name><given>Zyxwvut</given><family>Quibble</family></name><birthTime value="{BORN}"/></patient></patientRole>
</recordTarget><component><structuredBody><component><section><title>{NAME}</title><text>{SENTENCE}</text>
<entry><observation classCode="OBS" moodCode="EVN"><code code="2345-7" codeSystem="2.16.840.1.113883.6.1"/>
<value xsi:type="PQ" value="90" unit="mg/dL"/></observation></entry></section></component></structuredBody>
</component></ClinicalDocument>""".encode()


def _vcf() -> bytes:
    return (
        f"##fileformat=VCFv4.2\n##reference={NAME}\n##SAMPLE=<ID={NUMBER},Description={SENTENCE}>\n"
        f"##contig=<ID=Quibble>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t{NAME}-{NUMBER}\n"
        f"10\t94942290\trs1799853;{NAME}\tC\tT\t.\tPASS\tQUIBBLE={BORN}\tGT\t0/1\n"
    ).encode()


def _ecg() -> bytes:
    """A DICOM ECG whose texts, in every free-text element that it has, are hers."""
    lead = Dataset()
    source, unit = Dataset(), Dataset()
    source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = "5.6.3-9-2", "SCPECG", NAME
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "uV", "UCUM", NAME
    lead.ChannelSourceSequence, lead.ChannelSensitivityUnitsSequence = [source], [unit]
    lead.ChannelSensitivity, lead.ChannelSensitivityCorrectionFactor, lead.ChannelBaseline = "1", "1", "0"
    lead.ChannelLabel, lead.ChannelSampleSkew, lead.WaveformBitsStored = "Quibble", "0", 16
    group = Dataset()
    group.MultiplexGroupLabel, group.WaveformOriginality = NAME, "ORIGINAL"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples, group.SamplingFrequency = 1, 500, "500"
    group.ChannelDefinitionSequence = [lead]
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.WaveformData = np.arange(500, dtype="<i2").tobytes()
    group["WaveformData"].VR = "OW"
    ds = builders._file("1.2.840.10008.5.1.4.1.1.9.1.2", builders.new_uid(), builders.EXPLICIT)
    builders._patient(ds, NUMBER, "Quibble", NAME, BORN)
    ds.Modality, ds.AccessionNumber, ds.StudyDescription = "ECG", NUMBER, SENTENCE
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{builders.ROOT}.9", f"{builders.ROOT}.9.1"
    ds.InstitutionName, ds.OperatorsName, ds.SeriesDescription = "Quibble", NAME, SENTENCE
    ds.WaveformSequence = [group]
    return builders._written(ds)


def _wfdb() -> dict[str, bytes]:
    header = (SAMPLES / "ecg.hea").read_text().replace("ecg.dat", f"Quibble-{NUMBER}.dat")
    header = header.replace("ecg 2", f"Quibble-{NUMBER} 2").replace("MLII", NAME)
    header += f"# {NAME} {NUMBER} {BORN}\n# {SENTENCE}\n"
    return {"hea": header.encode(), "dat": (SAMPLES / "ecg.dat").read_bytes()}


def _files() -> dict[str, bytes]:
    """Each kind's file by what it is named after the canary's name."""
    who = {"patient_id": NUMBER, "name": NAME, "birth_date": BORN, "accession": NUMBER}
    note = {"mrn": NUMBER, "patient_name": NAME, "dob": BORN, "encounter": NUMBER, "author": NAME}
    wfdb = _wfdb()
    return {
        f"{NAME}.csv": _table(),
        f"{NAME}.values.json": _json(),
        f"{NAME}.json": _fhir(),
        f"{NAME}.other.json": json.dumps({"resourceType": "Quibble", "id": NUMBER}).encode(),
        f"{NAME}.hl7": _hl7(),
        f"{NAME}.xml": _cda(),
        f"{NAME}.vcf": _vcf(),
        f"{NAME}.fasta": f">{NUMBER} {NAME} {BORN} {SENTENCE}\nACGTACGTACGTTTGACA\n".encode(),
        f"{NAME}.smi": f"CCO {NAME} {NUMBER} {BORN} {SENTENCE}\n".encode(),
        f"{NAME}.molecules.csv": f"name,smiles,{NAME}\n{NAME},CCO,{SENTENCE}\n".encode(),
        f"{NAME}.ecg.dcm": _ecg(),
        f"{NAME}.dcm": builders.dicom_bytes(**who, SeriesDescription=SENTENCE, ProtocolName=NAME),
        f"{NAME}.sr.dcm": builders.report_dicom(SENTENCE, patient_id=NUMBER, name=NAME),
        f"{NAME}.txt": builders.note_bytes(SENTENCE, **note),
        f"Quibble-{NUMBER}.hea": wfdb["hea"],
        f"Quibble-{NUMBER}.dat": wfdb["dat"],
    }


FILES = _files()


def _spoiled(data: bytes) -> Iterator[bytes]:
    """The same file cut, twice over, and with her name where something else belongs."""
    word = b"Quibble"
    for share in (4, 2, 1.05):
        yield data[: int(len(data) / share)]
    for was in PLACES:
        if was in data:
            yield data.replace(was, word)
            yield data.replace(was, word + b"\xff")
    yield data.replace(NUMBER.encode(), word, 1)
    yield data + b"\n" + data


def leaks(told: object) -> list[str]:
    """Her words in what is told, however they are written."""
    shown = (told if isinstance(told, str) else repr(told)).lower()
    # five digits alone come by chance within digests and ids
    return [w for w in WORDS if re.search(rf"(?<![0-9a-f]){w}(?![0-9a-f])" if w == "90210" else w, shown)]


def test_the_canary_is_in_every_file() -> None:
    assert [name for name, data in FILES.items() if not name.endswith(".dat") and not leaks(str(data))] == []


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(".dat")])
def test_facts_and_refusals_hold_no_word_of_hers(name: str, tmp_path: Path) -> None:
    data = FILES[name]
    suffix = Path(name).suffix
    if suffix == ".hea":
        write_tree(tmp_path, {n: d for n, d in FILES.items() if n.endswith(".dat")})
    path, read = tmp_path / f"x{suffix}", 0
    for number, version in enumerate((data, *_spoiled(data))):
        path.write_bytes(version)
        told: list[object] = [identify.missing(path, suffix)]
        try:
            reader = identify.by_name(identify.name_of(path, suffix))
            told.append(reader.whole(path))
            evidence = reader.read(path)
            told += [dict(evidence.facts), evidence.content, evidence.format, evidence.also]
            read += number == 0
            for kind in (evidence.kind, *evidence.also):
                if kind is not Kind.DOCUMENT and suffix != ".hea":
                    reader.payload(version, kind)
        except Rejected as why:
            told += [why.code, why.sentence, why.advice, str(why), why.__cause__]
            told.append(None if why.__suppress_context__ else why.__context__)
        assert [word for one in told for word in leaks(one)] == []
    assert read == 1, "the file as it is should be read"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What ingest logs; of loggers of its own, since a logger once configured stays as it was."""
    for name, module in list(sys.modules.items()):
        if name.startswith("ingest.") and hasattr(module, "log"):
            monkeypatch.setattr(module, "log", logs.get("ingest"))
    with structlog.testing.capture_logs() as found:
        yield found


def _told(bench: Bench, lines: list[Any]) -> Iterator[tuple[str, object]]:
    """Everything that people and other programs see of the files: (where, what)."""
    yield from (("log", line) for line in lines)
    yield "metrics", prometheus_client.generate_latest(metrics.registry()).decode()
    yield from (("queue", job) for job in bench.sent)
    with bench.store.read() as connection:
        views = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'view'")).scalars().all()
        assert {"v_files", "v_jobs", "v_results"} <= set(views)
        for view in (*views, "audit", "jobs", "evidence"):
            for row in connection.execute(text(f"SELECT * FROM {view}")):
                yield view, tuple(row)
    for place in sorted(p for p in bench.settings.home.rglob("*") if p.is_file()):
        yield "path", place.relative_to(bench.settings.home).as_posix()
        yield place.name, place.read_bytes().decode("latin-1")


def test_intake_tells_no_word_of_hers(bench: Bench, lines: list[Any]) -> None:
    bench.ingest = bench.again(ALL)
    bad = {f"bad/{n}.{name}": data for name, whole in FILES.items() for n, data in enumerate(_spoiled(whole))
           if n in (1, 3, 5) and not name.endswith((".dat", ".hea"))}  # fmt: skip
    sidecar = json.dumps({"patient_id": NUMBER, "patient_name": NAME, "birth_date": BORN}).encode()
    write_tree(bench.inbox, {
        **{f"{NAME}/patient={NUMBER}/{name}": data for name, data in FILES.items()},
        f"{NAME}/patient={NUMBER}/{NAME}.fasta.json": sidecar,
        "two.csv": _table() + _table().partition(b"\n")[2].replace(b"90210", b"90210-2"),
        "all.zip": builders.zipped({f"{NAME}/1.txt": FILES[f"{NAME}.txt"], "x.Quibble": b"marmalade"}),
        **bad,
    })  # fmt: skip
    bench.settle()
    bench.turn(1000)
    bench.settle()
    assert [p for p in bench.inbox.rglob("*") if p.is_file()] == []
    assert "file_taken" in {line["event"] for line in lines}
    assert bench.files()["ready"] >= 12
    assert len(bench.refused()) >= 6
    found = [(where, word) for where, told in _told(bench, lines) for word in leaks(told)]
    assert found == []


def test_a_reader_s_own_fault_is_logged_without_its_words(
    bench: Bench, lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError(f"{NAME} {SENTENCE}")

    monkeypatch.setattr(reading, "read", broken)
    write_tree(bench.inbox, {"a.hl7": FILES[f"{NAME}.hl7"]})
    bench.settle()
    assert "read_failed" in {line["event"] for line in lines}
    assert bench.refused() == ["internal-error"]
    assert [word for _, told in _told(bench, lines) for word in leaks(told)] == []
