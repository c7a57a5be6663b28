"""What the variants reader makes of VCF files, plain and compressed, and what it refuses."""

from __future__ import annotations

import gzip
import io
from contextlib import suppress
from pathlib import Path

import pytest
from Bio import bgzf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console import samples
from db.errors import Rejected
from db.records import Kind
from ingest.readers import variants
from models.payloads import Call

SAMPLE = (Path(samples.__file__).parent / "genotype.vcf").read_bytes()
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS1\n"
EXAMPLES = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def vcf(*lines: str, header: str = "", columns: str = COLUMNS) -> bytes:
    rows = "".join("\t".join(line.split()) + "\n" for line in lines)
    return f"##fileformat=VCFv4.2\n{header}{columns}{rows}".encode()


def bgzipped(data: bytes) -> bytes:
    made = io.BytesIO()
    with bgzf.BgzfWriter(fileobj=made) as writer:
        writer.write(data)
        writer.flush()
        return made.getvalue() + bgzf._bgzf_eof


def refusal(data: bytes) -> Rejected:
    with pytest.raises(Rejected) as caught:
        variants.payload(data)
    return caught.value


def test_a_line_is_a_call_with_this_person_s_alleles() -> None:
    # the specification's own first example, 1.1 of VCF 4.3, cut to its first sample
    (call,) = variants.payload(vcf("20 14370 rs6054257 G A 29 PASS NS=3;DB GT:GQ:DP:HQ 0|0:48:1:51,51")).calls
    assert call == Call(
        chromosome="20", position=14370, rsid="rs6054257", reference="G", alternates=("A",),
        alleles=(0, 0), phased=True, passed=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("20 17330 . T A 3 q10 . GT 0/1", ("20", "", (0, 1), False, False)),
        ("chr20 1110696 rs1;rs2 A G,T 67 PASS . DP:GT 6:1|2", ("20", "rs1", (1, 2), True, True)),
        ("chrX 1 x C . . . . GT ./.", ("X", "", (-1, -1), False, True)),
        ("chrM 1 rs9x C T . . . GT 1", ("MT", "", (1,), False, True)),
        ("1 1 . C <DEL>,* . . . GT 1/2", ("1", "", (1, 2), False, True)),
    ],
)
def test_names_genotypes_and_filters_are_read_as_specified(line: str, found: tuple[object, ...]) -> None:
    (call,) = variants.payload(vcf(line)).calls
    assert (call.chromosome, call.rsid, call.alleles, call.phased, call.passed) == found


@pytest.mark.parametrize(
    ("header", "assembly"),
    [
        ("##reference=file:///refs/human_g1k_v37.fasta\n", "GRCh37"),
        ("##contig=<ID=chr1,assembly=hg38,length=248956422>\n", "GRCh38"),
        ("##contig=<ID=1,length=249250621>\n", "GRCh37"),
        ("##contig=<ID=10,length=249250621>\n", ""),
        ("##reference=hg19\n##contig=<ID=1,length=248956422>\n", ""),
        ("##reference=hg38\n##contig=<ID=chr1,length=248387328>\n", ""),  # the first of T2T-CHM13
        ("##source=hg19\n", ""),
    ],
)
def test_the_assembly_is_what_the_header_says_or_nothing(header: str, assembly: str) -> None:
    assert variants.payload(vcf("1 1 . C T . . . GT 0/1", header=header)).assembly == assembly


@pytest.mark.parametrize("pack", [gzip.compress, bgzipped])
def test_a_compressed_file_is_read_as_the_plain_one(pack, tmp_path: Path) -> None:
    data = pack(SAMPLE * 1 + b"".join(SAMPLE.splitlines(keepends=True)[-1:] * 5000))
    path = tmp_path / "x.gz"
    path.write_bytes(data)
    assert variants.claims(data[:4096], ".gz")
    assert variants.whole(path) is None
    assert variants.read(path).facts["calls"] == 5029
    path.write_bytes(data[:-40])
    assert variants.whole(path) is not None
    assert refusal(data[:-40]).code == "truncated"


