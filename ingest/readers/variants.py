"""VCF 4 files, plain, gzip or bgzip, become one person's genotypes; samples' names are left behind."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest import gunzip
from ingest.plaintext import loaded
from ingest.whose import whose
from models.payloads import Call, Variants

SUFFIXES = frozenset((".vcf", ".gz", ".bgz"))  #: of a compressed one the content tells
MAX_BYTES = 128 * 2**20  #: of the file
MAX_INFLATED = 256 * 2**20  #: of its text
#: an exome has some tens of thousands; a whole genome is to be cut to the genes asked for
MAX_CALLS = 200_000
GIVEN = 20_000  #: of more than these, models are given those alone that tell a pharmacogene's alleles
_LINES = 500_000  # with a genotype or without
_LINE_BYTES = 2**20
_BEGIN = b"##fileformat=VCF"

_COLUMNS = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
_CONTIG = re.compile(r"[A-Za-z0-9_.*-]{1,64}")
_BASES = re.compile(r"[ACGTNRYSWKMBDHVacgtnryswkmbdhv]{1,10000}")
# bases, `*` (a deletion upstream), a symbol such as <DEL> or <NON_REF>, or a breakend
_ALTERNATE = re.compile(rf"{_BASES.pattern}|\*|<[A-Za-z0-9_:.*-]{{1,64}}>|[A-Za-z0-9_:.<>\[\]-]{{1,256}}")
_GENOTYPE = re.compile(r"[/|]?(?:\.|\d{1,4})(?:[/|](?:\.|\d{1,4})){0,7}", re.ASCII)
_RSID = re.compile(r"(?:^|;)(rs[0-9]{1,12})(?:;|$)")
# what the two assemblies in use are called, and how long their first chromosome is
_ASSEMBLIES = {
    "GRCh37": re.compile(r"GRCh37|\bhg19\b|hs37|\bb37\b|g1k_v37", re.IGNORECASE),
    "GRCh38": re.compile(r"GRCh38|\bhg38\b|hs38", re.IGNORECASE),
}
_LENGTHS = {"249250621": "GRCh37", "248956422": "GRCh38"}
_CONTIG_1 = re.compile(r"##contig=<(?=.*\bID=(?:chr)?1[,>]).*\blength=(\d+)", re.IGNORECASE)
_CUT = "Cut it to the genes that are asked about (bcftools view -R)."
_AGAIN = "Send the file again and compare the sizes."


def claims(head: bytes, suffix: str) -> bool:
    """Whether the first line, also of a gzip file, is a VCF's; or whether plain text is so named."""
    if head.startswith(gunzip.MAGIC):
        return gunzip.begins(head, 64).startswith(_BEGIN)
    return head.removeprefix(b"\xef\xbb\xbf").startswith(_BEGIN) or (suffix == ".vcf" and b"\0" not in head)


def whole(path: Path) -> str | None:
    """None when a gzip file has come to its declared end; a plain one has none, quiet time must tell.

    Raises OSError.
    """
    with path.open("rb") as file:
        head = file.read(64)
    if not head.startswith(gunzip.MAGIC):
        return None if head.strip() else "the file is empty so far"
    if gunzip.is_blocked(head):
        return None if gunzip.ends_marked(path) else "the file ends before bgzip's end marker"
    try:
        for _ in gunzip.inflated(loaded(path, MAX_BYTES), MAX_INFLATED):
            pass
    except Rejected as why:
        return why.sentence if why.code == "truncated" else None
    return None


def read(path: Path, *, sidecar: bytes | None = None, parts: Sequence[str] = ()) -> Evidence:
    """How many genotypes there are, and of which assembly.

    Raises Rejected (`not-vcf`, `several-samples`, `no-genotypes`, `malformed`, `truncated`, `too-large`,
    `too-many`, `binary`, `undecodable-text`, `empty`, `bad-sidecar`, `contradiction`) and OSError.
    """
    owner = whose(sidecar, {}, parts)
    found = _parsed(loaded(path, MAX_BYTES))
    return Evidence(
        kind=Kind.VARIANTS,
        case_key=owner.case_key,
        identity=owner.identity,
        content=_content(found),
        format="variants",
        facts={
            "calls": len(found.calls),
            "called": sum(-1 not in call.alleles for call in found.calls),
            "rsids": sum(bool(call.rsid) for call in found.calls),
            "assembly": found.assembly,
            "genes": "",
        },
    )


