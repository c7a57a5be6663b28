"""Reports: the promised keys, numbers that add up, the same answers from both databases."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from db import claims, conclusions, inputs, jobs, ledger, reports
from db.jobs import Conclusion, Owed
from db.ledger import Sighting
from db.records import ICD10CM, Code, Diagnosis, Evidence, FileState, Finding, Identity, JobState, Kind
from db.store import Store

START = datetime(2024, 3, 1, 12, tzinfo=UTC)
PROMISED = {
    "result_id", "case_id", "kind", "model", "model_version", "weights_sha256", "finding", "probability",
    "threshold", "positive", "value", "unit", "abstained", "reason", "evidence", "device", "created_at",
    "status", "study_uid", "note_id", "input_digest",
}  # fmt: skip
FEVER = Finding(
    code=Code(value="R50.9", system=ICD10CM, meaning="Fever, unspecified"), positive=True, probability=0.75,
    threshold=0.5, evidence={"start": 3, "end": 8},
)  # fmt: skip


def read(store: Store, number: int, diagnosis: Diagnosis, kind: Kind = Kind.NOTE) -> str:
    """One input read at hour `number`; its job's id."""
    store.now = lambda: START + timedelta(hours=number)
    with store.write() as writer:
        name = f"{number}.txt"
        file_id = ledger.see(writer, [Sighting(name=name, suffix=".txt", bytes=1)])[name]
        owed = Owed(model=f"m{number % 2}", version="1", weights_sha256="a")
        evidence = Evidence(kind=kind, case_key="E", identity=Identity(number="7"))
        inputs.accept(writer, file_id, evidence, digest=f"{number:064d}", size=1, owed=[owed])
    ((job_id, _),) = jobs.take_owed(store)
    (job,) = claims.claim(store, job_id, worker="w", lease_seconds=60)
    conclusions.conclude(
        store, [Conclusion(job=job, diagnosis=diagnosis, device="cpu", seconds={"forward": 0.5})]
    )
    return job_id


@pytest.fixture
def full(store: Store) -> Store:
    """Three inputs read an hour apart: a finding, an abstention, a finding."""
    read(store, 1, Diagnosis(findings=(FEVER,)))
    read(store, 2, Diagnosis.abstain("not-english", "x"))
    read(store, 3, Diagnosis(findings=(FEVER, FEVER)))
    return store


def results(store: Store, **wanted: object) -> list[dict[str, object]]:
    with store.read() as connection:
        return reports.results(connection, **wanted)  # type: ignore[arg-type]


def test_a_result_has_every_promised_key(full: Store) -> None:
    assert all(set(row) >= PROMISED for row in results(full))


def test_a_result_is_typed_and_json_able(full: Store) -> None:
    row = results(full)[-1]
    assert (row["finding"], row["probability"], row["positive"], row["abstained"], row["evidence"]) == (
        {"code": "R50.9", "system": ICD10CM, "meaning": "Fever, unspecified"}, 0.75, True, False,
        {"start": 3, "end": 8},
    )  # fmt: skip
    assert json.loads(json.dumps(row)) == row


def test_times_are_utc_with_their_zone(full: Store) -> None:
    assert results(full)[-1]["created_at"] == "2024-03-01T13:00:00.000Z"


def test_results_come_newest_first(full: Store) -> None:
    times = [str(row["created_at"]) for row in results(full)]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    ("since", "count"),
    [(START, 4), (START + timedelta(hours=2), 3), (START + timedelta(hours=2, microseconds=1), 2),
     (START + timedelta(hours=3), 2), (START + timedelta(hours=4), 0),
     (datetime(2024, 3, 1, 16, tzinfo=timezone(timedelta(hours=2))), 3)],
)  # fmt: skip
def test_since_keeps_what_is_at_or_after_it_in_any_zone(full: Store, since: datetime, count: int) -> None:
    assert len(results(full, since=since)) == count


