"""Tables of one patient's values, or of one sample's gene expressions: CSV, TSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest import values
from ingest.foreign import foreign
from ingest.plaintext import bounded, brief, decoded, json_document, last, loaded
from ingest.whose import KEYS, plain, put, whose
from models.payloads import Expression, Payload, Table, Value, Variants

SUFFIXES = frozenset((".csv", ".tsv", ".json"))
MAX_BYTES = 32 * 2**20  #: of a file
COLUMNS = 100_000  #: more than there are genes
ROWS = 10_000  #: each becomes an input of its own
BLANK = 100_000  #: lines between rows
GENES = 100  #: as many numbers outside the dictionary make a table one of gene expressions
_JSON = re.compile(rb'\s*(\{\s*["}]|\[\s*[\[{\]])')
_DELIMITERS = ",;\t"
_ADVICE = "See docs/inputs.md for the columns that are known and their units."


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One patient's cells by their headers as written, and what stands of the owner."""

    number: int  #: of the patient in the file, from 1
    cells: Mapping[str, object]
    owner: Mapping[str, str]


def claims(head: bytes, suffix: str) -> bool:
    """Whether a file so begun and so named is a JSON object of values, or a table of text.

    Under another name than .csv or .tsv a table is known by its header alone. FHIR and lists of molecules
    are other readers'.
    """
    if b"\0" in head[:4096] and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    start = head.removeprefix(b"\xef\xbb\xbf")
    if _JSON.match(start):
        return b'"resourceType"' not in head
    if foreign(head, "") is not None or suffix == ".json":
        return False
    header, _, rest = start.decode("utf-8", "replace").partition("\n")
    names = [name.strip('" \r').lower() for name in re.split(f"[{_DELIMITERS}]", header)]
    if "smiles" in names:
        return False
    return suffix in SUFFIXES or _speaks_of_patients(names, rest)


def _speaks_of_patients(names: Sequence[str], rest: str) -> bool:
    """Whether most names are known and the next line has as many cells."""
    known = sum(1 for name in names if values.column(name) or plain(name) in KEYS)
    cells = len(re.split(f"[{_DELIMITERS}]", rest.partition("\n")[0]))
    return len(names) >= 3 and known * 2 > len(names) and cells == len(names)


def whole(path: Path) -> str | None:
    """None when a JSON document's last bracket is there, or a CSV, which has no declared end, has bytes."""
    if not path.stat().st_size:
        return "the file is empty so far"
    with path.open("rb") as file:
        start = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] in (b"{", b"[") and last(path)[-1:] not in (b"}", b"]"):
        return "the JSON document has not reached its last bracket"
    return None


def read(path: Path, *, sidecar: bytes | None = None, parts: Sequence[str] = ()) -> Evidence:
    """Whose the values are, and which features or genes there are; see `ingest.whose.whose`.

    Raises Rejected (`too-large`, `empty`, `binary`, `undecodable-text`, `truncated`, `malformed`,
    `several-patients`, `unsupported-kind`, `no-features`, `bad-value`, `out-of-range`, `unit`,
    `bad-sidecar`, `contradiction`) and OSError.
    """
    row = _only(loaded(path, MAX_BYTES))
    owner = whose(sidecar, row.owner, parts)
    found = _content(row)
    facts: dict[str, str | int | float | bool | None]
    also: tuple[Kind, ...]
    if isinstance(found, Expression):
        kind, also, facts = Kind.EXPRESSION, (), {"genes": len(found.genes)}
    else:
        kind, also = Kind.TABLE, (Kind.VARIANTS,) if found.genotype else ()
        facts = {
            "features": ",".join(sorted(found.values)),
            "genes": ",".join(sorted(found.genotype)),
            "ignored_columns": sum(1 for name in row.cells if not (values.column(name) or values.gene(name))),
        }
    return Evidence(
        kind=kind, also=also, format="table", case_key=owner.case_key, identity=owner.identity, facts=facts
    )


def payload(data: bytes, kind: Kind) -> Payload:
    """The values as Table, the gene expressions as Expression, or the genotypes as Variants.

    Raises Rejected as `read` does, and `wrong-kind` when the file holds no such thing.
    """
    found = _content(_only(bounded(data, MAX_BYTES)))
    if isinstance(found, Expression) and kind == Kind.EXPRESSION:
        return found
    if isinstance(found, Table) and kind == Kind.TABLE:
        return found
    if isinstance(found, Table) and kind == Kind.VARIANTS and found.genotype:
        return Variants(diplotypes=found.genotype)
    raise Rejected("wrong-kind", f"the table cannot be given as {kind.value}", "It is kept as it came.")


