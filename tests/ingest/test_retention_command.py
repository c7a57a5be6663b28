"""`wetread retention`: only lists unless told to apply; afterwards explain and replay say what is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from redis import Redis
from sqlalchemy import text

from console import past
from db import claims, conclusions
from db.errors import Misconfigured
from db.jobs import Conclusion
from db.records import Code, Diagnosis, Finding
from db.settings import Settings
from db.store import migrate, open_store
from tests.bench import Bench
from tests.builders import dicom_bytes, note_bytes, write_tree

YES = Diagnosis(findings=(Finding(code=Code(value="1", system="s", meaning="m"), positive=True),))


@pytest.fixture
def bench(settings: Settings, redis: Redis) -> Iterator[Bench]:
    """A home with a read note, an open film and a refused file."""
    store, archive = open_store(settings, create_key=True)
    migrate(store)
    bench = Bench(settings, store, archive, redis)
    write_tree(bench.inbox, {"a.txt": note_bytes("Cough."), "bad.dcm": b"text" * 99})
    bench.settle()
    for job_id in bench.sent:
        claimed = claims.claim(store, job_id, worker="w", lease_seconds=60)
        conclusions.conclude(store, [Conclusion(job=j, diagnosis=YES, device="cpu") for j in claimed])
    write_tree(bench.inbox, {"b.dcm": dicom_bytes()})
    bench.settle()
    yield bench
    store.close()


def command(bench: Bench, *arguments: str) -> dict[str, object]:
    env = {
        **os.environ, "WETREAD_HOME": str(bench.settings.home), "WETREAD_RETAIN_DONE_DAYS": "0",
        "WETREAD_RETAIN_QUARANTINED_DAYS": "0",
    }  # fmt: skip
    line = [sys.executable, "-m", "console.cli", "retention", "--json", *arguments]
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def kept(bench: Bench) -> int:
    folders = (bench.settings.folder("archive"), bench.settings.folder("quarantine"))
    return sum(1 for folder in folders for path in folder.rglob("*") if path.is_file())


def test_it_lists_first_and_removes_when_told(bench: Bench) -> None:
    before = kept(bench)
    listed = command(bench)
    assert (listed["payloads"], listed["applied"], kept(bench)) == (2, False, before)
    applied = command(bench, "--apply")
    assert (applied["payloads"], applied["applied"]) == (2, True)
    assert kept(bench) == before - 3  # the note; the refused file's payload and reason
    assert command(bench)["payloads"] == 0
    with bench.store.read() as connection:
        actions = set(connection.scalars(text("SELECT action FROM audit")))
    assert {"evidence:removed", "file:purged"} <= actions
    assert bench.files() == {"done": 1, "ready": 1, "quarantined": 1}


def test_explain_and_replay_say_plainly_that_the_input_is_gone(bench: Bench) -> None:
    command(bench, "--apply")
    with bench.store.read() as connection:
        result = str(connection.scalar(text("SELECT id FROM results")))
    for again in (past.explanation, lambda *a: past.replayed(*a, "cpu")):
        with pytest.raises(Misconfigured, match=r"input was removed on \d{4}-\d\d-\d\d .* the result"):
            again(bench.store, bench.archive, result)
