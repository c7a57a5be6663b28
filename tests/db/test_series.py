"""Series, their revisions, studies, manifests and links on record, on both databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from db import claims, conclusions, inputs, jobs, ledger, manifests, revisions, series
from db.jobs import Conclusion, Owed
from db.ledger import Sighting
from db.records import Code, Diagnosis, Evidence, FileState, Finding, Identity, Kind, Whole
from db.series import Open
from db.store import Store
from db.tables import Series, Study

SCAN = Owed(model="scan", version="1", weights_sha256="s" * 64)
FINDING = Finding(code=Code(value="1", system="s", meaning="m"), positive=True, probability=0.5)


def take(store: Store, number: int, name: str = "", **more: Any) -> str:
    """One instance of the series, accepted; its file's id."""
    name = name or f"mr/{number}.dcm"
    evidence = Evidence(
        **{"kind": Kind.IMAGE, "uid": f"1.{number}", "case_key": "A", "identity": Identity(number="7"),
           "study_uid": "1.2", "series_uid": "1.2.3", "facts": {"instance_number": number}, **more}
    )  # fmt: skip
    with store.write() as writer:
        (file_id,) = ledger.see(writer, [Sighting(name=name, suffix=".dcm", bytes=1)]).values()
        inputs.accept(writer, file_id, evidence, digest=f"{number:064x}", size=1, owed=[], awaits_series=True)
    return file_id


def waiting(store: Store) -> Open:
    (found,) = series.due(store, Series)
    return found


def decide(store: Store, state: Whole = Whole.COMPLETE, reason: str = "quiet: so it is") -> Open:
    item = waiting(store)
    with store.write() as writer:
        assert series.decide(writer, Series, item, state, reason)
        revisions.revise(writer, item, item.instances, [SCAN])
    return item


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    with store.read() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def read(store: Store) -> str:
    ((job_id, _),) = jobs.take_owed(store)
    (job,) = claims.claim(store, job_id, worker="w", lease_seconds=60)
    assert conclusions.conclude(
        store, [Conclusion(job=job, diagnosis=Diagnosis(findings=(FINDING,)), device="cpu")]
    ) == [True]
    return job.id


def test_instances_count_into_their_series_and_study(store: Store) -> None:
    take(store, 1)
    take(store, 2)
    assert [i.facts["instance_number"] for i in sorted(waiting(store).instances, key=lambda i: i.digest)] == [
        1,
        2,
    ]
    assert rows(store, "SELECT instances, state FROM v_studies") == [(2, "waiting")]


def test_a_decision_is_void_once_another_instance_came(store: Store) -> None:
    take(store, 1)
    item = waiting(store)
    take(store, 2)
    with store.write() as writer:
        assert not series.decide(writer, Series, item, Whole.COMPLETE, "quiet: no")
    assert rows(store, "SELECT state FROM v_series") == [("waiting",)]


def test_a_decision_is_void_once_a_person_spoke(store: Store) -> None:
    take(store, 1)
    item = waiting(store)
    assert series.force(store, "1.2.3")
    with store.write() as writer:
        assert not series.decide(writer, Series, item, Whole.PARTIAL, "gap: no")
    assert waiting(store).forced


def test_a_late_instance_makes_a_revision_that_supersedes_in_one_commit(store: Store) -> None:
    take(store, 1)
    decide(store)
    first = read(store)
    take(store, 2)
    decide(store, Whole.PARTIAL, "gap: one")
    assert rows(store, "SELECT status FROM v_results") == [("preliminary",)]
    read(store)
    found = rows(
        store, "SELECT status, partial, supersedes, series_revision FROM v_results ORDER BY series_revision"
    )
    assert [(s, bool(p), o, n) for s, p, o, n in found] == [
        ("superseded", False, None, 1), ("preliminary", True, first, 2),
    ]  # fmt: skip
    assert rows(store, "SELECT state FROM v_files") == [("done",), ("done",)]
    assert store.verify_audit().ok


