"""Inputs on record: one row an input, one case where they belong together, identities in their one place."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import LargeBinary, inspect, text

from db import inputs, jobs, ledger, reports
from db.errors import Rejected
from db.jobs import Owed
from db.keys import Keys
from db.ledger import Sighting
from db.records import Evidence, FileState, Identity, Kind
from db.store import Store, Writer, migrate
from db.tables import Base

CANARY = Identity(number="MRN-7700123", issuer="HOSPITAL-X", name="Canary^Clara", birth_date="19491231")
FILM = Owed(model="film", version="1", weights_sha256="a" * 64)


def see(writer: Writer, *names: str) -> dict[str, str]:
    return ledger.see(writer, [Sighting(name=n, suffix=".dcm", bytes=1) for n in names])


def accept(
    store: Store, digest: str, evidence: Evidence, owed: Sequence[Owed] = (FILM,), unread: str | None = None
) -> FileState:
    """One file through the ledger, its digest padded to a SHA-256's length."""
    with store.write() as writer:
        file_id = see(writer, f"{digest}.dcm")[f"{digest}.dcm"]
        whole = digest.ljust(64, "0")
        return inputs.accept(writer, file_id, evidence, digest=whole, size=1, owed=owed, unread=unread)


def image(uid: str = "1.2", **more: object) -> Evidence:
    given = {"identity": CANARY, "case_key": "ACC-1", "study_uid": "1", "series_uid": "1.1", **more}
    return Evidence(kind=Kind.IMAGE, uid=uid, **given)  # type: ignore[arg-type]


def count(store: Store, table: str) -> int:
    with store.read() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


def test_an_accepted_input_owes_its_jobs_and_is_ready(store: Store) -> None:
    assert accept(store, "d1", image()) is FileState.READY
    with store.read() as connection:
        assert reports.jobs_by_state(connection)["owed"] == 1
        assert reports.file_counts(connection)["ready"] == 1


def test_the_same_bytes_again_are_a_duplicate_that_changes_only_file_and_audit(store: Store) -> None:
    accept(store, "d1", image())
    before = [count(store, t.name) for t in Base.metadata.sorted_tables if t.name not in ("files", "audit")]
    with store.write() as writer:
        again = see(writer, "copy.dcm")["copy.dcm"]
        state = inputs.accept(writer, again, image(), digest="d1".ljust(64, "0"), size=1, owed=[FILM])
    after = [count(store, t.name) for t in Base.metadata.sorted_tables if t.name not in ("files", "audit")]
    assert (state, after) == (FileState.DUPLICATE, before)


def test_the_same_uid_with_other_bytes_is_a_conflict_and_the_first_stays(store: Store) -> None:
    accept(store, "d1", image("1.2"))
    with pytest.raises(Rejected) as caught:
        accept(store, "d2", image("1.2"))
    assert caught.value.code == "conflict"
    with store.read() as connection:
        assert connection.scalar(text("SELECT digest FROM evidence")) == "d1".ljust(64, "0")


def test_one_accession_of_one_patient_is_one_case(store: Store) -> None:
    accept(store, "d1", image("1.1"))
    accept(store, "d2", image("1.2"))
    assert count(store, "cases") == 1


def test_one_accession_number_at_two_patients_is_two_cases(store: Store) -> None:
    accept(store, "d1", image("1.1"))
    accept(store, "d2", image("1.2", identity=Identity(number="other")))
    assert count(store, "cases") == 2


def test_image_and_note_of_one_patient_and_key_meet_in_one_case(store: Store) -> None:
    accept(store, "d1", image())
    accept(store, "d2", Evidence(kind=Kind.NOTE, case_key="ACC-1", identity=CANARY))
    assert count(store, "cases") == 1


def test_notes_without_keys_are_each_a_case_of_their_own(store: Store) -> None:
    accept(store, "d1", Evidence(kind=Kind.NOTE))
    accept(store, "d2", Evidence(kind=Kind.NOTE))
    assert count(store, "cases") == 2


