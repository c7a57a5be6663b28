"""Who a patient is: a pseudonym everywhere, the identity itself sealed in one table."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from db import statements
from db.keys import Keys
from db.records import Identity
from db.store import Order, Writer
from db.tables import Identity as IdentityRow


def pseudonym(keys: Keys, identity: Identity | None) -> str | None:
    """The patient's pseudonym; without a number only the name and birth date tell patients apart."""
    if identity is None:
        return None
    parts = ("number", identity.issuer, identity.number) if identity.number else (
        "name", identity.name, identity.birth_date)  # fmt: skip
    return keys.pseudonym("p", *parts)


def identify(writer: Writer, identity: Identity | None) -> str | None:
    """The patient's pseudonym; the identity itself goes, sealed, to its one table."""
    patient = pseudonym(writer.keys, identity)
    if identity is None or patient is None or not writer.first("identity", patient):
        return patient
    seal = writer.keys.seal
    row: dict[str, object] = {
        "patient": patient,
        "created_at": writer.now,
        "number_sealed": seal(identity.number, f"identities.number:{patient}"),
        "issuer_sealed": seal(identity.issuer, f"identities.issuer:{patient}"),
        "name_sealed": seal(identity.name, f"identities.name:{patient}"),
        "birth_date_sealed": seal(identity.birth_date, f"identities.birth_date:{patient}"),
    }
    writer.later(Order.IDENTITY, _enter_identities, row)
    return patient


def _enter_identities(writer: Writer, rows: Sequence[dict[str, object]]) -> None:
    rows = sorted(rows, key=itemgetter("patient"))
    writer.connection.execute(statements.new(writer.dialect, IdentityRow), rows)
