"""From instances that come one by one to a series read whole: revisions, policies, a person's word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from db import claims, conclusions, reports, series
from db.errors import Misconfigured
from db.jobs import Claimed, Conclusion
from db.records import Code, Diagnosis, FileState, Finding
from ingest import quarantine
from models.card import Needs
from tests import bench as benches
from tests.bench import Bench, card
from tests.builders import ROOT, dicom_bytes, write_tree

SERIES, STUDY = f"{ROOT}.100.7", f"{ROOT}.100"
START = datetime(2026, 1, 2, tzinfo=UTC)
SCAN = card("scan", "image", "MR").model_copy(
    update={"needs": Needs(kind="image", scope="series", modalities=("MR",))}
)
MadeBench = Callable[..., Bench]


@pytest.fixture
def scans(bench_of: MadeBench, monkeypatch: pytest.MonkeyPatch) -> MadeBench:
    """A bench with a model that reads whole MR series, its clock the store's as well."""
    monkeypatch.setattr(benches, "CARDS", (*benches.CARDS, SCAN))

    def make(**changes: object) -> Bench:
        found = bench_of(**changes)
        found.store.now = lambda: START + timedelta(seconds=found.now)
        return found

    return make


def slice_(number: int, **more: Any) -> bytes:
    """One slice of a sagittal series, 5 mm apart, whose file order is not its slice order."""
    place = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "ImagePositionPatient": [-5.0 * number, 0, 0]}
    return dicom_bytes(
        modality="MR", series_uid=SERIES, study_uid=STUDY, sop_uid=f"{SERIES}.{number}",
        **{"InstanceNumber": number, **place, **more},
    )  # fmt: skip


def drop(bench: Bench, *numbers: int, folder: str = "mr", **more: Any) -> None:
    write_tree(bench.inbox, {f"{folder}/{n}.dcm": slice_(n, **more) for n in numbers})
    bench.settle()


def rows(bench: Bench, query: str) -> list[tuple[Any, ...]]:
    with bench.store.read() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def state(bench: Bench) -> list[tuple[Any, ...]]:
    return rows(bench, "SELECT state, revision, instances FROM v_series")


def later(bench: Bench, seconds: float) -> None:
    bench.turn(seconds)
    bench.turn()


def read(bench: Bench, job_id: str, probability: float = 0.9) -> Claimed:
    """A worker's whole part: claim the hinted job, answer, commit."""
    (job,) = claims.claim(bench.store, job_id, worker="w", lease_seconds=60)
    code = Code(value="1", system="http://snomed.info/sct", meaning="thing")
    finding = Finding(code=code, positive=True, probability=probability, evidence={"place": 3})
    done = Conclusion(job=job, diagnosis=Diagnosis(findings=(finding,)), device="cpu")
    assert conclusions.conclude(bench.store, [done]) == [True]
    return job


def positions(bench: Bench, job_id: str) -> Sequence[int]:
    query = "SELECT e.uid FROM job_inputs i JOIN evidence e ON e.id = i.evidence_id WHERE i.job_id = '{}'"
    found = rows(bench, query.format(job_id) + " ORDER BY i.position")
    return [int(str(uid).rpartition(".")[2]) for (uid,) in found]


def test_a_series_is_read_once_it_is_quiet_in_one_job_in_slice_order(scans: MadeBench) -> None:
    bench = scans()
    drop(bench, 3, 1, 2)
    assert (bench.files(), bench.sent, state(bench)) == ({"ready": 3}, [], [("waiting", 0, 3)])
    later(bench, 11)
    assert (state(bench), len(bench.sent)) == ([("complete", 1, 3)], 1)
    # the normal of (0,1,0) x (0,0,-1) is (-1,0,0): x = -5, -10, -15 lie at 5, 10, 15 mm along it
    assert positions(bench, bench.sent[0]) == [1, 2, 3]


def test_a_film_is_read_at_once_while_its_series_still_waits(scans: MadeBench) -> None:
    bench = scans()
    write_tree(bench.inbox, {"film.dcm": dicom_bytes()})
    bench.settle()
    assert (len(bench.sent), state(bench)) == (1, [("waiting", 0, 1)])


