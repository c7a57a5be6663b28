"""Data sets as files: ARFF and CSV become columns of text, a cell that is not known becomes None."""

from __future__ import annotations

import csv
import re
from pathlib import Path

Columns = dict[str, list[str | None]]
UNKNOWN = frozenset(("", "?", "na", "nan"))
_ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)", re.IGNORECASE)


def read(path: Path) -> Columns:
    """The columns of an `.arff` or `.csv` file by their names, all equally long.

    Raises ValueError, naming the row, where a row is not as long as the header.
    """
    lines = path.read_text("utf-8-sig").splitlines()
    arff = path.suffix.lower() == ".arff"
    header, rows = _arff(lines) if arff else _csv(lines)
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}")
    return {name: [_cell(row[place]) for row in rows] for place, name in enumerate(header)}


def _cell(text: str) -> str | None:
    plain = text.strip().strip("'\"")
    return None if plain.lower() in UNKNOWN else plain


def _arff(lines: list[str]) -> tuple[list[str], list[list[str]]]:
    """Weka's attribute-relation format, dense (https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/)."""
    lines = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("%")]
    begin = next((i for i, line in enumerate(lines) if line.lower().startswith("@data")), None)
    if begin is None:
        raise ValueError("an ARFF file has a line @data; there is none")
    header = [m[1].strip("'\"") for line in lines[:begin] if (m := _ATTRIBUTE.match(line))]
    return header, list(csv.reader(lines[begin + 1 :], quotechar="'", skipinitialspace=True))


def _csv(lines: list[str]) -> tuple[list[str], list[list[str]]]:
    header, *rows = csv.reader(line for line in lines if line.strip())
    return [name.strip() for name in header], rows