@pytest.mark.parametrize(
    ("wanted", "count"),
    [({"model": "m1"}, 3), ({"model": "m0"}, 1), ({"code": "R50.9"}, 3), ({"code": "x"}, 0),
     ({"case_id": "x"}, 0), ({"limit": 2}, 2), ({"model": "' OR '1'='1"}, 0)],
)  # fmt: skip
def test_results_are_narrowed(full: Store, wanted: dict[str, object], count: int) -> None:
    assert len(results(full, **wanted)) == count


def test_states_are_all_there_and_add_up(full: Store) -> None:
    with full.read() as connection:
        files, by_state = reports.file_counts(connection), reports.jobs_by_state(connection)
    assert (set(files), sum(files.values())) == ({s.value for s in FileState}, 3)
    assert (set(by_state), by_state["done"], by_state["abstained"]) == ({s.value for s in JobState}, 2, 1)


def test_outcomes_and_abstentions_are_counted(full: Store) -> None:
    with full.read() as connection:
        assert sorted(reports.result_counts(connection)) == [("m0", "abstained", 1), ("m1", "positive", 3)]
        assert reports.abstention_counts(connection) == {("m0", "not-english"): 1}


def test_a_measurement_is_counted_as_neither_positive_nor_negative(store: Store) -> None:
    volume = Finding(code=FEVER.code, positive=None, value=2070.0, unit="mm3")
    read(store, 1, Diagnosis(findings=(volume, FEVER)))
    with store.read() as connection:
        counts = reports.result_counts(connection)
        cases = connection.execute(text("SELECT positive_findings FROM v_cases")).scalars().all()
    assert sorted(counts) == [("m1", "measured", 1), ("m1", "positive", 1)]
    assert cases == [1]


def test_measurements_of_earlier_releases_become_neither_positive_nor_negative(store: Store) -> None:
    read(store, 1, Diagnosis(findings=(FEVER, Finding(code=FEVER.code, positive=True, value=2070.0))))
    with store.write() as writer, Operations.context(MigrationContext.configure(writer.connection)):
        importlib.import_module("db.migrations.versions.0005_measurements").upgrade()
    assert {row["value"]: row["positive"] for row in results(store)} == {None: True, 2070.0: None}


def test_the_oldest_pending_is_as_old_as_the_first_that_waits(store: Store) -> None:
    def oldest(connection: Connection, hours: int) -> float:
        return reports.oldest_pending(connection, START + timedelta(hours=hours))

    store.now = lambda: START
    with store.write() as writer:
        ledger.see(writer, [Sighting(name="a", suffix="", bytes=1)])
    with store.read() as connection:
        assert oldest(connection, 2) == 7200.0


def test_nothing_pending_is_no_age(full: Store) -> None:
    with full.read() as connection:
        assert reports.oldest_pending(connection, START + timedelta(days=1)) == 0.0
        assert reports.last_success(connection) == START + timedelta(hours=3)


def test_a_case_tells_its_inputs_readings_results_and_steps_in_order(full: Store) -> None:
    case_id = str(results(full)[0]["case_id"])
    with full.read() as connection:
        found = reports.case_report(connection, case_id)
        assert reports.case_report(connection, "c-unknown") is None
    assert found is not None
    assert [len(found[k]) for k in ("inputs", "readings", "results", "reviews")] == [3, 3, 4, 0]
    seconds = [step["seconds"] for step in found["timeline"]]
    assert (seconds[0], seconds[-1], seconds == sorted(seconds)) == (0.0, 7200.0, True)
    assert json.loads(json.dumps(found)) == found


def test_audit_entries_are_paged_from_the_first_to_the_last(full: Store) -> None:
    seen: list[int] = []
    with full.read() as connection:
        while part := reports.audit_entries(connection, after=seen[-1] if seen else 0, limit=4):
            seen += [int(e["seq"]) for e in part]
        assert seen == list(range(1, reports.audit_length(connection) + 1))


def test_without_a_beginning_the_newest_audit_entries_come_in_order(full: Store) -> None:
    with full.read() as connection:
        last = reports.audit_length(connection)
        found = [e["seq"] for e in reports.audit_entries(connection, limit=2)]
    assert found == [last - 1, last]
