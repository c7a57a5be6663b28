"""Rows 15 to 17: files made to exhaust, to escape and to lie, dropped into a running inbox."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from builders import DEFLATED, RLE, dicom_bytes
from faults.conftest import Seen
from faults.world import World, note

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
short = pytest.mark.faults_short
ABSOLUTE = "/tmp/evil-absolute.txt"  # noqa: S108 - where a hostile archive would write
MIB = 2**20  # bytes


def _meta(film: bytes) -> int:
    """Where the data set begins (PS3.10 7.1: the group length counts from byte 144)."""
    return 144 + int(struct.unpack_from("<I", film, 140)[0])


def deflate_bomb() -> bytes:
    """1 MB that inflates to 1 GB within one private element."""
    film = dicom_bytes(transfer_syntax=DEFLATED)
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    out = engine.compress(struct.pack("<HH2sHI", 0x0009, 0x0010, b"OB", 0, 1024 * MIB))
    for _ in range(1024):
        out += engine.compress(bytes(MIB))
    return film[: _meta(film)] + out + engine.flush()


def rle_65535() -> bytes:
    """A 16 KB RLE frame whose header asks for 65535 x 65535 values."""
    film = dicom_bytes(transfer_syntax=RLE)
    return film.replace(b"\x28\x00\x10\x00US\x02\x00\x08\x00", b"\x28\x00\x10\x00US\x02\x00\xff\xff").replace(
        b"\x28\x00\x11\x00US\x02\x00\x08\x00", b"\x28\x00\x11\x00US\x02\x00\xff\xff"
    ) + bytes(16_384)


def nested_20000() -> bytes:
    """Sequences within sequences, 20,000 deep, each of undefined length."""
    film = dicom_bytes()
    deep = (b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 20_000
    return film[: _meta(film)] + deep


def declares_4_gib() -> bytes:
    """An element that declares 4 GiB - 2 and has eight."""
    film = dicom_bytes()
    return film[: _meta(film)] + b"\x08\x00\x05\x00UN\0\0\xfe\xff\xff\xff" + bytes(8)


def zip_bomb() -> bytes:
    """1 MB of zip holding 1 GB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.dcm", "w") as file:
        for _ in range(1024):
            file.write(bytes(MIB))
    return out.getvalue()


