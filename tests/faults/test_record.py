"""Rows 18 to 20, 24 to 26 and 29: broken models, a record tampered with, a patient sought, all at once."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from builders import dicom_bytes, note_bytes
from db import ledger
from db.ledger import Sighting
from faults.conftest import Seen
from faults.postgres import Postgres
from faults.world import ROOT, World, assert_sound, note
from telling import tells

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
short = pytest.mark.faults_short
UNPICKLED = Path("/tmp/wetread-was-unpickled")  # noqa: S108 - what a pickle would leave


# ── row 18 ────────────────────────────────────────────────────────────────────────────────────────


def _swap(weights: Path) -> None:
    from safetensors.numpy import load_file, save_file

    save_file({name: values[::-1].copy() for name, values in load_file(weights).items()}, weights)


def _half(weights: Path) -> None:
    os.truncate(weights, weights.stat().st_size // 2)


def _pickle(weights: Path) -> None:
    weights.write_bytes(b"cos\nsystem\n(S'touch /tmp/wetread-was-unpickled'\ntR.")


def _edit(weights: Path) -> None:
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)


@pytest.mark.parametrize("harm", [_swap, pytest.param(_half, marks=short), _pickle, _edit])
def test_row_18_weights_are_not_what_the_card_says(
    tmp_path: Path, seen: Seen, harm: Callable[[Path], None]
) -> None:
    code = tmp_path / "code"
    for room in ("db", "models", "ingest", "worker", "console"):
        shutil.copytree(ROOT / room, code / room)
    UNPICKLED.unlink(missing_ok=True)
    weights = next((code / "models" / "note_diagnosis").rglob("*.safetensors"))
    harm(weights)
    world = World(tmp_path / "home", WETREAD_MODELS="note-assertion,note-diagnosis")
    world.root = code
    try:
        world.start("ingest", "worker-1")
        world.notes(3)
        world.settle(3)
        detail = world.rows("SELECT detail FROM services WHERE name = 'worker-1'")[0].detail
        refused = json.loads(detail)["refused"]
        assert weights.name in refused["note-diagnosis"]
        states = {(row.model, row.state) for row in world.rows("SELECT model, state FROM jobs")}
        assert states == {("note-assertion", "done"), ("note-diagnosis", "failed")}
        assert not UNPICKLED.exists()
        seen.saw(f"{harm.__name__[1:]}: {refused['note-diagnosis'].partition(';')[0][:80]}")
        assert_sound(world)
    finally:
        world.close()


# ── row 19 ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lie", [pytest.param("nan", marks=short), "inf", "none", "short"])
def test_row_19_model_answers_nonsense(world: World, seen: Seen, lie: str) -> None:
    world.end("worker-1")
    world.spawn("worker-1", at=f"{lie} models.note_assertion.model:NoteAssertion.examine:after")
    world.until(lambda: world.rows("SELECT 1 FROM services WHERE name = 'worker-1'") != [], 60, "begun")
    before = {row.id for row in world.rows("SELECT id FROM jobs")}
    world.notes(1, f"nonsense-{lie}")
    world.settle(0, 120)
    new = [row for row in world.rows("SELECT id, state, attempts FROM jobs") if row.id not in before]
    assert [row.state for row in new] == ["failed"]
    assert not world.rows("SELECT id FROM results WHERE job_id = :job", job=new[0].id)
    seen.saw(f"{lie}: failed after {new[0].attempts} attempts")
    world.end("worker-1")


# ── row 20 ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["sqlite", "postgresql"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A record of thirty files, one a transaction, without services."""
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres").database()
    world = World(tmp_path / "home", url)
    for number in range(30):
        with world.store.write() as writer:
            ledger.see(writer, [Sighting(name=f"{number}.txt", suffix=".txt", bytes=1)])
    yield world
    world.close()


TAMPERING = {
    "edited": (["UPDATE audit SET detail = '{\"x\":1}' WHERE seq = 7"], "entry 7 was changed"),
    "deleted": (["DELETE FROM audit WHERE seq = 9"], "entry 9 is missing"),
    "reordered": (
        ["UPDATE audit SET seq = -1 WHERE seq = 5", "UPDATE audit SET seq = 5 WHERE seq = 6",
         "UPDATE audit SET seq = 6 WHERE seq = -1"], "entry 5"),
    "tail cut": (["DELETE FROM audit WHERE seq > 20"], "entries 21 to 30 are gone"),
    "restored from yesterday": (
        ["DELETE FROM audit WHERE seq > 20",
         "UPDATE audit_head SET seq = 20, hash = (SELECT hash FROM audit WHERE seq = 20)"],
        "entries 21 to 30 are gone"),
}  # fmt: skip