def split(path: Path) -> list[bytes] | None:
    """A file of several patients as one JSON document for each, None when it holds one.

    At most 10,000. Raises Rejected as `read` does (without looking at the values) and OSError.
    """
    rows = _rows(loaded(path, MAX_BYTES))
    first = list(islice(rows, 2))
    if len(first) < 2:
        return None
    return [_document(row) for group in (first, rows) for row in group]


def _document(row: _Row) -> bytes:
    """One patient's row; its number stays, so that a refusal can name it."""
    owner = {name: row.owner[key] for key, name in _OWNER.items() if key in row.owner}
    return json.dumps({"row": row.number, **owner, "values": row.cells}, ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


_OWNER = {key: name for name, key in reversed(KEYS.items()) if key != "ignored"}


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────


def _only(data: bytes) -> _Row:
    """The one row of a file."""
    first = list(islice(_rows(data), 2))
    if not first:
        raise Rejected("empty", "the table has a header but no row", "Check the export.")
    if len(first) > 1:
        raise Rejected(
            "several-patients", "the table has more than one row", "Send each patient's row as its own file."
        )
    return first[0]


def _rows(data: bytes) -> Iterator[_Row]:
    """One row a patient. Raises Rejected."""
    text = decoded(data)
    rows = _from_json(text) if text.lstrip()[:1] in ("{", "[") else _from_csv(text)
    for number, row in enumerate(rows, 1):
        if number > ROWS:
            raise Rejected("too-large", f"the table has more than {ROWS} rows", "Split it.")
        yield row


def _from_csv(text: str) -> Iterator[_Row]:
    """The rows under the first line that is not blank; a column of row names may lack its header."""
    lines = text.lstrip("\r\n \t\f").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=re.sub(r'"[^"]*"', "", lines).count)
    rows = _cells(text, delimiter)
    header = [name.strip() for name in next(rows, (0, [""]))[1]]
    if len(header) > COLUMNS:
        raise Rejected("too-large", f"the table has more than {COLUMNS} columns", "Send fewer columns.")
    for number, (line, cells) in enumerate(rows, 1):
        if number == 1 and len(cells) == len(header) + 1:
            header.insert(0, "")
        if len(cells) != len(header):
            raise Rejected(
                "malformed", f"row {number} (line {line}) has {len(cells)} cells, the header {len(header)}",
                "Quote cells that hold the delimiter, and export the table again.",
            )  # fmt: skip
        yield _row(number, zip(header, cells, strict=True), decimal_comma=delimiter == ";")