def payload(data: bytes, kind: Kind = Kind.VARIANTS) -> Variants:
    """The genotypes in the file's order: all, or of more than GIVEN those that models may ask about.

    Raises Rejected as `read` does otherwise.
    """
    found = _parsed(data)
    return found if len(found.calls) <= GIVEN else replace(found, calls=tuple(_telling(found.calls)))


def _telling(calls: Sequence[Call]) -> Iterator[Call]:
    """The calls at a position, or of an rsID, by which the tables tell an allele from another."""
    from models.pharmacogenomics.tables import tables

    listed = [v for gene in tables().genes.values() for those in gene.variants.values() for v in those]
    places = {(_chromosome(v.chromosome), v.position) for v in listed}
    rsids = {v.rsid for v in listed if v.rsid}
    return (call for call in calls if (call.chromosome, call.position) in places or call.rsid in rsids)


def _parsed(data: bytes) -> Variants:
    """Every line that has a genotype."""
    lines = _lines(data)
    assembly = _assembly(_header(lines))
    calls: list[Call] = []
    for number, line in lines:
        if line and (call := _call(line, number)) is not None:
            calls.append(call)
        if len(calls) > MAX_CALLS:
            raise _too_many(f"the file has more than {MAX_CALLS} genotypes")
    if not calls:
        raise _no_genotypes("no line of the file has a genotype (GT)")
    return Variants(calls=tuple(calls), assembly=assembly)


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, from 1; the text is never held as a whole."""
    chunks = (
        gunzip.inflated(data, MAX_INFLATED)
        if data.startswith(gunzip.MAGIC)
        else iter([data.removeprefix(b"\xef\xbb\xbf")])
    )
    rest, number = b"", 0
    for chunk in chunks:
        *ended, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LINE_BYTES:
            raise _too_large(f"line {number + len(ended) + 1} has more than {_LINE_BYTES} bytes")
        for line in ended:
            number += 1
            yield number, _text(line, number)
        if number > _LINES:
            raise _too_many(f"the file has more than {_LINES} lines")
    if rest:
        yield number + 1, _text(rest, number + 1)


def _text(line: bytes, number: int) -> str:
    if b"\0" in line:
        raise Rejected("binary", f"line {number} should be text, got binary data", "Check the export.")
    try:
        return line.rstrip(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected(
            "undecodable-text", f"line {number} is neither UTF-8 nor ASCII", "Export the file as UTF-8."
        ) from None


def _header(lines: Iterator[tuple[int, str]]) -> list[str]:
    """The meta lines; the columns' line must name one sample."""
    meta: list[str] = []
    for _, line in lines:
        if not meta and not line.startswith(_BEGIN.decode()):
            raise Rejected("not-vcf", "line 1 should be ##fileformat=VCFv4.x", "Export it as VCF 4.")
        if line.startswith("##"):
            meta.append(line)
            continue
        columns = line.split("\t")
        if columns[: len(_COLUMNS)] != _COLUMNS:
            raise _malformed(
                f"line {len(meta) + 1} should name the columns #CHROM to INFO, set apart by tabs"
            )
        if len(columns) < 10 or columns[8] != "FORMAT":
            raise _no_genotypes("the file has no sample, hence no genotypes")
        if len(columns) > 10:
            raise Rejected(
                "several-samples", f"the file has {len(columns) - 9} samples; one person's is read",
                "Send one file a person (bcftools +split).",
            )  # fmt: skip
        return meta
    raise Rejected("truncated", "the file ends before the line that names the columns", _AGAIN)


