"""From hint to committed result: each input has its own fate, whatever the model or its neighbours do."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, select, text

from db import claims, inputs, jobs, ledger, reports
from db.archive import Archive
from db.jobs import Owed
from db.ledger import Sighting
from db.records import Code, Diagnosis, Evidence, Finding, Kind
from db.settings import Settings
from db.store import Store
from db.tables import Job
from models import registry
from models.card import ModelCard, Needs, Weights
from models.payloads import Note, Payload
from tests.builders import dicom_bytes
from worker.diagnose import CLAIM_BATCHES, Diagnoser
from worker.runtime import Runtime

CARD = ModelCard(
    name="length", version="1", title="t", question="q", intended_use="u", limits=(), abstains=(), data=(),
    needs=Needs(kind="note", scope="note"), figures=(), weights=(Weights(file="w", sha256="a" * 64),),
    folder=Path("."),
)  # fmt: skip


class Length:
    """A model that tells how long a note is, and does as certain notes ask."""

    card = CARD
    device = "cpu"
    abreast = False

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        self.batches.append(len(payloads))
        self.meanwhile()
        return [self.one(payload) for payload in payloads]

    def one(self, payload: Payload) -> Diagnosis:
        assert isinstance(payload, Note)
        if payload.text.startswith("raise"):
            raise RuntimeError(payload.text)
        value = {"nan": math.nan, "inf": math.inf}.get(payload.text[:3], float(len(payload.text)))
        meaning = "m" * 300 if payload.text.startswith("wide") else "length"
        evidence = {"odd": object()} if payload.text.startswith("odd") else {}
        code = Code(value="L", system="s", meaning=meaning)
        finding = Finding(code=code, positive=value > 5, value=value, unit="1", evidence=evidence)
        return Diagnosis(findings=(finding,), artifacts={"picture": payload.text.encode()})


class Shouting(Length):
    """As Length, of what it prepared: the note in capitals."""

    def prepare(self, payload: Payload) -> Note:
        assert isinstance(payload, Note)
        return replace(payload, text=payload.text.upper())

    def examine_prepared(self, prepared: Sequence[Note]) -> list[Diagnosis]:
        assert all(note.text.isupper() for note in prepared)
        return self.examine(prepared)


class Bench:
    """A worker's parts on a store, with a clock."""

    def __init__(self, store: Store, archive: Archive, settings: Settings) -> None:
        self.store, self.archive = store, archive
        self.time = datetime(2024, 3, 1, tzinfo=UTC)
        store.now = lambda: self.time
        self.model = Length()
        self.runtime = Runtime("cpu")
        self.runtime.models["length"] = self.model
        self.diagnoser = Diagnoser(settings, store, archive, self.runtime, "worker-1")

    def owe(self, data: bytes, kind: Kind = Kind.NOTE, owed: Owed | None = None) -> str:
        """An archived input with a job hinted for it."""
        wanted = owed or Owed(model="length", version="1", weights_sha256="a" * 64)
        digest = self.archive.put_bytes(data)
        with self.store.write() as writer:
            file_id = ledger.see(writer, [Sighting(name=digest, suffix="", bytes=1)])[digest]
            evidence = Evidence(kind=kind)
            inputs.accept(writer, file_id, evidence, digest=digest, size=1, owed=[wanted])
        return jobs.take_owed(self.store)[0][0]

    def row(self, job_id: str) -> tuple[str, int, str | None]:
        """A job's state, attempts and error."""
        with self.store.read() as connection:
            query = text("SELECT state, attempts, error FROM jobs WHERE id = :i")
            found = connection.execute(query, {"i": job_id}).one()
        return found.state, found.attempts, found.error

    def results(self) -> list[dict[str, object]]:
        with self.store.read() as connection:
            return reports.results(connection)


@pytest.fixture
def bench(store: Store, archive: Archive, settings: Settings) -> Bench:
    """A worker on each database in turn."""
    return Bench(store, archive, settings)