@short
@pytest.mark.parametrize("how", TAMPERING)
def test_row_20_audit_log_tampered_with(written: World, seen: Seen, how: str) -> None:
    statements, problem = TAMPERING[how]
    assert written.call("audit", "verify").returncode == 0
    with written.store.engine.begin() as connection:
        if written.database_url is None:
            for (name,) in connection.execute(
                text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            ).all():
                connection.execute(text(f"DROP TRIGGER {name}"))
        else:
            connection.execute(text("ALTER TABLE audit DISABLE TRIGGER ALL"))
        for statement in statements:
            connection.exec_driver_sql(statement)
    done = written.call("audit", "verify")
    assert done.returncode == 1
    assert problem in done.stdout
    seen.saw(f"{how}: {done.stdout.strip()[:70]}")


# ── row 24 ────────────────────────────────────────────────────────────────────────────────────────

CANARY = ("Zyxwvut", "Quibble", "MRN-90210-Q", "19171107", "marmalade", "ENC-8-Q")


@short
def test_row_24_no_word_of_the_patient_anywhere(world: World, seen: Seen) -> None:
    who = {"patient_id": "MRN-90210-Q", "name": "Zyxwvut^Quibble", "birth_date": "19171107"}
    film, total = dicom_bytes(**who, accession="ENC-8-Q"), world.seen()
    header = {"patient_id": "MRN-90210-Q", "patient_name": "Zyxwvut Quibble", "birth_date": "19171107"}
    text_ = "Fever. Denies cough. She grumbles about marmalade."
    world.drop("Zyxwvut^Quibble/film.dcm", film)
    world.drop("Zyxwvut^Quibble/cut.dcm", film[:-20])
    world.drop("Zyxwvut^Quibble/flip.dcm", film[:300] + b"\xff\xff" + film[302:])
    world.drop("MRN-90210-Q.Quibble", b"marmalade")
    world.drop("MRN-90210-Q.txt", note_bytes(text_, **header, encounter="ENC-8-Q"))
    world.drop("bad/MRN-90210-Q.txt", note_bytes(text_, **header) + b"\xff\xfe")
    world.settle(total + 6)
    client = world.redis()
    texts = {str(key): str(_redis_value(client, key)) for key in client.scan_iter()}
    for path in (p for p in world.home.rglob("*") if p.is_file()):
        texts[str(path)] = path.read_bytes().decode("latin-1")
    for page in ("/metrics", "/", "/readyz", "/healthz"):
        import urllib.request

        with urllib.request.urlopen(world.url + page, timeout=20) as answer:
            texts[page] = answer.read().decode()
    for command in (
        ["audit", "list", "--limit", "100000"],
        ["results", "--json"],
        ["quarantine", "list"],
        ["status"],
    ):
        done = world.call(*command)
        texts[" ".join(command)] = done.stdout + done.stderr
    for process in world.parts.values():
        if process.poll() is None:
            texts[f"/proc/{process.pid}"] = Path(f"/proc/{process.pid}/cmdline").read_text()
    leaks = [
        (where, word)
        for where, told in texts.items()
        for word in CANARY
        if tells(told, word) or tells(where, word)
    ]
    assert leaks == []
    seen.saw(f"{len(texts)} places searched")


def _redis_value(client: object, key: bytes) -> object:
    kind = client.type(key)  # type: ignore[attr-defined]
    if kind == b"list":
        return client.lrange(key, 0, -1)  # type: ignore[attr-defined]
    if kind == b"hash":
        return client.hgetall(key)  # type: ignore[attr-defined]
    if kind == b"zset":
        return client.zrange(key, 0, -1)  # type: ignore[attr-defined]
    return client.smembers(key) if kind == b"set" else client.get(key)  # type: ignore[attr-defined]


# ── row 25 ────────────────────────────────────────────────────────────────────────────────────────


@short
def test_row_25_audit_store_unwritable(world: World, seen: Seen) -> None:
    results = world.rows("SELECT count(*) AS n FROM results")[0].n
    with world.store.engine.begin() as connection:
        if world.database_url is None:
            connection.execute(
                text("CREATE TRIGGER no_audit BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END")
            )
        else:
            connection.execute(
                text(
                    "CREATE FUNCTION no_audit() RETURNS trigger AS "
                    "$$ BEGIN RAISE EXCEPTION 'no'; END $$ LANGUAGE plpgsql"
                )
            )
            connection.execute(
                text(
                    "CREATE TRIGGER no_audit BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION no_audit()"
                )
            )
    world.notes(3, "unaudited")
    time.sleep(5)
    assert world.rows("SELECT count(*) AS n FROM results")[0].n == results, "a result without its audit"
    alive = {name: world.parts[name].poll() for name in ("ingest", "worker-1", "web")}
    with world.store.engine.begin() as connection:
        connection.execute(
            text("DROP TRIGGER no_audit" + ("" if world.database_url is None else " ON audit"))
        )
        if world.database_url is not None:
            connection.execute(text("DROP FUNCTION no_audit"))
    seen.recovered(world.settle(0, 60))
    assert alive == dict.fromkeys(alive), "a service ended"


