"""Whose a file is and what it is called, as sidecar, header and folder names say; all must agree."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from db.errors import Rejected
from db.records import Identity
from ingest.plaintext import brief

SIDECAR_BYTES = 65_536  #: a handful of keys
NOTE_TYPES = frozenset(
    (
        *("admission", "consult", "discharge", "echo", "ecg", "emergency", "general", "history-and-physical"),
        *("nursing", "operative", "pathology", "physician", "procedure", "progress", "radiology"),
        *("referral", "respiratory", "social-work"),
    )
)

# What a header or sidecar may say, by every name it is known under; `ignored` is known but not kept.
KEYS = {
    "patient-id": "number",
    "mrn": "number",
    "issuer": "issuer",
    "issuer-of-patient-id": "issuer",
    "patient-name": "name",
    "birth-date": "birth_date",
    "dob": "birth_date",
    "date-of-birth": "birth_date",
    "encounter": "encounter",
    "encounter-id": "encounter",
    "visit": "encounter",
    "visit-id": "encounter",
    "accession": "accession",
    "accession-number": "accession",
    "note-type": "note_type",
    "author": "ignored",
    "date": "ignored",
}
_PART = re.compile(r"(patient|encounter)[=-](.{1,64})", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, repr=False)
class Whose:
    """Whose a file is. Holds identities, hence no repr."""

    identity: Identity | None
    case_key: str  #: encounter or accession number, "" when nobody says
    note_type: str  #: one of NOTE_TYPES, `other`, or ""


def whose(sidecar: bytes | None, header: Mapping[str, str], parts: Sequence[str]) -> Whose:
    """Whose a file is.

    sidecar: the JSON object beside it, which goes before header (keys as KEYS' values: `number`,
    `issuer`, `name`, `birth_date`, `encounter`, `accession`, `note_type`), and that before parts: the
    folder names between inbox and file, such as `patient=123`, `encounter=9`.
    Raises Rejected (`bad-sidecar`, `contradiction`).
    """
    known = _merge(_sidecar(sidecar), header, _folders(parts))
    return Whose(
        identity=_identity(known),
        case_key=known.get("encounter") or known.get("accession") or "",
        note_type=_note_type(known.get("note_type", "")),
    )


def is_owner_alone(data: bytes) -> bool:
    """Does this JSON say whose a file is and nothing else? Then it waits for the file that it speaks of."""
    try:
        entries = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return isinstance(entries, dict) and all(plain(str(k)) in KEYS for k in entries)


def plain(key: str) -> str:
    """`PatientID`, `patient_id` and `Patient ID` alike."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[ _-]+", "-", key.strip()).lower()


def put(found: dict[str, str], key: str, value: str) -> None:
    """Two different numbers for one patient in one place are a contradiction too."""
    if value:
        if key in ("number", "encounter") and found.get(key, value) != value:
            raise _contradiction(key)
        found[key] = value


def _contradiction(key: str) -> Rejected:
    what = "patient numbers" if key == "number" else f"{key.replace('_', ' ')}s"
    return Rejected(
        "contradiction",
        f"sidecar, header and folder give different {what}",
        "Correct whichever is wrong and send the note again; wetread does not guess whose it is.",
    )


def _sidecar(data: bytes | None) -> dict[str, str]:
    if data is None:
        return {}
    bad = Rejected(
        "bad-sidecar", "the JSON beside the note is not one object of texts", "See docs/readers.md."
    )
    try:
        entries = json.loads(data.decode("utf-8-sig")) if len(data) <= SIDECAR_BYTES else None
    except (ValueError, RecursionError):
        raise bad from None
    if not isinstance(entries, dict):
        raise bad
    found: dict[str, str] = {}
    for name, value in entries.items():
        key = KEYS.get(plain(name))
        if key is None or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise bad
        put(found, key, brief(str(value)))
    return found


def _folders(parts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in parts:
        if match := _PART.fullmatch(part):
            put(found, "number" if match[1].lower() == "patient" else "encounter", match[2].strip())
    return found


def _merge(*sources: Mapping[str, str]) -> dict[str, str]:
    """The first source that names a thing decides; whose the note is, all must agree on."""
    merged: dict[str, str] = {}
    for source in sources:
        for key, value in source.items():
            if key == "number" and merged.get(key, value) != value:
                raise _contradiction(key)
            merged.setdefault(key, value)
    return merged


def _identity(known: Mapping[str, str]) -> Identity | None:
    number, name = known.get("number", ""), known.get("name", "")
    if not number and not name:
        return None
    born = re.sub(r"[-./]", "", known.get("birth_date", ""))
    return Identity(
        number=number,
        issuer=known.get("issuer", ""),
        name=name,
        birth_date=born if re.fullmatch(r"(19|20|18)[0-9]{6}", born) else "",
    )


def _note_type(word: str) -> str:
    """One of NOTE_TYPES, `other`, or "" when nothing is said."""
    plain = re.sub(r"[^a-z]+", "-", word.lower()).strip("-").removesuffix("-note").removesuffix("-report")
    plain = {"h-p": "history-and-physical", "discharge-summary": "discharge", "ed": "emergency"}.get(
        plain, plain
    )
    if not plain:
        return ""
    return plain if plain in NOTE_TYPES else "other"