def test_a_hint_becomes_a_committed_result(bench: Bench) -> None:
    job = bench.owe(b"cough and fever")
    assert bench.diagnoser.diagnose(job) == 1
    (row,) = bench.results()
    assert (row["value"], row["positive"], row["device"], row["status"]) == (15.0, True, "cpu", "preliminary")
    assert bench.row(job) == ("done", 1, None)


def test_each_result_names_the_back_end_that_computed_it(bench: Bench) -> None:
    bench.diagnoser.diagnose(bench.owe(b"cough"))
    bench.model.backend = "torch-bf16"  # type: ignore[attr-defined]
    bench.diagnoser.diagnose(bench.owe(b"fever since"))
    assert {row["value"]: row["backend"] for row in bench.results()} == {5.0: None, 11.0: "torch-bf16"}


def test_an_artifact_is_archived_and_named(bench: Bench) -> None:
    job = bench.owe(b"cough")
    bench.diagnoser.diagnose(job)
    with bench.store.read() as connection:
        found = reports.artifacts(connection, job)
    assert bench.archive.get(found["picture"]) == b"cough"


def test_a_late_hint_is_one_look_and_no_write(bench: Bench) -> None:
    job = bench.owe(b"cough")
    bench.diagnoser.diagnose(job)
    statements: list[str] = []
    event.listen(bench.store.engine, "before_cursor_execute", lambda *a: statements.append(a[2]), named=False)
    assert bench.diagnoser.diagnose(job) == 0
    assert [s.split()[0] for s in statements] in (["SELECT"], ["BEGIN", "SELECT"])


def test_the_hint_of_a_job_read_as_a_neighbour_costs_no_look(bench: Bench) -> None:
    hints = [bench.owe(f"note {n}".encode()) for n in range(2)]
    bench.diagnoser.diagnose(hints[0])
    statements: list[str] = []
    event.listen(bench.store.engine, "before_cursor_execute", lambda *a: statements.append(a[2]), named=False)
    assert (bench.diagnoser.diagnose(hints[1]), statements) == (0, [])


def test_a_neighbour_that_is_owed_again_is_read_at_its_next_hint(bench: Bench) -> None:
    hints = [bench.owe(f"note {n}".encode()) for n in range(2)]
    bench.diagnoser.diagnose(hints[0])
    bench.diagnoser.diagnose(hints[1])  # its late hint
    with bench.store.write() as writer:
        writer.connection.execute(text("UPDATE jobs SET state = 'queued' WHERE id = :i"), {"i": hints[1]})
        writer.connection.execute(text("DELETE FROM results WHERE job_id = :i"), {"i": hints[1]})
        writer.connection.execute(text("DELETE FROM artifacts WHERE job_id = :i"), {"i": hints[1]})
    assert bench.diagnoser.diagnose(hints[1]) == 1


def test_a_neighbour_that_failed_for_the_worlds_sake_is_not_taken_for_read(bench: Bench) -> None:
    first, second = bench.owe(b"cough"), bench.owe(b"fever")
    bench.archive.path(hashlib.sha256(b"fever").hexdigest()).unlink()
    bench.diagnoser.diagnose(first)
    bench.archive.put_bytes(b"fever")
    bench.time += timedelta(seconds=120)  # its retry is due
    assert (bench.row(second)[0], bench.diagnoser.diagnose(second)) == ("owed", 1)


def test_of_a_fast_model_several_batches_are_claimed_and_each_is_one_forward(bench: Bench) -> None:
    size = bench.diagnoser.settings.batch_size
    bench.diagnoser._pace["length"] = 0.001
    hints = [bench.owe(f"note {n}".encode()) for n in range(2 * size + 1)]
    assert bench.diagnoser.diagnose(hints[0]) == 2 * size + 1
    assert bench.model.batches == [size, size, 1]
    assert {bench.row(hint)[0] for hint in hints} == {"done"}


