"""Rows 1 to 10 and 21 to 23: processes killed, stopped, restarted, locked out and lied to."""

from __future__ import annotations

import base64
import json
import pickle
import signal
import sqlite3
import subprocess
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from faults.conftest import Seen
from faults.postgres import Postgres
from faults.world import World, note

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1600)]
short = pytest.mark.faults_short

WORKER_POINTS = [
    pytest.param("models.note_assertion.model:NoteAssertion._examine:after:3", id="mid-forward", marks=short),
    pytest.param("db.conclusions:conclude:before", id="before-commit"),
    pytest.param("db.audit:append:after:2", id="inside-commit"),
    pytest.param("db.conclusions:conclude:after", id="between-commit-and-ack", marks=short),
]
INGEST_POINTS = [
    "ingest.watch:Inbox.scan:after",
    "db.ledger:see:before",
    "db.ledger:see:after",
    "ingest.intake:Intake.claim:before",
    "os:rename:after:2",
    "ingest.intake:Intake.claim:after",
    "ingest.intake:Intake._read:before",
    "ingest.intake:Intake._read:after",
    "db.archive:Batch.put:before",
    "db.archive:Batch.put:after",
    "db.archive:Batch.settle:before",
    "db.archive:Batch.settle:after",
    "db.archive:Batch._rename:after",
    "ingest.quarantine:put:before",
    "ingest.quarantine:put:after",
    "ingest.intake:Intake._record:before",
    "db.inputs:accept:after",
    "db.audit:append:before",
    "db.audit:append:after:2",
    "db.audit:note_anchor:before:2",
    "ingest.intake:Intake._tidy:before",
    "ingest.intake:Intake._tidy:after:2",
    "db.jobs:take_owed:after:2",
    "ingest.dispatch:Dispatch._send:before",
    "ingest.dispatch:Dispatch._send:after",
]
SHORT_POINTS = ("os:rename:after:2", "ingest.quarantine:put:after", "ingest.dispatch:Dispatch._send:before")


def _again(world: World, name: str, files: int = 0) -> float:
    """Starts a service that died and waits until all is read; the seconds since."""
    start = time.monotonic()
    world.spawn(name)
    world.settle(files, 120)
    return time.monotonic() - start


# ── row 1 ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("point", WORKER_POINTS)
def test_row_01_worker_killed(world: World, seen: Seen, point: str) -> None:
    world.end("worker-1")
    before = world.jobs().get("done", 0)
    world.spawn("worker-1", at=f"kill {point}")
    world.notes(6, "one")
    assert world.gone("worker-1") == -signal.SIGKILL
    world.kills += 1
    seen.recovered(_again(world, "worker-1"))
    assert world.jobs()["done"] == before + 6


# ── row 2 ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "point", [pytest.param(p, marks=short if p in SHORT_POINTS else ()) for p in INGEST_POINTS]
)
def test_row_02_ingest_killed(world: World, seen: Seen, point: str) -> None:
    world.end("ingest")
    inbox, total = world.home / "inbox", world.seen()
    query = (
        "SELECT count(*) AS n FROM evidence e JOIN cases c ON e.case_id = c.id WHERE c.patient IS NOT NULL"
    )
    owned = world.rows(query)[0].n
    word = point.replace(":", "-")
    (inbox / f"{word}.txt").write_bytes(note(word))
    (inbox / f"{word}.txt.json").write_text('{"patient-id": "77", "encounter": "E-77"}')
    (inbox / f"{word}-other.txt").write_bytes(note(f"{word} other"))
    (inbox / "bad.dcm").write_bytes(f"no DICOM {word}".encode())
    (inbox / "link.txt").symlink_to("/etc/hostname")
    world.spawn("ingest", at=f"kill {point}")
    assert world.gone("ingest", 30) == -signal.SIGKILL
    done = world.jobs().get("done", 0)
    seen.recovered(_again(world, "ingest", total + 4))
    assert world.seen() == total + 4
    assert world.jobs()["done"] >= done
    assert world.rows(query)[0].n == owned + 1, "the sidecar was lost"


