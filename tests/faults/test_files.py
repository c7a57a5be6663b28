"""Rows 6 and 11 to 14: full disks, slow and broken senders, floods, doubles, and things that are no files."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import dicom_bytes
from faults.conftest import Seen
from faults.world import World, assert_sound, free, note

pytestmark = [pytest.mark.faults, pytest.mark.timeout(2000)]
short = pytest.mark.faults_short


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A mount of 32 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], check=False)
    if done.returncode:
        pytest.skip("no mount of our own here: a full disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path) -> Path:
    """Leaves no byte free."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


# ── row 6 ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", [pytest.param("archive", marks=short), "quarantine", "database"])
def test_row_06_disk_is_full(tmp_path: Path, small: Path, seen: Seen, where: str) -> None:
    url = f"sqlite:///{small / 'wetread.db'}" if where == "database" else None
    home = tmp_path / "home"
    if where != "database":
        home.mkdir()
        (home / where).symlink_to(small)
    world = World(home, url, WETREAD_DISK_LOW_BYTES="1000000", WETREAD_DISK_RESUME_BYTES="2000000")
    try:
        world.start()
        world.notes(2, "before")
        world.settle(2)
        filler = _fill(small)
        for number in range(40):
            world.drop(f"after/{number}.txt", note(number) * 200)
            world.drop(f"bad/{number}.dcm", f"no DICOM {number}".encode() * 200)
        time.sleep(8)
        for name in ("ingest", "worker-1", "web"):
            assert world.parts[name].poll() is None, f"{name} ended for want of space"
        world.until(
            lambda: "waiting" in world.logs("ingest") or "disk" in world.logs("ingest"), 15,
            "said why it waits",
        )  # fmt: skip
        if where == "archive":
            left = sum(name.startswith("after") for name in world.left_in_inbox())
            seen.saw(f"{left} of 40 notes stayed in the inbox")
            assert left >= 30
        assert free(small) < 4096 * 8
        filler.unlink()
        seen.recovered(world.settle(82, 120))
        assert world.jobs()["done"] == 42
        assert_sound(world)
    finally:
        world.close()


