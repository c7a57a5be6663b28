"""Whatever order workers, the reaper and people act in: one state a job, at most one conclusion."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from sqlalchemy import text

from db import claims, conclusions, inputs, jobs, ledger, reports
from db.jobs import Claimed, Conclusion, Owed
from db.keys import Keys
from db.ledger import Sighting
from db.records import Code, Diagnosis, Evidence, FileState, Finding, Kind
from db.store import Store, migrate

KEY = Keys(bytes(32))
LEASE, ATTEMPTS = 60.0, 3
MODELS = tuple(Owed(model=m, version="1", weights_sha256=m * 64) for m in "ab")
ANSWERS = (
    Diagnosis(findings=(Finding(code=Code(value="1", system="s", meaning="m"), positive=True),) * 2),
    Diagnosis.abstain("unsure", "x"),
)


@cache
def template() -> Path:
    """A migrated, empty database to copy: migrating for every run would take most of the time."""
    path = Path(tempfile.mkdtemp()) / "template.db"
    store = Store(f"sqlite:///{path}", KEY)
    migrate(store)
    store.close()
    return path


class Jobs(RuleBasedStateMachine):
    """A model of the jobs table beside the real one."""

    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "store.db"
        shutil.copy(template(), path)
        self.time = datetime(2024, 1, 1, tzinfo=UTC)
        self.store = Store(f"sqlite:///{path}", KEY, now=lambda: self.time)
        self.files = 0
        self.state: dict[str, str] = {}
        self.holder: dict[str, tuple[str, datetime]] = {}  # job -> its live token, its lease's end
        self.attempts: dict[str, int] = {}
        self.waits: dict[str, datetime] = {}
        self.concluded: dict[str, Diagnosis] = {}

    @rule(owed=st.sampled_from([MODELS[:1], MODELS]))
    def accept(self, owed: tuple[Owed, ...]) -> None:
        self.files += 1
        with self.store.write() as writer:
            name = f"{self.files}.dcm"
            file_id = ledger.see(writer, [Sighting(name=name, suffix=".dcm", bytes=1)])[name]
            evidence = Evidence(kind=Kind.IMAGE, uid=f"1.{self.files}", study_uid="1", case_key="A")
            inputs.accept(writer, file_id, evidence, digest=f"{self.files:064d}", size=1, owed=owed)
        for job_id in self.real() - set(self.state):
            self.state[job_id], self.attempts[job_id] = "owed", 0

    def real(self) -> set[str]:
        with self.store.read() as connection:
            return set(connection.scalars(text("SELECT id FROM jobs")))

    @rule()
    def relay(self) -> None:
        due = {j for j, s in self.state.items() if s == "owed" and self.waits.get(j, self.time) <= self.time}
        assert {job_id for job_id, _ in jobs.take_owed(self.store)} == due
        self.state |= dict.fromkeys(due, "queued")

    @rule(data=st.data(), limit=st.integers(1, 3), target=claims)
    def claim(self, data: st.DataObject, limit: int) -> tuple[Claimed, ...]:
        if not self.state:
            return ()
        job_id = data.draw(st.sampled_from(sorted(self.state)))
        free = self.state[job_id] in ("owed", "queued")
        claimed = claims.claim(self.store, job_id, worker="w", lease_seconds=LEASE, limit=limit)
        assert bool(claimed) == free
        assert len(claimed) <= limit
        for job in claimed:
            assert self.state[job.id] in ("owed", "queued")
            self.attempts[job.id] += 1
            assert job.attempts == self.attempts[job.id]
            self.state[job.id] = "running"
            self.holder[job.id] = (job.token, self.time + timedelta(seconds=LEASE))
            self.waits.pop(job.id, None)
        return tuple(claimed)

    def held(self, job: Claimed) -> bool:
        return self.holder.get(job.id, ("", self.time))[0] == job.token

    @rule(claimed=claims, answer=st.sampled_from(ANSWERS))  # not consumed: a worker may try twice
    def conclude(self, claimed: tuple[Claimed, ...], answer: Diagnosis) -> None:
        expected = [self.held(job) for job in claimed]
        done = [Conclusion(job=job, diagnosis=answer, device="cpu") for job in claimed]
        assert conclusions.conclude(self.store, done) == expected
        for job, won in zip(claimed, expected, strict=True):
            if won:
                assert job.id not in self.concluded
                self.concluded[job.id] = answer
                self.leave(job.id, "abstained" if answer.abstained else "done")

    def leave(self, job_id: str, state: str) -> None:
        del self.holder[job_id]
        self.state[job_id] = state

    @rule(claimed=consumes(claims), final=st.booleans(), delay=st.sampled_from([0.0, 30.0]))
    def give_back(self, claimed: tuple[Claimed, ...], final: bool, delay: float) -> None:
        for job in claimed:
            expected = None
            if self.held(job):
                failed = final or job.attempts >= ATTEMPTS
                expected = "failed" if failed else "owed"
                self.leave(job.id, expected)
                if not failed:
                    self.waits[job.id] = self.time + timedelta(seconds=delay)
            found = jobs.give_back(
                self.store, job, "x", final=final, max_attempts=ATTEMPTS, delay_seconds=delay
            )
            assert found == expected

    @rule(claimed=claims)
    def renew(self, claimed: tuple[Claimed, ...]) -> None:
        claims.renew(self.store, [job.token for job in claimed], LEASE)
        for job in claimed:
            if self.held(job):
                self.holder[job.id] = (job.token, self.time + timedelta(seconds=LEASE))

    @rule()
    def reap(self) -> None:
        ended = [job_id for job_id, (_, until) in self.holder.items() if until < self.time]
        assert jobs.reap(self.store, ATTEMPTS) == len(ended)
        for job_id in ended:
            self.leave(job_id, "failed" if self.attempts[job_id] >= ATTEMPTS else "owed")

    @rule()
    def requeue(self) -> None:
        failed = {job_id for job_id, state in self.state.items() if state == "failed"}
        assert set(jobs.requeue(self.store)) == failed
        self.state |= dict.fromkeys(failed, "owed")
        self.attempts |= dict.fromkeys(failed, 0)

    @rule(seconds=st.sampled_from([1.0, 31.0, 61.0, 3600.0, -5.0]))
    def pass_time(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    @invariant()
    def the_record_agrees(self) -> None:
        with self.store.read() as connection:
            found = {
                r[0]: (r[1], r[2]) for r in connection.execute(text("SELECT id, state, attempts FROM jobs"))
            }
            results = {
                r[0]: r[1]
                for r in connection.execute(text("SELECT job_id, count(*) FROM results GROUP BY 1"))
            }
            files = reports.file_counts(connection)
            open_files = connection.scalar(
                text(
                    "SELECT count(DISTINCT i.evidence_id) FROM job_inputs i JOIN jobs j ON j.id = i.job_id "
                    "WHERE j.state NOT IN ('done', 'abstained')"
                )
            )
        assert found == {j: (self.state[j], self.attempts[j]) for j in self.state}
        assert all(attempts <= ATTEMPTS for _, attempts in found.values())
        assert results == {j: max(1, len(d.findings)) for j, d in self.concluded.items()}
        assert files[FileState.READY] == open_files
        assert files[FileState.READY] + files[FileState.DONE] == self.files

    def teardown(self) -> None:
        assert self.store.verify_audit().ok
        self.store.close()
        self.folder.cleanup()


Jobs.TestCase.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestJobs = Jobs.TestCase
