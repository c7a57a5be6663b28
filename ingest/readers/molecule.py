"""Lists of molecules, as SMILES one a line or in a table's column, each of which RDKit can make sense of."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest.foreign import foreign
from ingest.plaintext import bounded, decoded, loaded
from ingest.whose import KEYS, plain, whose
from models.payloads import Molecules

SUFFIXES = frozenset((".smi", ".smiles"))
MAX_BYTES = 8 * 2**20
MAX_MOLECULES = 1_000  #: in one file
MAX_ATOMS = 500  #: in one molecule, without the hydrogens that SMILES leaves out
_MAX_CHARACTERS = 10_000  # of one SMILES: its parser is not asked about more
_MAX_RINGS = 100  # closures; no drug comes near, and RDKit's search for rings grows with their tangle

_COLUMNS = ("smiles", "canonicalsmiles", "isomericsmiles")
_DELIMITERS = ",;\t"
_PATIENT = frozenset(("age", "sex", "gender", *(key for key, what in KEYS.items() if what != "ignored")))
_SMILES = re.compile(r"[!-~]+")
_BESIDE = frozenset(("cid", "pic50"))  # columns by which `mol` is a structure, not an amount of substance


def claims(head: bytes, suffix: str) -> bool:
    """Whether the first line names a column `smiles` among others, or text is named as a list of SMILES."""
    if b"\0" in head or foreign(head, "") is not None:
        return False
    return suffix in SUFFIXES or _is_table(head.decode("utf-8", "replace"), suffix)


def whole(path: Path) -> str | None:
    """None when there is any text; neither form has a declared end, quiet time must tell the rest."""
    return None if path.stat().st_size else "the file is empty so far"


def read(path: Path, *, sidecar: bytes | None = None, parts: Sequence[str] = ()) -> Evidence:
    """How many molecules there are and how large.

    Raises Rejected (`bad-smiles`, `mixed-table`, `too-long`, `too-many`, `too-large`, `malformed`, `binary`,
    `undecodable-text`, `empty`, `bad-sidecar`, `contradiction`) and OSError.
    """
    owner = whose(sidecar, {}, parts)
    checked = list(_checked(loaded(path, MAX_BYTES)))
    canonical = [one for _, one, _ in checked]
    return Evidence(
        kind=Kind.MOLECULE,
        case_key=owner.case_key,
        identity=owner.identity,
        content=hashlib.sha256("\n".join(canonical).encode("ascii")).hexdigest(),
        format="molecule",
        facts={
            "molecules": len(checked),
            "distinct": len(set(canonical)),
            "largest_atoms": max(atoms for _, _, atoms in checked),
        },
    )


def payload(data: bytes, kind: Kind = Kind.MOLECULE) -> Molecules:
    """The SMILES as they stand in the file: atoms keep their numbers. Raises Rejected as `read` does."""
    return Molecules(smiles=tuple(written for written, _, _ in _checked(data)))


def _checked(data: bytes) -> Iterator[tuple[str, str, int]]:
    """Each molecule as written, as RDKit writes it, and its number of atoms."""
    from rdkit import rdBase

    count = 0
    with rdBase.BlockLogs():  # RDKit tells standard error what it was given
        for number, smiles in _lines(decoded(bounded(data, MAX_BYTES))):
            count += 1
            if count > MAX_MOLECULES:
                raise Rejected(
                    "too-many",
                    f"the file holds more than {MAX_MOLECULES} molecules",
                    "Split it into several.",
                )
            yield smiles, *_sanitised(smiles, number)
    if not count:
        raise Rejected("empty", "the file holds no molecule", "Check the export.")


def _sanitised(smiles: str, number: int) -> tuple[str, int]:
    """The canonical SMILES and the number of atoms."""
    from rdkit import Chem

    if not _SMILES.fullmatch(smiles):
        raise _bad(number)
    unchecked = None
    if len(smiles) <= _MAX_CHARACTERS:
        unchecked = Chem.MolFromSmiles(smiles, sanitize=False)
        if unchecked is None or not unchecked.GetNumAtoms():
            raise _bad(number)
    if unchecked is None or unchecked.GetNumAtoms() > MAX_ATOMS:
        raise Rejected(
            "too-long",
            f"the molecule of line {number} has more than {MAX_ATOMS} atoms",
            "Small molecules are read.",
        )
    if unchecked.GetNumBonds() - unchecked.GetNumAtoms() > _MAX_RINGS:
        raise Rejected(
            "too-long",
            f"the molecule of line {number} has more than {_MAX_RINGS} rings",
            "Small molecules are read.",
        )
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raise _bad(number)
    return Chem.MolToSmiles(molecule), molecule.GetNumAtoms()


def _heading(text: str) -> tuple[list[str], str]:
    """The first line's cells and what parts them, when one of them names the SMILES; else none.

    In tables of MoleculeNet that is `mol`, beside a compound's number or its activity.
    """
    line = text.removeprefix("\ufeff").lstrip().partition("\n")[0][:20_000]
    delimiter = max(_DELIMITERS, key=line.count)
    cells = [cell.strip('" \t\r') for cell in line.split(delimiter)]
    if not _BESIDE.isdisjoint(cell.lower() for cell in cells):
        cells = ["smiles" if cell == "mol" else cell for cell in cells]
    return (cells if any(_names_smiles(cell) for cell in cells) else []), delimiter


def _is_table(text: str, suffix: str) -> bool:
    """Prose may begin "Alert, smiles, ...": unless named a table, the next line must have a SMILES there."""
    cells, delimiter = _heading(text)
    if len(cells) < 2 or suffix in (".csv", ".tsv"):
        return len(cells) > 1
    row = text.lstrip().partition("\n")[2].partition("\n")[0]
    following = [cell.strip('" \t\r') for cell in row.split(delimiter)]
    place = next(place for place, cell in enumerate(cells) if _names_smiles(cell))
    return len(following) == len(cells) and _SMILES.fullmatch(following[place]) is not None


def _names_smiles(cell: str) -> bool:
    return re.sub(r"[\s_-]", "", cell).lower() in _COLUMNS


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The SMILES with their line numbers: of the table's column, or each line's first word."""
    cells, delimiter = _heading(text)
    if len(cells) > 1:
        yield from _column(text, cells, delimiter)
        return
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words and not (_names_smiles(words[0]) and number == 1):
            yield number, words[0]


def _column(text: str, cells: Sequence[str], delimiter: str) -> Iterator[tuple[int, str]]:
    if clinical := [place for place, cell in enumerate(cells, 1) if plain(cell) in _PATIENT]:
        raise Rejected(
            "mixed-table", f"column {clinical[0]} of the list of molecules speaks of a patient",
            "Send molecules and a patient's values in files of their own.",
        )  # fmt: skip
    place = next(place for place, cell in enumerate(cells) if _names_smiles(cell))
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff").lstrip()), delimiter=delimiter)
    try:
        next(rows)
        for row in rows:
            if not row:
                continue
            if len(row) <= place or not row[place].strip():
                raise _bad(rows.line_num)
            smiles, _, more = row[place].strip().partition(" ")
            yield rows.line_num, smiles if more.startswith("|") else row[place].strip()  # CXSMILES' extension
    except (csv.Error, StopIteration):
        raise Rejected(
            "malformed", f"line {rows.line_num} is no row of a table", "Export it again."
        ) from None


def _bad(number: int) -> Rejected:
    return Rejected(
        "bad-smiles", f"line {number} should hold a SMILES that RDKit can sanitise, it does not",
        "Correct the structure (valences, ring closures, aromaticity), or take the line out.",
    )  # fmt: skip
