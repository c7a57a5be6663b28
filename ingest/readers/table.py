"""Tables of one patient's values, or of one sample's gene expressions: CSV, TSV and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest import rows, values
from ingest.foreign import foreign
from ingest.plaintext import bounded, last, loaded
from ingest.rows import Row
from ingest.whose import KEYS, plain, whose
from models.payloads import Expression, Payload, Table, Value, Variants

SUFFIXES = frozenset((".csv", ".tsv", ".json"))
MAX_BYTES = 32 * 2**20  #: of a file
_JSON = re.compile(rb'\s*(\{\s*["}]|\[\s*[\[{\]])')


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
    names = [name.strip('" \r').lower() for name in re.split(f"[{rows.DELIMITERS}]", header)]
    if "smiles" in names:
        return False
    return suffix in SUFFIXES or _speaks_of_patients(names, rest)


def _speaks_of_patients(names: Sequence[str], rest: str) -> bool:
    """Whether most names are known and the next line has as many cells."""
    known = sum(1 for name in names if values.column(name) or plain(name) in KEYS)
    cells = len(re.split(f"[{rows.DELIMITERS}]", rest.partition("\n")[0]))
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
    row = rows.only(loaded(path, MAX_BYTES))
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
    found = _content(rows.only(bounded(data, MAX_BYTES)))
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
    found = rows.each(loaded(path, MAX_BYTES))
    first = list(islice(found, 2))
    if len(first) < 2:
        return None
    return [_document(row) for group in (first, found) for row in group]


def _document(row: Row) -> bytes:
    """One patient's row; its number stays, so that a refusal can name it."""
    owner = {name: row.owner[key] for key, name in _OWNER.items() if key in row.owner}
    return json.dumps({"row": row.number, **owner, "values": row.cells}, ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


_OWNER = {key: name for name, key in reversed(KEYS.items()) if key != "ignored"}


# ── what a row holds ──────────────────────────────────────────────────────────────────────────────


def _content(row: Row) -> Table | Expression:
    """The row as what it is. Raises Rejected."""
    expression = _expression(row)
    return expression if expression is not None else _table(row)


def _expression(row: Row) -> Expression | None:
    """The row as gene expressions, when it has at least a hundred numbers and none of the dictionary.

    Of thousands, one in a hundred may be written like a feature in capitals: ALB is albumin's gene too.
    """
    if len(row.cells) < rows.GENES:
        return None
    known = [name for name in row.cells if name and values.column(name)]
    genes = {
        name: cell
        for name, cell in row.cells.items()
        if name and (values.unknown(cell) or values.number(cell) is not None)
    }
    numbers = sum(1 for name, cell in genes.items() if values.number(cell) is not None) - len(known)
    alike = all(name.isupper() and name not in ("AGE", "SEX") for name in known)
    if numbers < rows.GENES or (known and not (alike and numbers >= 1000 and len(known) * 100 <= numbers)):
        return None
    found = [values.number(cell) for cell in genes.values()]
    with np.errstate(over="ignore"):
        measured = np.array([np.nan if v is None else v for v in found], dtype=np.float64).astype(np.float32)
    if np.isinf(measured).any():
        raise Rejected("out-of-range", f"row {row.number}: an expression beyond 1e38", "Check the export.")
    return Expression(genes=tuple(genes), values=measured)


def _table(row: Row) -> Table:
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
                raise rows.twice(row.number, header)
    if not met:
        raise Rejected(
            "no-features",
            f"none of the {len(row.cells)} columns is in the dictionary of features",
            rows.ADVICE,
        )
    if not found and not genotypes:
        raise Rejected("empty", f"row {row.number}: every known column is empty", "Check the export.")
    return Table(values=found, genotype=genotypes)


def _genotype(row: Row, gene: str, cell: object, *, or_feature: bool) -> str | None:
    """A cell's genotype; where the dictionary has a feature of the gene's name, it may be that instead."""
    try:
        return values.genotype(gene, cell, f"row {row.number}, column {gene}")
    except Rejected:
        if or_feature:
            return None
        raise


def _value(row: Row, name: str, unit: str, cell: object) -> Value | None:
    """What a cell says of a feature; `{"value": 5.4, "unit": "mmol/L"}` is a cell too."""
    place = f"row {row.number}, column {name}"
    if isinstance(cell, dict):
        own = cell.get("unit") or unit
        if not isinstance(own, str) or not cell.keys() <= {"value", "unit"}:
            raise Rejected("bad-value", f"{place}: not a value with its unit", rows.ADVICE)
        unit, cell = own, cell.get("value")
    if isinstance(cell, dict | list):
        raise Rejected("bad-value", f"{place}: not a single value", rows.ADVICE)
    return values.value(name, cell, unit, place)