def test_stated_counts_need_no_quiet_time(scans: MadeBench) -> None:
    bench = scans()
    drop(bench, 1, 2, NumberOfSeriesRelatedInstances=3)
    assert rows(bench, "SELECT reason FROM v_series") == [("count: 2 of 3 instances are here",)]
    drop(bench, 3, NumberOfSeriesRelatedInstances=3)
    assert (state(bench), len(bench.sent)) == ([("complete", 1, 3)], 1)


def test_a_series_with_a_gap_is_read_after_its_wait_and_each_finding_says_partial(scans: MadeBench) -> None:
    bench = scans()
    drop(bench, 1, 2, 5)
    later(bench, 600)
    assert (state(bench), bench.sent) == ([("waiting", 0, 3)], [])
    later(bench, 301)
    read(bench, bench.sent[0])
    with bench.store.read() as connection:
        (result,) = reports.results(connection)
    lack = "gap: 2 instance numbers lacking between 1 and 5"
    assert (result["partial"], result["evidence"]) == (True, {"place": 3, "partial": lack})
    assert (state(bench), bench.files()) == ([("partial", 1, 3)], {"done": 3})


def test_the_policy_partial_waits_for_quiet_alone(scans: MadeBench) -> None:
    bench = scans(completeness_policy="partial")
    drop(bench, 1, 2, 5)
    later(bench, 11)
    assert (state(bench), len(bench.sent)) == ([("partial", 1, 3)], 1)


def test_the_policy_quarantine_sets_the_series_aside_with_its_reason(scans: MadeBench) -> None:
    bench = scans(completeness_policy="quarantine")
    drop(bench, 1, 2, 5)
    later(bench, 901)
    assert (state(bench), bench.sent, bench.files()) == ([("quarantined", 0, 3)], [], {"quarantined": 3})
    ((file_id,), *_) = rows(bench, "SELECT file_id FROM v_files")
    reason = quarantine.reason(bench.settings.folder("quarantine"), file_id)
    assert (reason["code"], "2 instance numbers lacking" in str(reason["sentence"])) == (
        "series-incomplete", True,
    )  # fmt: skip


def test_what_lacked_takes_a_quarantined_series_out_of_quarantine(scans: MadeBench) -> None:
    bench = scans(completeness_policy="quarantine")
    drop(bench, 1, 2, 5)
    later(bench, 901)
    drop(bench, 3, 4)
    later(bench, 11)
    assert (state(bench), bench.files(), len(bench.sent)) == ([("complete", 1, 5)], {"ready": 5}, 1)
    assert not any(bench.settings.folder("quarantine").iterdir())


def test_a_released_file_takes_its_series_round_again(scans: MadeBench) -> None:
    bench = scans(completeness_policy="quarantine")
    drop(bench, 1, 2, 5)
    later(bench, 901)
    with bench.store.read() as connection:
        held = reports.files(connection, FileState.QUARANTINED)
    quarantine.release(bench.store, bench.settings.folder("quarantine"), bench.inbox, str(held[0]["file_id"]))
    assert (bench.files(), state(bench)) == ({"ready": 3}, [("waiting", 0, 3)])


def test_a_person_s_word_ends_the_wait(scans: MadeBench) -> None:
    bench = scans()
    drop(bench, 1, 2, 5)
    assert [what for what, _ in series.force(bench.store, STUDY)] == ["study", "series"]
    bench.turn()
    bench.turn()
    assert (len(bench.sent), rows(bench, "SELECT state, reason FROM v_series")) == (
        1, [("complete", "forced: a person called it complete")],
    )  # fmt: skip
    assert series.force(bench.store, SERIES) == []
    assert rows(bench, "SELECT partial FROM v_results") == []


