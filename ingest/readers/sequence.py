"""FASTA files become sequences of DNA or protein, upper case, in order; their identifiers are left behind."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest.foreign import foreign
from ingest.plaintext import bounded, decoded, loaded
from ingest.whose import whose
from models.payloads import Sequences

SUFFIXES = frozenset((".fa", ".fasta", ".faa", ".fna", ".ffn", ".fas"))
MAX_BYTES = 16 * 2**20
MAX_RECORDS = 1_000  #: in one file
MAX_RESIDUES = 100_000  #: in one record

DNA = "ACGTRYSWKMBDHVN"  #: IUPAC-IUB 1984: the bases and their ambiguity codes
PROTEIN = "ACDEFGHIKLMNPQRSTVWYBXZJUO"  #: IUPAC-IUB 1983, with selenocysteine and pyrrolysine
_UPPER = str.maketrans(ascii_lowercase, ascii_uppercase)  # str.upper makes two letters of some others
_BASES = "ACGTUN"
_MOSTLY = 0.8  # that much of a DNA sequence is plain bases; a protein of the codes' letters alone has less
_TELLING = 30  # residues: no protein of that length is made of the letters of the bases alone
_FASTA = re.compile(rb"(?:\xef\xbb\xbf)?\s*>[^\n\r]{0,2000}[\r\n]+[A-Za-z*-]{10,}(?:[\r\n]|$)")


def claims(head: bytes, suffix: str) -> bool:
    """Whether this begins as FASTA does, with `>`, a title and a line of letters alone; or is so named."""
    if _FASTA.match(head):
        return True
    return suffix in SUFFIXES and b"\0" not in head and foreign(head, "") is None


def whole(path: Path) -> str | None:
    """None unless the file is empty or ends in a title; FASTA has no declared end, quiet tells the rest."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 4096))
        last = file.read().rstrip().rpartition(b"\n")[2]
    if not last:
        return "the file is empty so far"
    return "the last sequence has a title and no residues so far" if last.startswith(b">") else None


def read(path: Path, *, sidecar: bytes | None = None, parts: Sequence[str] = ()) -> Evidence:
    """The alphabet and how many and how long the sequences are.

    Raises Rejected (`not-fasta`, `bad-residue`, `mixed-alphabet`, `too-long`, `too-many`, `too-large`,
    `binary`, `undecodable-text`, `empty`, `bad-sidecar`, `contradiction`) and OSError.
    """
    owner = whose(sidecar, {}, parts)
    found = payload(loaded(path, MAX_BYTES))
    return Evidence(
        kind=Kind.SEQUENCE,
        case_key=owner.case_key,
        identity=owner.identity,
        content=hashlib.sha256("\n".join((found.alphabet, *found.records)).encode("ascii")).hexdigest(),
        format="sequence",
        facts={
            "alphabet": found.alphabet,
            "records": len(found.records),
            "longest": max(map(len, found.records)),
            "residues": sum(map(len, found.records)),
        },
    )


def payload(data: bytes, kind: Kind = Kind.SEQUENCE) -> Sequences:
    """The sequences, upper case; U of RNA is written T. Raises Rejected as `read` does otherwise."""
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    text = decoded(bounded(data, MAX_BYTES)).lstrip()
    if not text.startswith(">"):
        raise Rejected(
            "not-fasta", "the first line should begin with >, it does not",
            "Put a line that begins with > before each sequence.",
        )  # fmt: skip
    records: list[str] = []
    for _, letters in SimpleFastaParser(StringIO(text)):  # type: ignore[no-untyped-call] # biopython has no types
        records.append(_record(letters, len(records) + 1))
    alphabet = _alphabet(records)
    for number, record in enumerate(records, 1):
        _refuse_strange(record, number, alphabet)
    if alphabet == "dna":
        records = [record.replace("U", "T") for record in records]
    return Sequences(records=tuple(records), alphabet=alphabet)


def _record(letters: str, number: int) -> str:
    """One record's residues; a closing `*` (stop) is no residue."""
    if number > MAX_RECORDS:
        raise Rejected(
            "too-many", f"the file holds more than {MAX_RECORDS} sequences", "Split it into several."
        )
    if len(letters) > MAX_RESIDUES + 1:
        raise Rejected(
            "too-long", f"sequence {number} has {len(letters)} residues, {MAX_RESIDUES} are read",
            "Send the part of it that the question is about.",
        )  # fmt: skip
    found = letters.translate(_UPPER).removesuffix("*")
    if not found:
        raise Rejected("empty", f"sequence {number} has a title and no residues", "Check the export.")
    return found


def _alphabet(records: Sequence[str]) -> str:
    """`dna` when every letter is a base or its ambiguity code and most are plain bases, else `protein`.

    All records decide together; short ones of A, C, G, T alone could be either, and count as DNA. Raises
    Rejected `mixed-alphabet` for a long nucleotide sequence among proteins, and for T beside U.
    """
    letters = set().union(*records)
    total = sum(map(len, records))
    bases = sum(record.count(base) for record in records for base in _BASES)
    if letters <= set(DNA + "U") and bases >= _MOSTLY * total:
        if {"T", "U"} <= letters:
            raise _mixed("T and U, hence DNA and RNA, stand in one file")
        return "dna"
    for number, record in enumerate(records, 1):
        if len(record) >= _TELLING and set(record) <= set(_BASES):
            raise _mixed(f"sequence {number} is of bases alone, others are not")
    return "protein"


def _mixed(sentence: str) -> Rejected:
    return Rejected("mixed-alphabet", sentence, "Send DNA and protein in files of their own.")


def _refuse_strange(record: str, number: int, alphabet: str) -> None:
    known = DNA + "U" if alphabet == "dna" else PROTEIN
    if strange := re.search(f"[^{known}]", record):
        raise Rejected(
            "bad-residue",
            f"residue {strange.start() + 1} of sequence {number} is no letter of the IUPAC codes",
            "Remove an alignment's gaps, numbers and inner stops; letters, and one closing *, are read.",
        )