# ── row 11 ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seconds", [pytest.param(6, marks=short), 30])
def test_row_11_file_written_slowly(world: World, seen: Seen, seconds: int) -> None:
    film, total = dicom_bytes(rows=256, columns=256), world.seen()
    refused = world.files().get("quarantined", 0)
    target = world.home / "inbox" / f"slow-{seconds}.dcm"
    with target.open("wb", buffering=0) as file:
        parts = 2 * seconds
        for part in range(parts):
            file.write(film[len(film) * part // parts : len(film) * (part + 1) // parts])
            time.sleep(0.5)  # longer than the settling time, shorter than a truncated file is waited for
            assert world.files().get("quarantined", 0) == refused, "given up though it grows"
    seen.recovered(world.settle(total + 1))
    digest = world.rows("SELECT digest FROM evidence ORDER BY received_at DESC LIMIT 1")[0].digest
    assert world.archive.get(digest) == film


@short
def test_row_11_truncated_files_are_quarantined(world: World, seen: Seen) -> None:
    film, total = dicom_bytes(rows=64, columns=64), world.seen()
    world.drop("cut/half.dcm", film[: len(film) // 2])
    world.drop("cut/head.dcm", film[:200])
    world.drop("cut/empty.dcm", b"")
    seen.recovered(world.settle(total + 3))
    rows = world.rows("SELECT reason FROM files WHERE state = 'quarantined' ORDER BY first_seen DESC LIMIT 3")
    assert {row.reason for row in rows} <= {"truncated", "empty"}
    assert len(rows) == 3


# ── row 12 ────────────────────────────────────────────────────────────────────────────────────────


def _tree(root: Path, count: int) -> None:
    for number in range(count):
        path = root / f"a{number % 20}" / f"b{number % 7}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(note(number % 10))


@short
def test_row_12_folder_renamed_in(world: World, seen: Seen, tmp_path: Path) -> None:
    total, outside = world.seen(), world.home / "outside"
    _tree(outside, 300)
    outside.rename(world.home / "inbox" / f"in-{tmp_path.name}")
    seen.recovered(world.settle(total + 300, 120))
    assert world.seen() == total + 300


def test_row_12_copy_of_4000_nested(world: World, seen: Seen, tmp_path: Path) -> None:
    total = world.seen()
    _tree(tmp_path / "many", 4000)
    subprocess.run(["cp", "-r", str(tmp_path / "many"), str(world.home / "inbox" / "copied")], check=True)
    seen.recovered(world.settle(total + 4000, 300))
    assert world.seen() == total + 4000


def test_row_12_more_events_than_a_queue_holds(world: World, seen: Seen) -> None:
    total, count = world.seen(), 17_000
    folder = world.home / "inbox" / "flood"
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.txt").write_bytes(note(number % 10))
    seen.recovered(world.settle(total + count, 450))
    assert world.seen() == total + count


@short
def test_row_12_no_events_at_all(world: World, seen: Seen) -> None:
    world.end("ingest")
    world.spawn("ingest", at="mute ingest.watch:Events._run")
    world.ready("ingest")
    total = world.seen()
    world.notes(20, "silent/deep/er")
    seen.recovered(world.settle(total + 20))
    assert world.seen() == total + 20
    world.end("ingest")


# ── row 13 ────────────────────────────────────────────────────────────────────────────────────────


@short
def test_row_13_doubles_and_conflicts(world: World, seen: Seen) -> None:
    uid = f"1.2.826.0.1.3680043.10.1.{os.getpid()}.{time.time_ns()}"
    film, other = dicom_bytes(sop_uid=uid), dicom_bytes(sop_uid=uid, patient_id="P-2")
    before, total = world.files(), world.seen()
    world.drop("first.dcm", film)
    world.settle(total + 1)
    kept = world.rows("SELECT id, digest FROM evidence WHERE uid = :uid", uid=uid)
    world.drop("again.dcm", film)
    world.drop("other.dcm", other)
    seen.recovered(world.settle(total + 3))
    after = world.files()
    assert after["duplicate"] == before.get("duplicate", 0) + 1
    assert "conflict" in world.reasons()
    assert world.rows("SELECT id, digest FROM evidence WHERE uid = :uid", uid=uid) == kept
    assert world.archive.get(kept[0].digest) == film


# ── row 14 ────────────────────────────────────────────────────────────────────────────────────────


@short
def test_row_14_things_that_are_no_files(world: World, seen: Seen, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_bytes(note("secret outside the inbox"))
    inbox, total = world.home / "inbox", world.seen()
    (inbox / "link.txt").symlink_to(secret)
    (inbox / "dangling.txt").symlink_to(tmp_path / "nowhere")
    (inbox / "loop").symlink_to(inbox)
    os.mkfifo(inbox / "pipe.txt")
    count = 4
    if os.geteuid() == 0:
        os.mknod(inbox / "device.txt", 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero: endless when read
        count = 5
    seen.recovered(world.settle(total + count))
    rows = world.rows("SELECT reason FROM files ORDER BY first_seen DESC LIMIT :n", n=count)
    assert {row.reason for row in rows} == {"not-a-file"}
    assert secret.read_bytes() == note("secret outside the inbox")
    assert not world.rows("SELECT id FROM evidence WHERE bytes = :n", n=secret.stat().st_size)


def test_row_14_files_deleted_and_replaced_all_the_time(world: World, seen: Seen) -> None:
    inbox, stop = world.home / "inbox" / "churn", threading.Event()
    inbox.mkdir()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            path = inbox / f"{number % 5}.txt"
            path.unlink(missing_ok=True)
            kind = number % 4
            if kind == 0:
                path.write_bytes(note(number))
            elif kind == 1:
                os.mkfifo(path)
            elif kind == 2:
                path.symlink_to("/dev/zero")
            else:
                shutil.copy(__file__, path)
            time.sleep(0.13)

    thread = threading.Thread(target=churn)
    thread.start()
    time.sleep(12)
    stop.set()
    thread.join()
    beats = world.rows("SELECT heartbeat_at FROM services WHERE name = 'ingest'")
    assert world.parts["ingest"].poll() is None
    seen.recovered(world.settle(0, 60))
    assert world.rows("SELECT heartbeat_at FROM services WHERE name = 'ingest'") != beats or beats


@short
def test_row_14_a_file_that_may_not_be_read(world: World, seen: Seen) -> None:
    world.end("ingest")
    prefix = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads whatever the mode says, and there is no setpriv to take that from it")
        prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    world.spawn("ingest", prefix=prefix)
    world.ready("ingest")
    total, target = world.seen(), world.home / "inbox" / "locked.txt"
    target.write_bytes(note("locked"))
    if os.geteuid() == 0:
        os.chown(target, 65534, 65534)
    target.chmod(0)
    seen.recovered(world.settle(total + 1))
    assert "unreadable" in world.reasons()
    world.end("ingest")
