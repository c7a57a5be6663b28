"""Tables as rows, one a patient: CSV and TSV, and JSON objects."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from db.errors import Rejected
from ingest import values
from ingest.plaintext import brief, decoded, json_document
from ingest.whose import KEYS, plain, put

COLUMNS = 100_000  #: more than there are genes
ROWS = 10_000  #: each becomes an input of its own
BLANK = 100_000  #: lines between rows
GENES = 100  #: as many numbers outside the dictionary make a table one of gene expressions
DELIMITERS = ",;\t"
_SEP = re.compile(r'\s*"?sep=[,;\t]"?[ \t]*(?=\r?\n)', re.IGNORECASE)  # a spreadsheet's first line
ADVICE = "See docs/inputs.md for the columns that are known and their units."


@dataclass(frozen=True, kw_only=True, repr=False)
class Row:
    """One patient's cells by their headers as written, and whose they are; hence no repr."""

    number: int  #: of the patient in the file, from 1
    cells: Mapping[str, object]
    owner: Mapping[str, str]  #: as the header of `ingest.whose.whose`


def only(data: bytes) -> Row:
    """The one row of a file. Raises Rejected as `each` does, and `empty`, `several-patients`."""
    first = list(islice(each(data), 2))
    if not first:
        raise Rejected("empty", "the table has a header but no row", "Check the export.")
    if len(first) > 1:
        raise Rejected(
            "several-patients", "the table has more than one row", "Send each patient's row as its own file."
        )
    return first[0]


def each(data: bytes) -> Iterator[Row]:
    """A file's rows, one a patient. Raises Rejected (as `ingest.readers.table.read` does)."""
    text = decoded(data)
    rows = _from_json(text) if text.lstrip()[:1] in ("{", "[") else _from_csv(text)
    for number, row in enumerate(rows, 1):
        if number > ROWS:
            raise Rejected("too-large", f"the table has more than {ROWS} rows", "Split it.")
        yield row


def _from_csv(text: str) -> Iterator[Row]:
    """The rows under the first line that is not blank; a column of row names may lack its header."""
    text = _SEP.sub("", text, count=1) if _SEP.match(text) else text
    lines = text.lstrip("\r\n \t\f").partition("\n")[0]
    delimiter = max(DELIMITERS, key=re.sub(r'"[^"]*"', "", lines).count)
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


def _from_json(text: str) -> Iterator[Row]:
    """The one object, or the objects of a list."""
    document = json_document(text, _once)
    entries = document if isinstance(document, list) else [document]
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise Rejected("malformed", f"entry {number} is no JSON object of values", ADVICE)
        yield _from_object(number, entry)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose names are all different."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Rejected("malformed", "a JSON object names one thing twice", "Name each once.")
    return found


def _from_object(number: int, entry: Mapping[str, object]) -> Row:
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
                ADVICE,
            )  # fmt: skip
    return _row(number, found)


def _row(number: int, cells: Iterator[tuple[str, object]] | Sequence[tuple[str, object]], *,
         decimal_comma: bool = False) -> Row:  # fmt: skip
    """Cells and owner apart. Raises Rejected `contradiction` when two columns differ on whose they are."""
    owner: dict[str, str] = {}
    found: dict[str, object] = {}
    for name, cell in cells:
        if key := _owner_key(name):
            if key != "ignored" and not values.unknown(cell) and isinstance(cell, str | int | float):
                put(owner, key, brief(str(cell)))
        elif found.setdefault(name, cell) != cell and values.column(name):
            raise twice(number, name)
        elif decimal_comma and isinstance(cell, str):
            found[name] = re.sub(r"^\s*([+-]?[0-9]+),([0-9]+)\s*$", r"\1.\2", cell)
    return Row(number=number, cells=found, owner=owner)


@lru_cache(131_072)
def _owner_key(name: str) -> str | None:
    """What of `ingest.whose.KEYS` a column is, None for another."""
    return KEYS.get(plain(name[:200]))


def twice(number: int, name: str) -> Rejected:
    """The refusal of two different values of one column."""
    known = values.column(name)
    return Rejected(
        "contradiction", f"row {number} has two different values for {known[0] if known else 'a column'}",
        "Keep the right one.",
    )  # fmt: skip