# ── row 26 ────────────────────────────────────────────────────────────────────────────────────────


@short
def test_row_26_messages_of_other_versions_are_understood(world: World, seen: Seen) -> None:
    from celery import Celery

    world.end("worker-1")
    total = world.seen()
    world.notes(3, "versions")
    world.until(lambda: world.jobs().get("queued", 0) >= 3, 60, "queued", world.state)
    ids = [row.id for row in world.rows("SELECT id FROM jobs WHERE state = 'queued'")]
    world.redis().flushall()
    old = Celery("old", broker=world.settings.redis, set_as_current=False)
    old.conf.update(task_protocol=1, result_backend=None)
    old.send_task("wetread.diagnose", args=[ids[0]], queue="wetread.routine")
    old.conf.update(task_protocol=2)
    old.send_task("wetread.diagnose", args=[ids[1], "stat", 3], kwargs={"since": 1}, queue="wetread.routine")
    old.close()
    start = time.monotonic()
    world.spawn("worker-1")
    world.settle(total + 3, 60)
    seen.recovered(time.monotonic() - start)


# ── row 27 (its policies and revisions are also held by tests/ingest/test_assembly.py) ─────────────


def test_row_27_series_with_a_gap_and_a_late_instance(tmp_path: Path, seen: Seen) -> None:
    quick = {"WETREAD_SERIES_QUIET_SECONDS": "4", "WETREAD_SERIES_WAIT_SECONDS": "8",
             "WETREAD_MODELS": "hippocampus-mr"}  # fmt: skip
    world = World(tmp_path / "home", **quick)
    uid = "1.2.826.0.1.3680043.10.1.27"

    def state() -> str:
        rows = world.rows("SELECT state FROM series")
        return rows[0].state if rows else ""

    def slice_(number: int) -> bytes:
        place = {
            "ImageOrientationPatient": [0, 1, 0, 0, 0, -1],
            "ImagePositionPatient": [-5.0 * number, 0, 0],
        }
        named = {"series_uid": f"{uid}.1", "study_uid": uid, "sop_uid": f"{uid}.1.{number}"}
        return dicom_bytes(modality="MR", **named, InstanceNumber=number, **place)

    try:
        world.start("ingest", "worker-1")
        for number in (1, 2, 4):
            world.drop(f"mr/{number}.dcm", slice_(number))
            time.sleep(1.5)
        assert state() == "waiting"
        waited = world.until(lambda: state() == "partial", 60, "partial", state)
        world.drop("mr/3.dcm", slice_(3))
        late = world.until(lambda: state() == "complete", 60, "complete", state)
        revisions = world.rows("SELECT number, state, supersedes FROM series_revisions ORDER BY number")
        seen.saw(
            f"partial after {waited} s, complete {late} s after the late one, {len(revisions)} revisions"
        )
        world.settle(4)
        answers = world.rows("SELECT status FROM results ORDER BY created_at")
        assert [row.status for row in answers] == ["superseded", "preliminary"]
        assert_sound(world)
    finally:
        world.close()


@pytest.mark.timeout(7200)
def test_row_29_random_kills_over_everything(
    one_world: World, seen: Seen, request: pytest.FixtureRequest
) -> None:
    world = one_world
    world.ensure()
    world.settle()
    notes, kills = int(os.environ.get("FAULTS_NOTES", "1000")), int(os.environ.get("FAULTS_KILLS", "200"))
    postgres: Postgres | None = request.getfixturevalue("postgres") if world.database_url else None
    rng, total, killed = random.Random(29), world.seen(), 0
    targets = ["worker-1", "ingest", "valkey", *(["postgresql"] if postgres else [])]
    counts = dict.fromkeys(targets, 0)
    dropped, start = 0, time.monotonic()
    while killed < kills:
        for _ in range(-(-(notes - dropped) // (kills - killed))):
            world.drop(f"all/{dropped % 7}/{dropped}.txt", note(f"all-{total}-{dropped}"))
            dropped += 1
        name = rng.choice(targets)
        time.sleep(rng.uniform(0.0, 1.2))
        if name == "postgresql":
            assert postgres is not None
            postgres.kill()
            time.sleep(rng.uniform(0.0, 0.5))
            postgres.start()
        elif world.parts[name].poll() is None:
            world.kill(name)
        counts[name] += 1
        killed += 1
        for part in ("valkey", "ingest", "worker-1", "web"):
            if world.parts[part].poll() is not None:
                world.start_valkey() if part == "valkey" else world.spawn(part)
    during = time.monotonic() - start
    world.ensure()
    seen.recovered(world.settle(total + notes, 600))
    assert world.seen() == total + notes
    failed = world.jobs().get("failed", 0)
    seen.saw(f"{notes} notes, {killed} kills in {during:.0f} s ({counts}), {failed} jobs out of attempts")
    if failed:
        world.call("requeue", "--failed")
        world.settle(total + notes, 300)
    assert_sound(world)