# ── row 3 ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "loss",
    [
        "with-aof",
        pytest.param("without-aof", marks=short),
        "damaged-aof",
        pytest.param("flushall", marks=short),
    ],
)
def test_row_03_redis_loses(world: World, seen: Seen, loss: str) -> None:
    world.end("worker-1")
    before = world.jobs().get("done", 0)
    world.notes(20, "three")
    world.until(
        lambda: world.jobs().get("queued", 0) + world.jobs().get("running", 0) >= 20,
        60,
        "queued",
        world.state,
    )
    if loss == "flushall":
        world.redis().flushall()
    else:
        world.kill("valkey")
        folder = world.home / "valkey" / "appendonlydir"
        if loss == "without-aof":
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        elif loss == "damaged-aof":
            for path in folder.glob("*.aof"):
                path.write_bytes(b"*1\r\n$9\r\nrubbish" + path.read_bytes() + b"\0" * 9)
        world.start_valkey()
    seen.recovered(_again(world, "worker-1"))
    assert world.jobs()["done"] == before + 20


# ── row 4 ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seconds", [pytest.param(12, marks=short), 60])
def test_row_04_redis_stopped(world: World, seen: Seen, seconds: int) -> None:
    start = time.monotonic()
    taken = world.seen()
    world.signal("valkey", signal.SIGSTOP)
    try:
        world.notes(3, "four")
        red = world.until(lambda: world.status_of("/readyz", 10) == 503, 15, "readyz red")
        assert world.status_of("/metrics", 60) == 200, "a scrape must not hang on Redis"
        world.until(lambda: world.seen() >= taken + 3 and not world.left_in_inbox(), 20, "taken in meanwhile")
        rows = world.rows("SELECT heartbeat_at FROM services WHERE name = 'ingest'")
        time.sleep(max(0.0, seconds - (time.monotonic() - start)))
        beat = "SELECT heartbeat_at FROM services WHERE name = 'ingest'"
        world.until(lambda: world.rows(beat) != rows, 15, "beating: ingest hangs")
    finally:
        world.signal("valkey", signal.SIGCONT)
    seen.saw(f"readyz red after {red} s")
    seen.recovered(world.settle(taken + 3, 120))
    world.until(lambda: world.status_of("/readyz") == 200, 30, "readyz green")


@short
def test_row_04_redis_is_full(world: World, seen: Seen) -> None:
    client = world.redis()
    taken = world.seen()
    client.config_set("maxmemory", "1")
    try:
        world.notes(3, "full")
        world.until(lambda: world.seen() >= taken + 3 and not world.left_in_inbox(), 20, "taken in meanwhile")
        red = world.until(lambda: world.status_of("/readyz") == 503, 15, "readyz red")
        seen.saw(f"full: readyz red after {red} s")
    finally:
        client.config_set("maxmemory", "0")
    seen.recovered(world.settle(taken + 3, 120))


# ── row 5 ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["restart", "kill"])
def test_row_05_postgresql_goes_away_mid_transaction(
    world: World, seen: Seen, mode: str, request: pytest.FixtureRequest
) -> None:
    if world.database_url is None:
        pytest.skip("PostgreSQL only; SQLite's lock is the other test")
    server: Postgres = request.getfixturevalue("postgres")
    for name in ("ingest", "worker-1"):
        world.end(name)
        world.spawn(name, at="sleep1 db.audit:append:after")  # its transactions stay open for a second
    world.ready("ingest", "worker-1")
    total, done = world.seen(), world.jobs().get("done", 0)
    world.notes(10, "five")
    world.until(lambda: world.seen() > total, 30, "begun")
    for _ in range(3):
        time.sleep(1.5)
        if mode == "kill":
            server.kill()
            server.start()
        else:
            server.restart()
    assert world.parts["ingest"].poll() is None
    assert world.parts["worker-1"].poll() is None
    assert world.parts["web"].poll() is None
    seen.recovered(world.settle(total + 10, 150))
    assert world.jobs()["done"] == done + 10
    for name in ("ingest", "worker-1"):
        world.end(name)