def test_the_same_instances_again_make_no_revision(store: Store) -> None:
    take(store, 1)
    decide(store, Whole.PARTIAL, "gap: one")
    series.force(store, "1.2")
    decide(store)
    assert rows(store, "SELECT count(*) FROM series_revisions") == [(1,)]
    assert rows(store, "SELECT count(*) FROM jobs") == [(1,)]


def test_a_series_set_aside_comes_back_with_its_files(store: Store) -> None:
    file_id = take(store, 1)
    item = waiting(store)
    with store.write() as writer:
        series.decide(writer, Series, item, Whole.QUARANTINED, "gap: one")
        assert [f for f, _ in revisions.set_aside(writer, item, "its series is not whole")] == [file_id]
    assert rows(store, "SELECT state, reason FROM v_files") == [("quarantined", revisions.INCOMPLETE)]
    assert revisions.release(store, file_id) == [file_id]
    assert rows(store, "SELECT state, reason FROM v_files") == [("ready", None)]
    assert revisions.release(store, file_id) == []


def test_a_folder_declared_done_wakes_its_series_and_study_alone(store: Store) -> None:
    take(store, 1)
    take(store, 2, "other/2.dcm", series_uid="1.2.4", study_uid="1.9")
    with store.write() as writer:
        series.declare(writer, [ledger.folder_key(store.keys, "mr/")])
    assert {(i.study_uid, i.declared) for i in series.due(store, Series)} == {("1.2", True), ("1.9", False)}
    assert {(i.study_uid, i.declared) for i in series.due(store, Study)} == {("1.2", True), ("1.9", False)}


def promised(store: Store, names: dict[str, str | None], count: int = 0) -> tuple[int, int, int] | None:
    with store.write() as writer:
        (file_id,) = ledger.see(writer, [Sighting(name="mr/manifest.json", suffix=".json", bytes=1)]).values()
        keys = {ledger.path_key(store.keys, name): digest for name, digest in names.items()}
        manifests.add(writer, file_id, ledger.folder_key(store.keys, "mr/"), count, keys)
        ledger.conclude(writer, file_id, FileState.IGNORED, reason="manifest")
    found = waiting(store).promise
    return None if found is None else (found.expected, found.missing, found.differing)


def test_a_manifest_is_held_against_what_has_come(store: Store) -> None:
    take(store, 1)
    assert promised(store, {"mr/1.dcm": None, "mr/2.dcm": None}) == (2, 1, 0)
    assert promised(store, {"mr/1.dcm": "f" * 64}) == (1, 0, 1)
    assert promised(store, {"mr/1.dcm": f"{1:064x}"}) == (1, 0, 0)
    assert promised(store, {}, count=3) == (3, 2, 0)


def test_a_manifest_of_other_files_promises_nothing_of_this_series(store: Store) -> None:
    take(store, 1, "elsewhere/1.dcm")
    assert promised(store, {"mr/9.dcm": None}) is None


def test_the_same_words_of_one_patient_owe_the_first_reading_alone(store: Store) -> None:
    common = {"kind": Kind.NOTE, "uid": "", "study_uid": "", "series_uid": "", "content": "c" * 64}
    for number in (1, 2):
        take(store, number, **common)
    assert rows(store, "SELECT relation FROM evidence_links") == [("same_text_as",)]
    assert sorted(rows(store, "SELECT state FROM v_files")) == [("done",), ("ready",)]


def test_an_archive_s_files_keep_their_ids_and_their_parent(store: Store) -> None:
    entry = Sighting(name="cd/a", suffix="", bytes=1, file_id="a" * 20, parent_id="p" * 20, key="p!/a")
    with store.write() as writer:
        assert ledger.see(writer, [entry]) == {"cd/a": "a" * 20}
        assert ledger.see(writer, [entry]) == {"cd/a": "a" * 20}
    assert rows(store, "SELECT parent_id FROM v_files") == [("p" * 20,)]
    with store.read() as connection:
        assert [f.parent_id for f in ledger.open_files(connection, store.keys)] == ["p" * 20]