def test_the_example_s_facts_name_no_sample(tmp_path: Path) -> None:
    path = tmp_path / "g.vcf"
    path.write_bytes(SAMPLE.replace(b"SAMPLE", b"Canary^Clara"))
    found = variants.read(path, parts=["patient=P-7"])
    assert found.facts == {"calls": 29, "called": 29, "rsids": 29, "assembly": "GRCh38", "genes": ""}
    assert (found.kind, found.format) == (Kind.VARIANTS, "variants")
    assert "Canary" not in f"{found.facts} {variants.payload(path.read_bytes())}"
    content = found.content
    path.write_bytes(gzip.compress(SAMPLE))
    assert variants.read(path).content == content


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (vcf("1 1 . C T . . . GT 0/1 0/0", columns=COLUMNS[:-1] + "\tS2\n"), "several-samples", "2 samples"),
        (vcf("1 1 . C T . . .", columns=COLUMNS[:-11] + "\n"), "no-genotypes", "no sample"),
        (vcf("1 1 . C T . . . DP 7"), "no-genotypes", "GT"),
        (vcf(), "no-genotypes", "GT"),
        (b"#CHROM\tPOS\n", "not-vcf", "line 1"),
        (b"##fileformat=VCFv4.2\n", "truncated", "columns"),
        (b"##fileformat=VCFv4.2\nchr1 1\n", "malformed", "line 2"),
        (vcf("1 1 . C T . . . GT 0/2"), "malformed", "line 3"),
        (vcf("1 1 . C T . . . GT a/b"), "malformed", "line 3"),
        (vcf("1 x . C T . . . GT 0/1"), "malformed", "line 3"),
        (vcf("1 1 . ! T . . . GT 0/1"), "malformed", "line 3"),
        (vcf("1 1 . C T . . . GT"), "malformed", "9 columns"),
        (vcf("1 1 . C T . . . GT 0\xff").replace(b"\xc3", b""), "undecodable-text", "line 3"),
        (vcf("1 1 . C T . . . GT 0\0"), "binary", "line 3"),
        (b"##fileformat=VCFv4.2\n##" + b"x" * 2**21, "too-large", "line 2"),
        (gzip.compress(b"##fileformat=VCFv4.2\n" + b"##x\n" * 600_000), "too-many", "lines"),
        (gzip.compress(b"##fileformat=VCFv4.2\n" + b"x" * 2**22), "too-large", "line 2"),
        (gzip.compress(b"") * 50_001, "too-large", "members"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_one_person_s_genotypes_is_refused_by_its_line(
    data: bytes, code: str, words: str
) -> None:
    met = refusal(data)
    assert met.code == code
    assert words in met.sentence


def test_a_bomb_is_left_once_it_exceeds_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "MAX_INFLATED", 2**20)
    line = b"##" + b"x" * 1000 + b"\n"
    assert "inflates" in refusal(gzip.compress(b"##fileformat=VCFv4.2\n" + line * 2000)).sentence


def test_of_very_many_genotypes_models_are_given_those_of_pharmacogenes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    further = "".join(f"chr10\t{place}\t.\tA\tG\t.\tPASS\t.\tGT\t0/1\n" for place in range(1, 6)).encode()
    elsewhere = b"chr10\t7\trs1799853\tA\tG\t.\tPASS\t.\tGT\t0/1\n"
    assert len(variants.payload(SAMPLE + further + elsewhere).calls) == 35
    monkeypatch.setattr(variants, "GIVEN", 30)
    kept = variants.payload(SAMPLE + further + elsewhere).calls
    assert kept[:29] == variants.payload(SAMPLE).calls
    assert [call.rsid for call in kept[29:]] == ["rs1799853"]


def test_more_genotypes_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "MAX_CALLS", 28)
    assert refusal(SAMPLE).code == "too-many"


def test_it_is_claimed_by_its_first_line() -> None:
    assert variants.claims(SAMPLE[:4096], ".bin")
    assert variants.claims(b"#CHROM", ".vcf")
    assert not variants.claims(gzip.compress(b"prose"), ".gz")
    assert not variants.claims(b"\x1f\x8b\xff", ".gz")
    assert not variants.claims(b"prose", ".txt")


@EXAMPLES
@given(
    data=st.binary(max_size=60) | st.sampled_from([b"\t", b"GT", b"\n", b"0/9", b"<"]),
    at=st.integers(0, len(SAMPLE)),
    cut=st.integers(0, 20),
    pack=st.sampled_from([bytes, gzip.compress, bgzipped]),
    late=st.booleans(),
)
def test_damaged_and_random_bytes_are_read_or_refused(
    data: bytes, at: int, cut: int, pack, late: bool, tmp_path: Path
) -> None:
    whole = pack(SAMPLE) if late else SAMPLE
    whole = whole[:at] + data + whole[at + cut :]
    path = tmp_path / "x.vcf"
    path.write_bytes(whole if late else pack(whole))
    variants.claims(path.read_bytes()[:4096], ".vcf")
    variants.whole(path)
    with suppress(Rejected):
        found = variants.payload(path.read_bytes())
        assert variants.read(path).facts["calls"] == len(found.calls)


@EXAMPLES
@given(
    data=st.binary(max_size=300), begins=st.sampled_from([b"", b"\x1f\x8b\x08", vcf(), vcf() + b"1\t1\t.\t"])
)
def test_random_bytes_are_read_or_refused(data: bytes, begins: bytes) -> None:
    variants.claims(begins + data, "")
    with suppress(Rejected):
        variants.payload(begins + data)