@short
def test_row_05_database_locked_by_another(world: World, seen: Seen) -> None:
    if world.database_url is not None:
        pytest.skip("SQLite only; PostgreSQL's restart is the other test")
    total = world.seen()
    other = sqlite3.connect(world.home / "wetread.db", isolation_level=None, timeout=30)
    other.execute("BEGIN EXCLUSIVE")
    world.notes(5, "locked")
    time.sleep(8)
    other.execute("COMMIT")
    other.close()
    seen.recovered(world.settle(total + 5, 60))


# ── row 7 ─────────────────────────────────────────────────────────────────────────────────────────


def test_row_07_task_outlives_the_visibility_timeout(world: World, seen: Seen) -> None:
    at = "visibility=2 db.queue:celery_app,sleep14@worker.runtime:Runtime.examine:before"
    for name in ("worker-1", "worker-2"):
        if name in world.parts and world.parts[name].poll() is None:
            world.end(name)
        world.spawn(name, at=at)
    world.ready("worker-1", "worker-2")
    before = {row.id for row in world.rows("SELECT id FROM jobs")}
    world.notes(1, "seven")
    seen.recovered(world.settle(1, 120))
    new = [row for row in world.rows("SELECT id, attempts, state FROM jobs") if row.id not in before]
    assert [(row.attempts, row.state) for row in new] == [(1, "done")]
    for name in ("worker-1", "worker-2"):
        world.end(name)


# ── row 8 ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("death", [pytest.param("segv", marks=short), "oom"])
def test_row_08_poison_kills_the_worker(world: World, seen: Seen, death: str) -> None:
    at = f"{death} worker.runtime:Runtime.examine:before"
    world.end("worker-1")
    failed, done = world.jobs().get("failed", 0), world.jobs().get("done", 0)
    world.notes(4, f"before-{death}")
    world.drop("poison.txt", note(f"segfault-here {death}"))
    world.notes(4, f"after-{death}")
    world.until(lambda: world.jobs().get("queued", 0) >= 9, 60, "queued", world.state)
    deaths, start = 0, time.monotonic()
    world.spawn("worker-1", at=at)
    while world.jobs().get("failed", 0) == failed:
        assert time.monotonic() - start < 800, world.state()
        if world.parts["worker-1"].poll() is not None:
            deaths += 1
            world.kills += 1
            world.spawn("worker-1", at=at)
        time.sleep(0.2)
    world.settle(0, 120)
    seen.saw(f"{death}: {deaths} deaths, then failed")
    seen.recovered(time.monotonic() - start)
    rows = world.rows("SELECT attempts FROM jobs WHERE state = 'failed' ORDER BY finished_at DESC LIMIT 1")
    assert (deaths, rows[0].attempts) == (3, 3)
    assert world.jobs()["done"] == done + 8
    assert world.jobs()["failed"] == failed + 1
    world.end("worker-1")


# ── row 9 ─────────────────────────────────────────────────────────────────────────────────────────


@short
def test_row_09_sigterm_in_the_middle_of_work(world: World, seen: Seen) -> None:
    world.end("worker-1")
    world.spawn("worker-1", at="sleep3 worker.runtime:Runtime.examine:before")
    world.ready("worker-1")
    client = world.redis()
    client.delete("unacked", "unacked_index")  # what earlier rows' kills left there
    total = world.seen()
    world.notes(3, "nine")
    world.until(lambda: world.jobs().get("running", 0) > 0, 60, "running", world.state)
    start = time.monotonic()
    assert world.end("worker-1", 30) == 0
    seen.saw(f"ended in {time.monotonic() - start:.1f} s")
    assert world.jobs().get("running", 0) == 0
    assert client.hlen("unacked") == 0
    seen.recovered(_again(world, "worker-1", total + 3))