def test_two_patients_with_the_same_number_of_two_issuers_are_two(store: Store) -> None:
    accept(store, "d1", image("1.1"))
    accept(store, "d2", image("1.2", identity=Identity(number=CANARY.number, issuer="HOSPITAL-Y")))
    assert count(store, "identities") == 2


def test_a_patient_seen_twice_is_one_identity_that_unseals(store: Store) -> None:
    accept(store, "d1", image("1.1"))
    accept(store, "d2", image("1.2"))
    with store.read() as connection:
        row = connection.execute(text("SELECT patient, name_sealed FROM identities")).one()
    assert store.keys.unseal(bytes(row.name_sealed), f"identities.name:{row.patient}") == CANARY.name


def dump(store: Store) -> str:
    """Every column of every table and view as text, bytes as Latin-1."""
    found = []
    names = [*inspect(store.engine).get_table_names(), *inspect(store.engine).get_view_names()]
    with store.read() as connection:
        for name in names:
            for row in connection.execute(text(f'SELECT * FROM "{name}"')):
                found += [bytes(v).decode("latin-1") if isinstance(v, bytes) else str(v) for v in row]
    return "\n".join(found)


def test_no_table_tells_a_patient_in_plain(store: Store) -> None:
    with store.write() as writer:
        name = "Canary^Clara/MRN-7700123.dcm"
        file_id = see(writer, name)[name]
        inputs.accept(writer, file_id, image(), digest="d1".ljust(64, "0"), size=1, owed=[FILM])
    accept(store, "d2", Evidence(kind=Kind.NOTE, case_key="ENC-7700123", identity=CANARY))
    told = dump(store)
    born = date(1949, 12, 31)
    for word in ("Canary", "Clara", "7700123", "HOSPITAL-X", "ACC-1", "19491231", born.isoformat()):
        assert word not in told


def test_identities_are_the_only_table_that_holds_a_sealed_identity() -> None:
    sealed = {t.name for t in Base.metadata.sorted_tables for c in t.c if isinstance(c.type, LargeBinary)}
    assert sealed == {"identities", "files"}  # of files: the name under which one came


def test_why_no_model_reads_an_input_is_recorded_once_a_series(store: Store) -> None:
    for number in range(3):
        accept(store, f"d{number}", image(f"1.{number}"), owed=(), unread="no-model: none reads CT images")
    with store.read() as connection:
        assert [r["reason"] for r in reports.results(connection)] == ["no-model: none reads CT images"]
        assert reports.file_counts(connection)["done"] == 3


def test_a_model_that_came_since_is_owed_when_the_same_bytes_come_again(store: Store) -> None:
    accept(store, "d1", image())
    newer = Owed(model="film", version="2", weights_sha256="b" * 64)
    with store.write() as writer:
        again = see(writer, "copy.dcm")["copy.dcm"]
        inputs.accept(writer, again, image(), digest="d1".ljust(64, "0"), size=1, owed=[FILM, newer])
    assert len(jobs.take_owed(store)) == 2


def test_of_inputs_looked_up_together_each_is_accepted_once(store: Store) -> None:
    accept(store, "d1", image("1.1"))
    names, found = ("d1", "d2", "d3", "d2", "d4"), []
    uids = {"d1": "1.1", "d2": "1.2", "d3": "1.3", "d4": "1.3"}
    with store.write() as writer:
        inputs.look_up(writer, [name.ljust(64, "0") for name in names], uids.values())
        for number, name in enumerate(names):
            file_id = see(writer, f"{number}.dcm")[f"{number}.dcm"]
            digest = name.ljust(64, "0")
            try:
                found.append(
                    inputs.accept(writer, file_id, image(uids[name]), digest=digest, size=1, owed=[FILM])
                )
            except Rejected as why:
                found.append(why.code)  # type: ignore[arg-type]
    assert found == ["duplicate", "ready", "ready", "duplicate", "conflict"]


