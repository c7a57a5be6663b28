"""Every kind of file goes the whole way from the inbox to the job that it owes and the payload for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from db import claims, conclusions, reports
from db.jobs import Conclusion, Input
from db.records import Code, Diagnosis, Finding
from ingest import carriage, reading
from models.card import ModelCard
from models.payloads import Call, Recording, Table, Variants
from tests import bench as benches
from tests.bench import Bench
from tests.builders import write_tree

ROOT = Path(__file__).parent.parent.parent
SAMPLES = ROOT / "console" / "samples"
YES = Diagnosis(findings=(Finding(code=Code(value="1", system="s", meaning="m"), positive=True),))
CSV = b"patient_id,age,sex\nP-1,63,male\n"
TWO = b"patient_id,age,sex\nP-1,63,male\nP-2,50,female\n"
VCF = (
    b"##fileformat=VCFv4.2\n##reference=GRCh38\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS\n"
    b"10\t94942290\trs1799853\tC\tT\t.\tPASS\t.\tGT\t0/1\n"
)


def card(name: str, kind: str, **needs: object) -> ModelCard:
    found = benches.card(name, kind)
    return found.model_copy(update={"needs": found.needs.model_copy(update=needs)})


KINDS = (
    card("ages", "table", features=("age", "sex")),
    card("doses", "table", features=("age",), joins=("variants",)),
    card("genes", "variants"),
    card("dna", "sequence", alphabet="dna"),
    card("protein", "sequence", alphabet="protein"),
    card("beats", "recording"),
    card("molecules", "molecule"),
)


@pytest.fixture
def all_kinds(bench: Bench) -> Bench:
    """A bench whose models ask for every kind."""
    bench.ingest = bench.again(KINDS)
    return bench


def jobs(bench: Bench) -> list[tuple[str, int]]:
    """Each job as (model, inputs)."""
    query = (
        "SELECT j.model, count(*) FROM jobs j JOIN job_inputs i ON i.job_id = j.id "
        "GROUP BY j.id, j.model ORDER BY j.model, count(*)"
    )
    with bench.store.read() as connection:
        return [(model, n) for model, n in connection.execute(text(query))]


@pytest.mark.parametrize(
    ("names", "models"),
    [
        (["splice.fasta"], ["dna"]),
        (["peptide.fasta"], ["protein"]),
        (["genotype.vcf"], ["genes"]),
        (["molecule.smi"], ["molecules"]),
        (["ecg.hea", "ecg.dat"], ["beats"]),
    ],
)
def test_a_sample_owes_the_model_that_asks_for_its_kind(
    all_kinds: Bench, names: list[str], models: list[str]
) -> None:
    write_tree(all_kinds.inbox, {name: (SAMPLES / name).read_bytes() for name in names})
    all_kinds.settle()
    assert [model for model, _ in jobs(all_kinds)] == models
    assert all_kinds.left() == []


def test_a_table_owes_the_models_whose_features_it_holds(all_kinds: Bench) -> None:
    write_tree(all_kinds.inbox, {"a.csv": b"age\n63\n"})
    all_kinds.settle()
    assert jobs(all_kinds) == [("doses", 1)]


def test_a_table_of_two_people_is_two_cases(all_kinds: Bench) -> None:
    write_tree(all_kinds.inbox, {"a.csv": TWO})
    all_kinds.settle()
    assert all_kinds.files() == {"done": 1, "ready": 2}
    with all_kinds.store.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM v_cases")) == 2


def test_rows_again_are_duplicates(all_kinds: Bench) -> None:
    write_tree(all_kinds.inbox, {"a.csv": TWO})
    all_kinds.settle()
    write_tree(all_kinds.inbox, {"b.csv": TWO})
    all_kinds.settle()
    assert all_kinds.files() == {"done": 2, "ready": 2, "duplicate": 2}


def test_a_header_waits_for_its_signals(all_kinds: Bench) -> None:
    write_tree(all_kinds.inbox, {"ecg.hea": (SAMPLES / "ecg.hea").read_bytes()})
    all_kinds.settle()
    assert all_kinds.files() == {"pending": 1}
    write_tree(all_kinds.inbox, {"ecg.dat": (SAMPLES / "ecg.dat").read_bytes()})
    all_kinds.settle()
    assert all_kinds.files() == {"ignored": 1, "ready": 1}


def test_a_record_s_annotations_go_with_it_and_are_not_seen_again(all_kinds: Bench) -> None:
    files = {name: (SAMPLES / name).read_bytes() for name in ("ecg.hea", "ecg.dat")}
    write_tree(all_kinds.inbox, {**files, "ecg.atr": b"\x12\x70\x00\x00"})
    all_kinds.settle()
    assert all_kinds.left() == []
    assert all_kinds.files() == {"ignored": 2, "ready": 1}


def test_a_header_without_signals_is_quarantined_in_the_end(all_kinds: Bench) -> None:
    write_tree(all_kinds.inbox, {"ecg.hea": (SAMPLES / "ecg.hea").read_bytes()})
    all_kinds.settle()
    all_kinds.now += all_kinds.settings.truncated_after_seconds
    all_kinds.settle()
    assert all_kinds.files() == {"quarantined": 1}


def test_a_record_in_a_zip_is_one_input(all_kinds: Bench, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(all_kinds.inbox / "a.zip", "w") as archive:
        for name in ("ecg.hea", "ecg.dat"):
            archive.write(SAMPLES / name, f"records/{name}")
    all_kinds.settle()
    assert (all_kinds.files(), jobs(all_kinds)) == ({"done": 1, "ignored": 1, "ready": 1}, [("beats", 1)])


@pytest.mark.parametrize("order", [("a.csv", "b.vcf"), ("b.vcf", "a.csv")])
def test_variants_are_joined_to_the_table_of_their_case(all_kinds: Bench, order: tuple[str, str]) -> None:
    files = {"a.csv": CSV, "b.vcf": VCF}
    for name in order:
        write_tree(all_kinds.inbox, {f"patient=P-1/encounter=9/{name}": files[name]})
        all_kinds.settle()
    assert jobs(all_kinds) == [("ages", 1), ("doses", 1), ("doses", 2), ("genes", 1)]


def test_variants_of_another_case_are_not_joined(all_kinds: Bench) -> None:
    write_tree(all_kinds.inbox, {"patient=P-1/encounter=9/a.csv": CSV, "patient=P-2/encounter=9/b.vcf": VCF})
    all_kinds.settle()
    assert [n for _, n in jobs(all_kinds)] == [1, 1, 1]


def test_a_joined_table_knows_the_genotype(all_kinds: Bench) -> None:
    write_tree(all_kinds.inbox, {"patient=P-1/encounter=9/a.csv": CSV, "patient=P-1/encounter=9/b.vcf": VCF})
    all_kinds.settle()
    with all_kinds.store.read() as connection:
        job = connection.scalar(text("SELECT job_id FROM job_inputs WHERE position = 1"))
        inputs: list[Input] = reports.inputs(connection, job)
    found = reading.payload([(i, all_kinds.archive.get(i.digest)) for i in inputs], KINDS[1].needs)
    assert isinstance(found, Table)
    assert found.values == {"age": 63.0, "sex": "male"}
    assert found.genotype["rs1799853"] == "C/T"


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_joined_reading_supersedes_the_one_of_the_table_alone(
    all_kinds: Bench, order: tuple[int, int]
) -> None:
    for name, content in (("a.csv", CSV), ("b.vcf", VCF)):
        write_tree(all_kinds.inbox, {f"patient=P-1/encounter=9/{name}": content})
        all_kinds.settle()
    query = (
        "SELECT j.id FROM jobs j JOIN job_inputs i ON i.job_id = j.id WHERE j.model = 'doses' "
        "GROUP BY j.id HAVING count(*) = :n"
    )
    for inputs in order:
        with all_kinds.store.read() as connection:
            job_id = connection.scalar(text(query), {"n": inputs})
        (claimed,) = claims.claim(all_kinds.store, str(job_id), worker="w", lease_seconds=60)
        conclusions.conclude(all_kinds.store, [Conclusion(job=claimed, diagnosis=YES, device="cpu")])
    with all_kinds.store.read() as connection:
        found = {r["job_id"]: r["status"] for r in reports.results(connection, model="doses")}
        joined = str(connection.scalar(text(query), {"n": 2}))
    assert {s for j, s in found.items() if j != joined} == {"superseded"}
    assert found[joined] == "preliminary"


def test_payloads_travel_between_processes_unchanged() -> None:
    calls = (Call(chromosome="1", position=5, rsid="rs1", reference="A", alternates=("G",), alleles=(0, 1)),)
    genes = Variants(calls=calls, diplotypes={"CYP2C9": "*1/*3"}, assembly="GRCh38")
    assert carriage.unpacked(*carriage.packed(genes)) == genes
    ecg = Recording(signals=np.ones((2, 5), np.float32), rate_hz=360.0, leads=("I", "II"))
    again = carriage.unpacked(*carriage.packed(ecg))
    assert isinstance(again, Recording)
    assert (again.leads, again.rate_hz, again.signals.tolist()) == (("I", "II"), 360.0, [[1.0] * 5] * 2)