# ── row 10 ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hours", [pytest.param(1, marks=short), -1])
def test_row_10_clock_jumps_while_a_job_is_running(
    world: World, seen: Seen, hours: int, clock: tuple[dict[str, str], Path]
) -> None:
    env, offset = clock
    offset.write_text("0")
    for name in ("ingest", "worker-1"):
        world.end(name)
    lease = {"WETREAD_LEASE_SECONDS": "8", "WETREAD_HEARTBEAT_SECONDS": "2"}  # a busy disk holds up a beat
    world.spawn("ingest", env={**env, **lease})
    world.spawn("worker-1", at="sleep12 worker.runtime:Runtime.examine:before:1", env=lease)
    world.ready("worker-1")
    before = {row.id for row in world.rows("SELECT id FROM jobs")}
    world.notes(1, f"ten{hours}")
    world.until(lambda: world.jobs().get("running", 0) == 1, 60, "running", world.state)
    offset.write_text(str(hours * 3600))
    time.sleep(1)
    world.settle(0, 60)
    new = [row for row in world.rows("SELECT id, attempts FROM jobs") if row.id not in before]
    assert [row.attempts for row in new] == [1], "a living worker's job was taken from it"
    seen.recovered(0)
    world.end("ingest")
    world.end("worker-1")


@pytest.mark.parametrize("hours", [1, pytest.param(-1, marks=short)])
def test_row_10_clock_jumps_and_the_worker_dies(
    world: World, seen: Seen, hours: int, clock: tuple[dict[str, str], Path]
) -> None:
    env, offset = clock
    offset.write_text("0")
    world.end("ingest")
    world.end("worker-1")
    world.spawn("ingest", env=env)
    world.spawn("worker-1", at="sleep60 worker.runtime:Runtime.examine:before:1")
    world.ready("worker-1")
    world.notes(1, f"died{hours}")
    world.until(lambda: world.jobs().get("running", 0) == 1, 60, "running", world.state)
    offset.write_text(str(hours * 3600))
    world.kill("worker-1")
    seen.recovered(_again(world, "worker-1"))
    world.end("ingest")


# ── rows 21 to 23 ─────────────────────────────────────────────────────────────────────────────────


@short
def test_row_21_two_ingests_on_one_folder(world: World, seen: Seen) -> None:
    world.spawn("ingest-2")
    world.ready("ingest-2")
    total = world.seen()
    world.notes(150, "twenty-one")
    seen.recovered(world.settle(total + 150, 120))
    assert world.seen() == total + 150
    twice = world.rows("SELECT evidence_id FROM files WHERE state = 'done' GROUP BY 1 HAVING count(*) > 1")
    assert twice == []
    world.end("ingest-2")


def _message(body: bytes, *, task: str, content_type: str = "application/json") -> str:
    return json.dumps({
        "body": base64.b64encode(body).decode(), "content-encoding": "utf-8", "content-type": content_type,
        "headers": {"lang": "py", "task": task, "id": "1", "root_id": "1", "parent_id": None,
                    "argsrepr": "", "kwargsrepr": ""},
        "properties": {"correlation_id": "1", "delivery_mode": 2, "delivery_tag": "t",
                       "body_encoding": "base64",
                       "delivery_info": {"exchange": "", "routing_key": "wetread.routine"}, "priority": 0},
    })  # fmt: skip