def test_of_a_fast_model_more_are_taken_in_hand_until_none_wait(bench: Bench) -> None:
    size = bench.diagnoser.settings.batch_size
    bench.diagnoser._pace["length"] = 0.001
    hints = [bench.owe(f"note {n}".encode()) for n in range(CLAIM_BATCHES * size + 3)]
    assert bench.diagnoser.diagnose(hints[0]) == len(hints)
    assert (bench.diagnoser.held, bench.diagnoser.busy_since) == (set(), None)


def test_a_worker_that_is_stopped_takes_no_more_in_hand(bench: Bench) -> None:
    size = bench.diagnoser.settings.batch_size
    bench.diagnoser._pace["length"] = 0.001
    hints = [bench.owe(f"note {n}".encode()) for n in range(CLAIM_BATCHES * size + 3)]
    bench.model.meanwhile = bench.diagnoser.stop
    assert bench.diagnoser.diagnose(hints[0]) == CLAIM_BATCHES * size


def test_more_are_taken_in_hand_only_as_long_as_a_stuck_job_would_be_told_from_them(bench: Bench) -> None:
    size = bench.diagnoser.settings.batch_size
    bench.diagnoser.settings = bench.diagnoser.settings.model_copy(update={"job_seconds_max": 0.0})
    bench.diagnoser._pace["length"] = 0.001
    hints = [bench.owe(f"note {n}".encode()) for n in range(CLAIM_BATCHES * size + 3)]
    assert bench.diagnoser.diagnose(hints[0]) == CLAIM_BATCHES * size


def test_a_lease_is_let_go_when_its_job_is_concluded_and_not_with_the_last(bench: Bench) -> None:
    size = bench.diagnoser.settings.batch_size
    bench.diagnoser._pace["length"] = 0.001
    held: list[int] = []
    bench.model.meanwhile = lambda: held.append(len(bench.diagnoser.held))
    hints = [bench.owe(f"note {n}".encode()) for n in range(CLAIM_BATCHES * size)]
    bench.diagnoser.diagnose(hints[0])
    assert held[0] == len(hints) > held[-1]


def test_a_worker_that_gets_on_is_not_stuck_however_much_it_has_in_hand(bench: Bench) -> None:
    size = bench.diagnoser.settings.batch_size
    bench.diagnoser._pace["length"] = 0.001
    since: list[float | None] = []
    bench.model.meanwhile = lambda: since.append(bench.diagnoser.busy_since)
    hints = [bench.owe(f"note {n}".encode()) for n in range(CLAIM_BATCHES * size)]
    bench.diagnoser.diagnose(hints[0])
    assert since[0] is not None
    assert since[-1] is not None
    assert since[-1] > since[0]


def test_a_model_that_says_so_computes_parts_side_by_side(
    bench: Bench, torch_threads: Callable[[int], None]
) -> None:
    torch_threads(2)
    bench.model.abreast = True
    together = threading.Barrier(2)
    bench.model.meanwhile = lambda: together.wait(60)
    hints = [bench.owe(f"note {n}".encode()) for n in range(5)]
    assert bench.diagnoser.diagnose(hints[0]) == 5
    assert sorted(bench.model.batches) == [2, 3]
    assert {bench.row(hint)[0] for hint in hints} == {"done"}


def test_inputs_are_decoded_beside_each_other_and_stay_in_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, get = threading.Barrier(2), bench.archive.get
    monkeypatch.setattr(bench.diagnoser.stages, "decoders", 2)
    monkeypatch.setattr(bench.archive, "get", lambda digest: (together.wait(60), get(digest))[1])
    hints = [bench.owe(b"x" * n) for n in range(1, 5)]
    assert bench.diagnoser.diagnose(hints[0]) == 4
    with bench.store.read() as connection:
        values = connection.execute(text("SELECT job_id, value FROM results"))
        assert dict(tuple(row) for row in values) == dict(zip(hints, [1, 2, 3, 4], strict=True))


