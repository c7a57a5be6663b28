"""VCF 4 files, plain, gzip or bgzip, become one person's genotypes; samples' names are left behind."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest.plaintext import loaded
from ingest.whose import whose
from models.payloads import Call, Variants

SUFFIXES = frozenset((".vcf", ".gz", ".bgz"))  #: of a compressed one the content tells
MAX_BYTES = 128 * 2**20  #: of the file
MAX_INFLATED = 256 * 2**20  #: of its text
MAX_CALLS = (
    200_000  #: an exome has some tens of thousands; a whole genome is to be cut to the genes asked for
)
_LINES = 500_000  # with a genotype or without
_LINE_BYTES = 2**20
_MEMBERS = 50_000  # of a gzip file: bgzip's hold 64 KiB each
_GZIP = b"\x1f\x8b"
_BEGIN = b"##fileformat=VCF"
_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")  # SAM specification 4.1.2

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
_FEED = 65_536  # bytes given to zlib at a time: what it does not use is copied
_CUT = "Cut it to the genes that are asked about (bcftools view -R)."
_AGAIN = "Send the file again and compare the sizes."


def claims(head: bytes, suffix: str) -> bool:
    """Whether the first line, also of a gzip file, is a VCF's; or whether plain text is so named."""
    if head.startswith(_GZIP):
        try:
            return zlib.decompressobj(31).decompress(head, 64).startswith(_BEGIN)
        except zlib.error:
            return False
    return head.removeprefix(b"\xef\xbb\xbf").startswith(_BEGIN) or (suffix == ".vcf" and b"\0" not in head)


def whole(path: Path) -> str | None:
    """None when a gzip file has come to its declared end; a plain one has none, quiet time must tell.

    Raises OSError.
    """
    with path.open("rb") as file:
        head = file.read(64)
        size = file.seek(0, 2)
        file.seek(max(0, size - len(_END)))
        last = file.read()
    if not head.startswith(_GZIP):
        return None if head.strip() else "the file is empty so far"
    if head[12:14] == b"BC":
        return None if last == _END else "the file ends before bgzip's end marker"
    try:
        for _ in _inflated(loaded(path, MAX_BYTES)):
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
    found = payload(loaded(path, MAX_BYTES))
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
    """Every line that has a genotype, in order. Raises Rejected as `read` does otherwise."""
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
    chunks = _inflated(data) if data.startswith(_GZIP) else iter([data.removeprefix(b"\xef\xbb\xbf")])
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


def _inflated(data: bytes) -> Iterator[bytes]:
    """A gzip file's content, piece by piece, within MAX_INFLATED; bgzip's is of many members."""
    view, position, total, members = memoryview(data), 0, 0, 0
    while any(view[position : position + _FEED]):  # zeros after the last member are padding
        stream, members = zlib.decompressobj(31), members + 1
        if members > _MEMBERS:
            raise _too_large(f"the gzip file has more than {_MEMBERS} members")
        while not stream.eof:
            fed = view[position : position + _FEED]
            try:
                part = stream.decompress(stream.unconsumed_tail or fed, 1 << 20)
            except zlib.error:
                raise _malformed("the gzip stream is damaged") from None
            if not (fed or part or stream.eof):
                raise Rejected("truncated", "the gzip stream ends before its declared end", _AGAIN)
            total += len(part)
            if total > MAX_INFLATED:
                raise _too_large(f"the file inflates to more than {MAX_INFLATED} bytes")
            yield part
            if not stream.unconsumed_tail:
                position += len(fed) - len(stream.unused_data)


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