def _assembly(meta: Sequence[str]) -> str:
    """GRCh37 or GRCh38 when the header says one and not the other; "" otherwise."""
    told: set[str] = set()
    for line in meta:
        if line.startswith(("##reference=", "##contig=", "##assembly=")):
            told.update(name for name, pattern in _ASSEMBLIES.items() if pattern.search(line))
            if length := _CONTIG_1.match(line):
                told.add(_LENGTHS.get(length[1], "another"))
    return told.pop() if len(told) == 1 and told <= set(_ASSEMBLIES) else ""


def _call(line: str, number: int) -> Call | None:
    """One line's genotype; None where it has none to read."""
    fields = line.split("\t")
    if len(fields) != 10:
        raise _malformed(f"line {number} has {len(fields)} columns, 10 are expected")
    contig, position, name, reference, alternate, _, passed, _, keys, values = fields
    place, genotypes = _place_of_genotype(keys), values.split(":")
    if place < 0 or place >= len(genotypes):
        return None
    chromosome, alternates = _chromosome(contig), _alternates(alternate)
    in_figures = position.isascii() and position.isdigit() and len(position) <= 10
    if not (chromosome and in_figures and _BASES.fullmatch(reference)) or alternates is None:
        raise _malformed(f"line {number}: CHROM, POS, REF or ALT is not what VCF 4 has there")
    alleles = _alleles(genotypes[place])
    if not alleles:
        raise _malformed(f"line {number}: the genotype should be like 0/1, 1|0 or ./.")
    if max(alleles) > len(alternates):
        raise _malformed(f"line {number}: the genotype names an allele that ALT does not have")
    rsid = _RSID.search(name)
    return Call(
        chromosome=chromosome,
        position=int(position),
        rsid=rsid[1] if rsid else "",
        reference=reference.upper(),
        alternates=alternates,
        alleles=alleles,
        phased="|" in genotypes[place] and "/" not in genotypes[place],
        passed=passed in ("PASS", ".", ""),
    )


# A file repeats the same few words in most of its columns: each is understood once.


@lru_cache(1024)
def _place_of_genotype(keys: str) -> int:
    """Where GT stands in FORMAT, -1 when it does not."""
    words = keys.split(":")
    return words.index("GT") if "GT" in words else -1


@lru_cache(4096)
def _alternates(written: str) -> tuple[str, ...] | None:
    """ALT's alleles, bases in upper case; None when they are no alleles."""
    found = () if written == "." else tuple(written.split(","))
    if not all(map(_ALTERNATE.fullmatch, found)):
        return None
    return tuple(one.upper() if _BASES.fullmatch(one) else one for one in found)


@lru_cache(1024)
def _alleles(genotype: str) -> tuple[int, ...]:
    """0|1 as (0, 1), `.` as -1; nothing when it is no genotype."""
    if not _GENOTYPE.fullmatch(genotype):
        return ()
    return tuple(-1 if part == "." else int(part) for part in re.findall(r"\.|\d+", genotype))


@lru_cache(4096)
def _chromosome(contig: str) -> str:
    """`chr10` and `10` alike; the mitochondrion is MT; "" when it is no contig."""
    if not _CONTIG.fullmatch(contig):
        return ""
    name = contig[3:] if contig[:3].lower() == "chr" and len(contig) > 3 else contig
    return "MT" if name == "M" else name


def _content(found: Variants) -> str:
    """A digest of the genotypes, not of who was typed, when, or with what."""
    digest = hashlib.sha256(found.assembly.encode())
    for call in found.calls:
        digest.update(repr(tuple(vars(call).values())).encode())
    return digest.hexdigest()


def _malformed(sentence: str) -> Rejected:
    return Rejected("malformed", sentence, "Validate the file (vcf-validator) and export it again.")


def _too_large(sentence: str) -> Rejected:
    return Rejected("too-large", sentence, _CUT)


def _too_many(sentence: str) -> Rejected:
    return Rejected("too-many", sentence, _CUT)


def _no_genotypes(sentence: str) -> Rejected:
    return Rejected("no-genotypes", sentence, "Export the sample's genotypes, GT in FORMAT.")