def test_a_late_instance_makes_a_revision_that_supersedes_and_never_overwrites(scans: MadeBench) -> None:
    bench = scans()
    drop(bench, 1, 2, 3)
    later(bench, 11)
    first = read(bench, bench.sent[0], probability=0.7)
    drop(bench, 4)
    assert state(bench) == [("waiting", 1, 4)]
    later(bench, 11)
    second = read(bench, bench.sent[1], probability=0.8)
    found = rows(
        bench, "SELECT job_id, status, probability, supersedes, series_revision FROM v_results "
        "ORDER BY series_revision",
    )  # fmt: skip
    assert found == [
        (first.id, "superseded", 0.7, None, 1),
        (second.id, "preliminary", 0.8, first.id, 2),
    ]
    links = rows(bench, "SELECT number, instances, supersedes IS NULL FROM series_revisions ORDER BY number")
    assert [tuple(map(int, link)) for link in links] == [(1, 3, 1), (2, 4, 0)]
    assert bench.store.verify_audit().ok


def test_an_earlier_revision_that_concludes_late_is_born_superseded(scans: MadeBench) -> None:
    bench = scans()
    drop(bench, 1, 2, 3)
    later(bench, 11)
    drop(bench, 4)
    later(bench, 11)
    for job_id in reversed(list(dict.fromkeys(bench.sent))):  # a lost hint is sent again
        read(bench, job_id)
    found = rows(bench, "SELECT series_revision, status FROM v_results ORDER BY series_revision")
    assert found == [(1, "superseded"), (2, "preliminary")]


def test_a_duplicate_of_an_instance_makes_no_revision(scans: MadeBench) -> None:
    bench = scans()
    drop(bench, 1, 2, 3)
    later(bench, 11)
    drop(bench, 2, folder="again")
    later(bench, 11)
    assert (state(bench), len(set(bench.sent)), bench.files()) == (
        [("complete", 1, 3)], 1, {"ready": 3, "duplicate": 1},
    )  # fmt: skip


def test_deciding_twice_owes_one_job(scans: MadeBench) -> None:
    bench = scans()
    other = bench.again()
    drop(bench, 1, 2, 3)
    bench.now += 11
    for ingest in (bench.ingest, other, bench.ingest, other):
        ingest.assembly.look()
    assert rows(bench, "SELECT count(*) FROM jobs") == [(1,)]


def test_every_decision_stands_in_the_case_with_its_reason(scans: MadeBench) -> None:
    bench = scans()
    drop(bench, 1, 2, 5)
    later(bench, 11)
    later(bench, 901)
    ((case_id,),) = rows(bench, "SELECT case_id FROM v_cases")
    with bench.store.read() as connection:
        case = reports.case_report(connection, str(case_id))
    assert case is not None
    assert [s["reason"] for s in case["series"]] == ["gap: 2 instance numbers lacking between 1 and 5"]
    assert [s["state"] for s in case["studies"]] == ["partial"]
    steps = [(t["action"], t["detail"].get("reason", "").partition(":")[0]) for t in case["timeline"]]
    assert [s for s in steps if s[0].startswith("series")] == [
        ("series:waiting", "gap"), ("series:partial", "gap"), ("series:revised", ""),
    ]  # fmt: skip


def test_a_study_lacks_the_series_it_must_have(scans: MadeBench) -> None:
    bench = scans(required_series="MR/coronal")
    drop(bench, 1, 2, 3)
    later(bench, 11)
    later(bench, 61)
    assert rows(bench, "SELECT state, reason FROM v_studies") == [
        ("waiting", "required-series: lacking MR/coronal/1")
    ]
    later(bench, 900)
    assert rows(bench, "SELECT state FROM v_studies") == [("partial",)]


def test_a_study_is_whole_when_its_series_are_and_it_is_quiet(scans: MadeBench) -> None:
    bench = scans()
    drop(bench, 1, 2, 3)
    later(bench, 11)
    assert rows(bench, "SELECT state FROM v_studies") == [("waiting",)]
    for _ in range(3):
        later(bench, 30)
    assert rows(bench, "SELECT state, reason FROM v_studies") == [
        ("complete", "quiet: no gap, and nothing came for 60 s")
    ]


def test_a_required_series_that_is_none_stops_ingest_with_its_name(scans: MadeBench) -> None:
    with pytest.raises(Misconfigured, match="axial"):
        scans(required_series="MR/axial")