def test_of_a_slow_model_one_batch_is_claimed(bench: Bench) -> None:
    bench.diagnoser._pace["length"] = 3.0
    hints = [bench.owe(f"note {n}".encode()) for n in range(bench.diagnoser.settings.batch_size + 1)]
    assert bench.diagnoser.diagnose(hints[0]) == len(hints) - 1


def test_a_model_that_prepares_is_given_what_it_prepared_and_the_stage_is_timed(bench: Bench) -> None:
    bench.runtime.models["length"] = Shouting()
    job = bench.owe(b"cough")
    assert bench.diagnoser.diagnose(job) == 1
    assert bench.results()[0]["value"] == 5
    with bench.store.read() as connection:
        seconds = connection.scalar(select(Job.seconds).where(Job.id == job))
    assert seconds is not None
    assert list(seconds) == ["fetch", "decode", "prepare", "forward"]


def test_waiting_neighbours_are_read_in_one_forward(bench: Bench) -> None:
    hints = [bench.owe(f"note {n}".encode()) for n in range(3)]
    assert bench.diagnoser.diagnose(hints[2]) == 3
    assert bench.model.batches == [3]


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_a_batch_too_large_for_the_memory_is_halved_until_it_fits(
    bench: Bench, error: type[Exception]
) -> None:
    def small() -> None:
        if bench.model.batches[-1] > 2:
            raise error("CUDA error: out of memory")

    bench.model.meanwhile = small
    hints = [bench.owe(f"note {n}".encode()) for n in range(5)]
    assert bench.diagnoser.diagnose(hints[0]) == 5
    assert bench.model.batches == [5, 3, 2, 1, 2]
    assert [bench.row(hint)[:2] for hint in hints] == [("done", 1)] * 5
    assert sorted(row["value"] for row in bench.results()) == [6.0] * 5  # type: ignore[type-var]


@pytest.mark.parametrize("bad", [b"raise: Canary^Clara", b"nan", b"infinite", b"odd evidence"])
def test_one_bad_input_fails_alone(bench: Bench, bad: bytes) -> None:
    good, evil, also = bench.owe(b"cough"), bench.owe(bad), bench.owe(b"fever")
    bench.diagnoser.diagnose(good)
    assert (bench.row(good)[0], bench.row(evil)[0], bench.row(also)[0]) == ("done", "failed", "done")


def test_an_answer_that_no_row_can_hold_fails_alone(bench: Bench) -> None:
    good, evil = bench.owe(b"cough"), bench.owe(b"wide meaning")
    bench.diagnoser.diagnose(good)
    strict = bench.store.engine.dialect.name == "postgresql"  # SQLite holds texts of any length
    assert (bench.row(good)[0], bench.row(evil)[0]) == ("done", "failed" if strict else "done")


@pytest.mark.parametrize("bad", [b"raise: Canary^Clara", b"nan"])
def test_a_failing_reading_fails_at_once_for_no_retry_mends_our_own_fault(bench: Bench, bad: bytes) -> None:
    job = bench.owe(bad)
    bench.diagnoser.diagnose(job)
    assert bench.row(job)[:2] == ("failed", 1)
    assert bench.results() == []


def test_a_failure_is_recorded_by_kind_and_place_without_its_message(bench: Bench) -> None:
    job = bench.owe(b"raise: Canary^Clara")
    bench.diagnoser.diagnose(job)
    error = str(bench.row(job)[2])
    assert error.startswith("forward: RuntimeError at tests/worker/test_diagnose.py:")
    assert "Canary" not in error


@pytest.mark.parametrize(
    "owed",
    [
        Owed(model="length", version="2", weights_sha256="a" * 64),
        Owed(model="absent", version="1", weights_sha256="a" * 64),
    ],
    ids=["version", "model"],
)
def test_a_job_for_what_this_worker_does_not_hold_fails_visibly(bench: Bench, owed: Owed) -> None:
    job = bench.owe(b"cough", owed=owed)
    bench.diagnoser.diagnose(job)
    state, _, error = bench.row(job)
    assert state == "failed"
    assert "Misconfigured" in str(error)
    assert bench.model.batches == []