@short
def test_row_22_hostile_messages(world: World, seen: Seen) -> None:
    task, plain = (
        "wetread.diagnose",
        b'[["x"], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]',
    )
    bad = [
        _message(pickle.dumps((("x",), {}, {})), task=task, content_type="application/x-python-serialize"),
        _message(b"{", task=task), _message(b"[]", task=task), _message(b"null", task=task),
        _message(plain, task="os.system"),
        _message(plain, task=task), _message(plain.replace(b'"x"', b'{"a": [1]}'), task=task),
        _message(plain.replace(b'["x"]', b"[]"), task=task), _message(b"\xff\xfe", task=task),
        "not JSON", "{}", "[]", "null",
    ]  # fmt: skip
    client, total = world.redis(), world.seen()
    for message in bad:
        client.lpush("wetread.routine", message)
    pid = world.parts["worker-1"].pid
    died = 0
    world.notes(2, "twenty-two")
    start = time.monotonic()
    while not world.calm(total + 2):
        assert time.monotonic() - start < 480, world.state()
        if world.parts["worker-1"].poll() is not None:
            died += 1
            world.spawn("worker-1")
        time.sleep(0.2)
    seen.recovered(time.monotonic() - start)
    assert (died, world.parts["worker-1"].pid) == (0, pid), "a message ended the worker"
    # the second note may have been claimed beside the first: its own hint is then still to be looked at
    world.until(lambda: client.llen("wetread.routine") == 0, 10, "read whatever was in the queue")


@short
def test_row_23_scrape_during_a_worker_restart(world: World, seen: Seen) -> None:
    scrapes = [world.samples()]
    stop = threading.Event()

    def scrape() -> None:
        while not stop.wait(0.2):
            scrapes.append(world.samples())

    thread = threading.Thread(target=scrape)
    thread.start()
    world.notes(20, "twenty-three")
    time.sleep(1)
    world.kill("worker-1")
    seen.recovered(_again(world, "worker-1"))
    stop.set()
    thread.join()
    kinds = ("_total", "_count", "_bucket", "_sum")
    fallen = {
        name
        for earlier, later in pairwise(scrapes)
        for (name, labels), value in earlier.items()
        if name.endswith(kinds) and later.get((name, labels), 0) < value - 1e-9
    }
    seen.saw(f"{len(scrapes)} scrapes")
    assert fallen == set()


# ── row 28 ────────────────────────────────────────────────────────────────────────────────────────


@short
def test_row_28_worker_alive_and_consuming_nothing(world: World, seen: Seen) -> None:
    world.end("worker-1")
    deaf = {"WETREAD_CANARY_SECONDS": "1", "WETREAD_CANARY_SECONDS_MAX": "5"}
    world.spawn("worker-1", at="mute kombu.transport.redis:Channel._brpop_start", env=deaf)
    world.ready("worker-1")
    start, total = time.monotonic(), world.seen()
    world.notes(2, "deaf")
    code = world.gone("worker-1", 60)
    seen.saw(f"ended itself after {time.monotonic() - start:.0f} s (exit {code})")
    assert code == 71, "as worker/watchdog.py names it"
    seen.recovered(_again(world, "worker-1", total + 2))


# ── the supervisor itself ─────────────────────────────────────────────────────────────────────────


def test_row_01_supervisor_killed_leaves_nobody_behind(tmp_path: Path, seen: Seen) -> None:
    from running import Running

    running = Running(tmp_path / "home", WETREAD_MODELS="note-assertion").start()
    assert running.process is not None
    pids = {s["pid"] for s in running.json("status")["services"].values()}
    second = running.call("up")
    assert (second.returncode, "already up" in second.stderr) == (1, True)
    running.process.kill()
    running.process.wait()
    running.drop("while-down.txt", note("orphan"))
    start = time.monotonic()
    running.start()
    try:
        running.until(lambda: running.concluded(1), 60, "read")
        seen.saw("supervisor killed: the next `up` reads on; a second `up` is refused")
        seen.recovered(time.monotonic() - start)
        running.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 40, "orphans gone")
        found = subprocess.run(
            ["pgrep", "-f", str(running.home)], capture_output=True, text=True, check=False
        )
        assert len(found.stdout.split()) <= 6, "up, valkey, ingest, worker, web and a decoder"
    finally:
        running.stop()
