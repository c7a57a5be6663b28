"""What the sequence reader makes of FASTA files, and what it refuses."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console import samples
from db.errors import Rejected
from db.records import Kind
from ingest.readers import sequence

SAMPLES = Path(samples.__file__).parent
SPLICE = (SAMPLES / "splice.fasta").read_bytes()
EXAMPLES = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def refusal(data: bytes) -> Rejected:
    with pytest.raises(Rejected) as caught:
        sequence.payload(data)
    return caught.value


def test_records_come_in_order_upper_case_over_any_line_ends() -> None:
    found = sequence.payload(b"\xef\xbb\xbf>a x\r\nacg\r\nTTn\r\n\r\n>b\nGG GG\n")
    assert (found.records, found.alphabet) == (("ACGTTN", "GGGG"), "dna")


@pytest.mark.parametrize(
    ("data", "alphabet"),
    [
        (b">1\nACGT\n", "dna"),
        (b">1\nACGTNACGTRYACGTACGT\n", "dna"),
        (b">1\nGIGKFLHSAKKFGKAFVGEIMNS\n", "protein"),  # magainin 2
        (b">1\nRRWWRR\n", "protein"),  # every letter is an IUPAC base code, none a base
        (b">1\nAAGG\n>2\nKWKLFKKI\n", "protein"),  # the file decides, not the record
        (b">1\nMU*\n", "protein"),
    ],
)
def test_all_records_decide_on_the_alphabet_together(data: bytes, alphabet: str) -> None:
    assert sequence.payload(data).alphabet == alphabet


def test_u_of_rna_is_written_t_and_a_closing_stop_is_dropped() -> None:
    assert sequence.payload(b">1\nACGUUA\n").records == ("ACGTTA",)
    assert sequence.payload(b">1\nMKLFWP*\n").records == ("MKLFWP",)


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b">1\nACGT\n>2\nAC-T\n", "bad-residue", "residue 3 of sequence 2"),
        (b">1\nMK*LF\n", "bad-residue", "residue 3 of sequence 1"),
        (">1\nmkßLF\n".encode(), "bad-residue", "residue 3 of sequence 1"),
        (b">1\nACGT\n>2\n>3\nA\n", "empty", "sequence 2"),
        (b">1\nACGTU\n", "mixed-alphabet", "T and U"),
        (b">1\nMKLF\n>2\n" + b"ACGT" * 8, "mixed-alphabet", "sequence 2"),
        (b"ACGT\n", "not-fasta", "first line"),
        (b">1\n" + b"A" * 100_002, "too-long", "sequence 1"),
        (b">1\nA\n" * 1001, "too-many", "1000"),
        (b">1\nA\0C\n", "binary", "binary data"),
        (b">1\nA\xffC\n", "undecodable-text", "byte 4"),
        (b" \n", "empty", "white space"),
    ],
)
def test_what_is_no_sequence_is_refused_by_its_place(data: bytes, code: str, words: str) -> None:
    met = refusal(data)
    assert met.code == code
    assert words in met.sentence


def test_the_facts_tell_alphabet_and_lengths(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(b">Clara Canary\nACGTACGT\n>2\nAC\n")
    found = sequence.read(path, sidecar=b'{"mrn": "P-7"}')
    assert found.facts == {"alphabet": "dna", "records": 2, "longest": 8, "residues": 10}
    assert (found.kind, found.format) == (Kind.SEQUENCE, "sequence")
    assert found.identity is not None
    assert "Canary" not in f"{found} {sequence.payload(path.read_bytes())}"


def test_the_same_residues_are_the_same_content_whatever_they_are_called(tmp_path: Path) -> None:
    contents = []
    for place, data in enumerate((b">a\nACGT\nAC\n", b">b\nacgtac\n", b">a\nACGTAG\n")):
        path = tmp_path / f"{place}.fa"
        path.write_bytes(data)
        contents.append(sequence.read(path).content)
    assert contents[0] == contents[1] != contents[2]


def test_it_is_claimed_by_content_or_by_name() -> None:
    assert sequence.claims(SPLICE[:4096], ".bin")
    assert sequence.claims(b"ACGT", ".fa")
    assert not sequence.claims(b"%PDF-1.7", ".fa")
    assert not sequence.claims(b"> On Monday she wrote\n> No pneumonia.\n", ".txt")


def test_a_title_without_residues_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    for data, is_whole in ((b"", False), (b">1\nAC\n>2\n", False), (SPLICE, True)):
        path.write_bytes(data)
        assert (sequence.whole(path) is None) == is_whole


@pytest.mark.parametrize(("name", "alphabet"), [("splice.fasta", "dna"), ("peptide.fasta", "protein")])
def test_the_examples_are_read(name: str, alphabet: str) -> None:
    assert sequence.read(SAMPLES / name).facts["alphabet"] == alphabet


@EXAMPLES
@given(
    data=st.binary(max_size=200),
    at=st.integers(0, len(SPLICE)),
    cut=st.integers(0, 20),
    begins=st.sampled_from([b"", b">1\n", SPLICE]),
)
def test_damaged_and_random_bytes_are_read_or_refused(
    data: bytes, at: int, cut: int, begins: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(begins[:at] + data + begins[at + cut :])
    sequence.whole(path)
    sequence.claims(path.read_bytes()[:4096], ".fa")
    with suppress(Rejected):
        found = sequence.payload(path.read_bytes())
        assert sequence.read(path).facts["records"] == len(found.records)