def test_a_job_for_other_weights_of_a_held_model_is_left_to_who_holds_them(bench: Bench) -> None:
    job = bench.owe(b"cough", owed=Owed(model="length", version="1", weights_sha256="b" * 64))
    assert bench.diagnoser.diagnose(job) == 0
    assert bench.row(job)[0] == "queued"


def test_pixels_that_cannot_be_decoded_become_an_abstention(bench: Bench) -> None:
    job = bench.owe(dicom_bytes(rows=64, columns=64)[:-50], Kind.IMAGE)
    bench.diagnoser.diagnose(job)
    (row,) = bench.results()
    assert (row["abstained"], str(row["reason"]).partition(":")[0]) == (True, "truncated")
    assert bench.row(job)[0] == "abstained"


def test_a_missing_payload_is_tried_again(bench: Bench) -> None:
    job = bench.owe(b"cough")
    next(p for p in bench.archive.folder.rglob("*") if p.is_file()).unlink()
    bench.diagnoser.diagnose(job)
    assert bench.row(job)[0] == "owed"


def test_a_lost_lease_writes_nothing(bench: Bench) -> None:
    job = bench.owe(b"cough")

    def another_takes_it() -> None:
        bench.time += timedelta(seconds=61)
        jobs.reap(bench.store, 3)
        claims.claim(bench.store, job, worker="other", lease_seconds=60)

    bench.model.meanwhile = another_takes_it
    bench.diagnoser.diagnose(job)
    assert (bench.results(), bench.row(job)[0]) == ([], "running")


def test_leases_are_held_while_reading_and_let_go_after(bench: Bench) -> None:
    job = bench.owe(b"cough")
    held: list[int] = []
    bench.model.meanwhile = lambda: held.append(len(bench.diagnoser.held))
    bench.diagnoser.diagnose(job)
    assert (held, bench.diagnoser.held) == ([1], set())


def test_a_model_that_answers_too_little_fails(bench: Bench) -> None:
    job = bench.owe(b"cough")
    bench.model.examine = lambda payloads: []  # type: ignore[method-assign]
    bench.diagnoser.diagnose(job)
    assert bench.row(job)[0] == "failed"


def test_the_same_hint_twice_is_one_result(bench: Bench) -> None:
    job = bench.owe(b"cough")
    bench.diagnoser.diagnose(job)
    bench.diagnoser.diagnose(job)
    assert len(bench.results()) == 1


def test_a_real_family_reads_a_note(sqlite_store: Store, archive: Archive, settings: Settings) -> None:
    bench = Bench(sqlite_store, archive, settings)
    card = registry.card("note-assertion")
    bench.runtime.load([card])
    owed = Owed(model=card.name, version=card.version, weights_sha256=card.weights_sha256)
    job = bench.owe(b"Known asthma. Denies fever.\n", owed=owed)
    bench.diagnoser.diagnose(job)
    answers = {r["finding"]["code"]: r["qualifier"] for r in bench.results()}  # type: ignore[index]
    assert answers["R50.9"] == "negated"  # ICD-10-CM: fever, unspecified
    assert "J45.909" in answers  # unspecified asthma, uncomplicated
    assert bench.row(job)[0] == "done"


@pytest.mark.parametrize("ahead", ["on", "off"])
def test_decoding_ahead_gives_the_same_results(bench: Bench, ahead: str) -> None:
    bench.diagnoser.settings = bench.diagnoser.settings.model_copy(update={"decode_ahead": ahead})
    hints = [bench.owe(f"note {n}".encode()) for n in range(5)]
    assert bench.diagnoser.diagnose(hints[0]) == 5
    assert [bench.row(hint)[0] for hint in hints] == ["done"] * 5