def _word(words: str, uid: str = "", case: str = "ACC-1") -> Evidence:
    return Evidence(kind=Kind.NOTE, uid=uid, content=words, case_key=case, identity=CANARY)


#: (digest, input): new ones, the same bytes, words, pixels and UIDs again, two series, a table
MIXED = (
    ("a1", image("1.1")), ("a2", image("1.2", content="px")), ("a2", image("1.2", content="px")),
    ("a3", image("1.3", content="px")), ("a4", image("1.1")), ("a5", _word("same")), ("a6", _word("same")),
    ("a7", _word("words", "m1")), ("a8", _word("words", "m1")), ("a9", _word("other", "m1")),
    ("b1", image("1.4", series_uid="1.2")), ("b2", image("1.5", study_uid="2", series_uid="2.1")),
    ("b3", image("1.6", identity=None, case_key="")), ("b4", _word("same", case="ACC-2")),
    ("b5", Evidence(kind=Kind.TABLE, uid="t", content="v")), ("a1", image("1.1")),
)  # fmt: skip


def _taken(store: Store, together: bool) -> list[object]:
    """What becomes of MIXED, as one transaction or as one each."""
    states: list[object] = []
    parts = [MIXED] if together else [(one,) for one in MIXED]
    number = 0
    for part in parts:
        with store.write() as writer:
            names = [f"{number + n}.dcm" for n in range(len(part))]
            number += len(part)
            ids = see(writer, *names)
            digests = [digest.ljust(64, "0") for digest, _ in part]
            found = [evidence for _, evidence in part]
            inputs.look_up(writer, digests, [one.uid for one in found], found)
            for name, digest, evidence in zip(names, digests, found, strict=True):
                owed, unread = ([FILM], None) if evidence.series_uid != "1.2" else ([], "no-model: none")
                try:
                    states.append(inputs.accept(writer, ids[name], evidence, digest=digest, size=1,
                                                owed=owed, unread=unread))  # fmt: skip
                except Rejected as why:
                    states.append(why.code)
                    ledger.conclude_later(writer, ids[name], FileState.QUARANTINED, reason=why.code)
    return states


def _rows(store: Store) -> dict[str, list[str]]:
    """The rows without what is chance or time."""
    asked = {
        "files": "SELECT state, reason, sentence, f.digest, e.digest FROM files f "
                 "LEFT JOIN evidence e ON e.id = f.evidence_id",
        "evidence": "SELECT digest, case_id, kind, uid, content, study_uid, series_uid FROM evidence",
        "links": "SELECT a.digest, b.digest, relation FROM evidence_links l "
                 "JOIN evidence a ON a.id = evidence_id JOIN evidence b ON b.id = other_id",
        "cases": "SELECT id, patient FROM cases", "people": "SELECT patient FROM identities",
        "series": "SELECT case_id, series_uid, instances, state FROM series",
        "studies": "SELECT case_id, study_uid, instances, state FROM studies",
        "jobs": "SELECT j.input_digest, j.model, j.state, e.digest FROM jobs j "
                "JOIN job_inputs i ON i.job_id = j.id JOIN evidence e ON e.id = i.evidence_id",
        "audit": "SELECT action, count(*) FROM audit GROUP BY action",
    }  # fmt: skip
    with store.read() as connection:
        return {
            name: sorted(map(str, connection.execute(text(query)).all())) for name, query in asked.items()
        }


def test_inputs_of_one_transaction_become_the_rows_that_they_become_one_by_one(
    store: Store, tmp_path: Path, key: Keys
) -> None:
    other = Store(f"sqlite:///{tmp_path / 'other.db'}", key)
    migrate(other)
    alone, together = _taken(other, together=False), _taken(store, together=True)
    assert together == alone
    assert {str(state) for state in alone} == {"ready", "done", "duplicate", "conflict"}
    assert _rows(store) == _rows(other)
    assert store.verify_audit().ok
    other.close()