def _tree_rss(pid: int) -> int:
    """Resident bytes of a process and its children."""
    found = subprocess.run(
        ["ps", "-o", "rss=", "--pid", str(pid), "--ppid", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return sum(int(word) for word in found.stdout.split()) * 1024


def _watched(world: World, act: Callable[[], None]) -> int:
    """The most that ingest and worker grew by, in bytes, while something was done."""
    pids = [world.parts["ingest"].pid, world.parts["worker-1"].pid]
    before = [_tree_rss(pid) for pid in pids]
    most, stop = 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not stop.wait(0.05):
            most = max(most, *(_tree_rss(pid) - was for pid, was in zip(pids, before, strict=True)))

    thread = threading.Thread(target=look)
    thread.start()
    act()
    stop.set()
    thread.join()
    return most


# ── row 15 ────────────────────────────────────────────────────────────────────────────────────────


@short
@pytest.mark.parametrize("bomb", [deflate_bomb, rle_65535, nested_20000, declares_4_gib, zip_bomb])
def test_row_15_bombs(world: World, seen: Seen, bomb: Callable[[], bytes]) -> None:
    world.drop("warm.dcm", dicom_bytes())  # the child that reads is up
    world.settle()
    total, data = world.seen(), bomb()
    name = "bomb.zip" if bomb is zip_bomb else "bomb.dcm"
    start = time.monotonic()

    def act() -> None:
        world.drop(name, data)
        world.until(lambda: world.seen() > total and world.calm(), 60, "refused", world.state)

    grown = _watched(world, act)
    seconds = time.monotonic() - start
    row = world.rows("SELECT state, reason FROM files ORDER BY changed_at DESC LIMIT 1")[0]
    seen.saw(f"{bomb.__name__} of {len(data) / 1e6:.1f} MB: {row.reason or row.state}, +{grown >> 20} MiB")
    seen.recovered(seconds)
    if bomb is rle_65535:  # its header is well formed: it is kept, and no model is given its pixels
        assert row.state in ("quarantined", "done")
    else:
        assert row.state == "quarantined"
    assert grown < 512 * MIB
    assert seconds < 90  # settling, the wait for a truncated file and a busy machine are in it


@short
def test_row_15_pixels_that_ask_for_8_gib_are_never_decoded() -> None:
    from db.errors import Rejected
    from db.jobs import Input
    from ingest import reading
    from models.card import Needs

    film = Input(evidence_id="", kind="image", format="dicom", digest="")
    with pytest.raises(Rejected, match="too-large"):
        reading.payload([(film, rle_65535())], Needs(kind="image", scope="instance"))


# ── row 16 ────────────────────────────────────────────────────────────────────────────────────────


def _everything(folder: Path) -> set[str]:
    return {
        str(p.relative_to(folder)) for p in folder.rglob("*") if "home" not in p.relative_to(folder).parts
    }


@short
def test_row_16_names_that_climb_out(world: World, seen: Seen) -> None:
    outside = world.home.parent
    for left in (Path(ABSOLUTE), Path(ABSOLUTE).with_name("evil")):
        left.unlink(missing_ok=True)  # by whatever ran here before
    before, total = _everything(outside), world.seen()
    film = dicom_bytes()
    uid = film[film.index(b"\x08\x00\x18\x00UI") + 8 :]
    length = struct.unpack_from("<H", film, film.index(b"\x08\x00\x18\x00UI") + 6)[0]
    for number, evil in enumerate((b"../../../evil", b"/tmp/evil", b"1.2\x00/../evil", b"1.2;rm -rf *")):
        padded = evil[:length].ljust(length, b"\0")
        world.drop(f"uid/{number}.dcm", film.replace(uid[:length], padded, 1).replace(uid[:length], padded))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in (
            "../../evil.txt",
            ABSOLUTE,
            "a\0b.txt",
            "C:\\evil.txt",
            "x/../../evil2.txt",
        ):
            archive.writestr(zipfile.ZipInfo(name), note(name))
    world.drop("evil.zip", out.getvalue())
    seen.recovered(world.settle(total + 5, 120))
    assert _everything(outside) == before
    assert not Path(ABSOLUTE).exists()
    assert not Path(ABSOLUTE).with_name("evil").exists()
    names = {p.name for p in (world.home / "archive").rglob("*") if p.is_file()}
    assert all(len(n) == 64 and set(n) <= set("0123456789abcdef") for n in names)


# ── row 17 ────────────────────────────────────────────────────────────────────────────────────────


@short
def test_row_17_hostile_notes(world: World, seen: Seen) -> None:
    total = world.seen()
    forged = '{"event": "forged_event", "level": "critical"}'
    cases = {
        "huge.txt": b"Fever. " * (100 * MIB // 7),
        "latin.txt": b"Fi\xe8vre depuis hier, toux.",
        "controls.txt": b"Fever\x00\x07\x1b[31m and \x9b cough\x08\x7f. No evidence of pneumothorax.",
        "log.txt": f"Fever and cough.\n{forged}\r\n{forged}".encode(),
        f"{forged[:20]}\n.txt".replace("/", "-"): note("newline in its name"),
    }
    grown = _watched(world, lambda: [world.drop(n, d) for n, d in cases.items()] and None)
    grown = max(grown, _watched(world, lambda: world.settle(total + len(cases), 120) and None))
    seen.saw(f"100 MB note: +{grown >> 20} MiB")
    assert grown < 512 * MIB
    assert {"too-large", "undecodable-text"} <= world.reasons()
    for service in ("ingest", "worker-1", "web"):
        assert "forged_event" not in world.logs(service)
        assert "\x1b[31m" not in world.logs(service)


@short
def test_row_17_hostile_sidecars(world: World, seen: Seen, tmp_path: Path) -> None:
    inbox, total = world.home / "inbox", world.seen()
    secret = tmp_path / "secret.json"
    secret.write_text('{"mrn": "outside"}')
    (inbox / "a.txt.json").symlink_to(secret)
    (inbox / "b.txt.json").write_bytes(b"[" * 60_000)
    with (inbox / "c.txt.json").open("wb") as file:
        file.truncate(3 * 2**30)
    os.mkfifo(inbox / "d.txt.json")
    for name in "abcd":
        (inbox / f"{name}.txt").write_bytes(note(f"side-{name}"))
    seen.recovered(world.settle(total + 4, 120))
    assert "bad-sidecar" in world.reasons()