def _cells(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every line that is not blank."""
    blank = 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
            elif (blank := blank + 1) > BLANK:
                raise Rejected(
                    "too-large", f"the table has more than {BLANK} blank lines", "Check the export."
                )
    except csv.Error:
        raise Rejected(
            "malformed", f"the table cannot be parsed after line {reader.line_num}",
            "Check its quotes; the cells of a CSV are quoted as RFC 4180 says.",
        ) from None  # fmt: skip


def _from_json(text: str) -> Iterator[_Row]:
    """The one object, or the objects of a list."""
    document = json_document(text, _once)
    entries = document if isinstance(document, list) else [document]
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise Rejected("malformed", f"entry {number} is no JSON object of values", _ADVICE)
        yield _from_object(number, entry)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose names are all different."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Rejected("malformed", "a JSON object names one thing twice", "Name each once.")
    return found


def _from_object(number: int, entry: Mapping[str, object]) -> _Row:
    """`{"patient_id": ..., "values": {...}, "genotype": {...}}`, or all of it in one flat object."""
    nested = [part for name in ("values", "genotype") if isinstance(part := entry.get(name), dict)]
    row = entry.get("row")
    if nested and isinstance(row, int) and 0 < row <= ROWS:
        number = row
    flat = entry.items() if not nested else ((n, c) for n, c in entry.items() if plain(n) in KEYS)
    found = [*flat, *(cell for part in nested for cell in part.items())]
    if len(found) > COLUMNS:
        raise Rejected("too-large", f"an entry has more than {COLUMNS} values", "Send fewer.")
    if not nested and not any(values.column(name) or values.gene(name) for name, _ in found):
        numbers = sum(1 for _, cell in found if values.number(cell) is not None)
        if numbers < GENES:
            raise Rejected(
                "unsupported-kind", "this is a JSON document in which no value is one that wetread knows",
                _ADVICE,
            )  # fmt: skip
    return _row(number, found)


def _row(number: int, cells: Iterator[tuple[str, object]] | Sequence[tuple[str, object]], *,
         decimal_comma: bool = False) -> _Row:  # fmt: skip
    """Cells and owner apart. Raises Rejected `contradiction` when two columns differ on whose they are."""
    owner: dict[str, str] = {}
    found: dict[str, object] = {}
    for name, cell in cells:
        if key := _owner_key(name):
            if key != "ignored" and not values.unknown(cell) and isinstance(cell, str | int | float):
                put(owner, key, brief(str(cell)))
        elif found.setdefault(name, cell) != cell and values.column(name):
            raise _twice(number, name)
        elif decimal_comma and isinstance(cell, str):
            found[name] = re.sub(r"^\s*([+-]?[0-9]+),([0-9]+)\s*$", r"\1.\2", cell)
    return _Row(number=number, cells=found, owner=owner)


@lru_cache(131_072)
def _owner_key(name: str) -> str | None:
    """What of `ingest.whose.KEYS` a column is, None for another."""
    return KEYS.get(plain(name[:200]))


def _twice(number: int, name: str) -> Rejected:
    known = values.column(name)
    return Rejected(
        "contradiction", f"row {number} has two different values for {known[0] if known else 'a column'}",
        "Keep the right one.",
    )  # fmt: skip


# ── what a row holds ──────────────────────────────────────────────────────────────────────────────


def _content(row: _Row) -> Table | Expression:
    """The row as what it is. Raises Rejected."""
    expression = _expression(row)
    return expression if expression is not None else _table(row)


def _expression(row: _Row) -> Expression | None:
    """The row as gene expressions, when it has at least a hundred numbers and none of the dictionary.

    Of thousands, one in a hundred may be written like a feature in capitals: ALB is albumin's gene too.
    """
    if len(row.cells) < GENES:
        return None
    known = [name for name in row.cells if name and values.column(name)]
    genes = {
        name: cell
        for name, cell in row.cells.items()
        if name and (values.unknown(cell) or values.number(cell) is not None)
    }
    numbers = sum(1 for name, cell in genes.items() if values.number(cell) is not None) - len(known)
    alike = all(name.isupper() and name not in ("AGE", "SEX") for name in known)
    if numbers < GENES or (known and not (alike and numbers >= 1000 and len(known) * 100 <= numbers)):
        return None
    found = [values.number(cell) for cell in genes.values()]
    with np.errstate(over="ignore"):
        measured = np.array([np.nan if v is None else v for v in found], dtype=np.float64).astype(np.float32)
    if np.isinf(measured).any():
        raise Rejected("out-of-range", f"row {row.number}: an expression beyond 1e38", "Check the export.")
    return Expression(genes=tuple(genes), values=measured)


def _table(row: _Row) -> Table:
    """The features and genotypes of a row; what else it has is left aside."""
    found: dict[str, Value] = {}
    genotypes: dict[str, str] = {}
    met = False
    for header, cell in row.cells.items():
        known, gene = values.column(header), values.gene(header)
        met = met or known is not None or gene is not None
        if gene and (diplotype := _genotype(row, gene, cell, or_feature=known is not None)):
            if genotypes.setdefault(gene, diplotype) != diplotype:
                raise Rejected("contradiction", f"row {row.number} has two different genotypes of {gene}",
                               "Keep the right one.")  # fmt: skip
        elif known:
            value = _value(row, *known, cell)
            if value is not None and found.setdefault(known[0], value) != value:
                raise _twice(row.number, header)
    if not met:
        raise Rejected(
            "no-features", f"none of the {len(row.cells)} columns is in the dictionary of features", _ADVICE
        )
    if not found and not genotypes:
        raise Rejected("empty", f"row {row.number}: every known column is empty", "Check the export.")
    return Table(values=found, genotype=genotypes)


def _genotype(row: _Row, gene: str, cell: object, *, or_feature: bool) -> str | None:
    """A cell's genotype; where the dictionary has a feature of the gene's name, it may be that instead."""
    try:
        return values.genotype(gene, cell, f"row {row.number}, column {gene}")
    except Rejected:
        if or_feature:
            return None
        raise


def _value(row: _Row, name: str, unit: str, cell: object) -> Value | None:
    """What a cell says of a feature; `{"value": 5.4, "unit": "mmol/L"}` is a cell too."""
    place = f"row {row.number}, column {name}"
    if isinstance(cell, dict):
        own = cell.get("unit") or unit
        if not isinstance(own, str) or not cell.keys() <= {"value", "unit"}:
            raise Rejected("bad-value", f"{place}: not a value with its unit", _ADVICE)
        unit, cell = own, cell.get("value")
    if isinstance(cell, dict | list):
        raise Rejected("bad-value", f"{place}: not a single value", _ADVICE)
    return values.value(name, cell, unit, place)
