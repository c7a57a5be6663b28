"""The archive: what goes in comes out, sealed and unaltered or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import subprocess
from pathlib import Path, PosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.archive import Archive, Batch
from db.errors import Misconfigured, Unavailable
from db.keys import Keys
from db.sealing import CHUNK, TAG, seal, unseal

HEADER = 23  # magic 8, key id 8, nonce prefix 7
MEGABYTES = 2 * CHUNK + 1


def pattern(size: int) -> bytes:
    """Bytes whose every stretch differs, so that a swap shows."""
    return b"".join(i.to_bytes(4, "big") for i in range(size // 4 + 1))[:size]


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, MEGABYTES])
def test_every_size_around_the_chunks_comes_back(archive: Archive, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(pattern(size))
    digest = archive.put(source)
    assert digest == hashlib.sha256(pattern(size)).hexdigest()
    assert archive.get(digest) == pattern(size)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=4000))
def test_any_bytes_come_back_from_file_and_from_memory(archive: Archive, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "source").write_bytes(data)
    digest = archive.put_bytes(data)
    assert archive.put(tmp_path / "source") == digest
    assert archive.get(digest) == data


def test_no_plain_byte_of_the_payload_is_stored(archive: Archive) -> None:
    digest = archive.put_bytes(b"Canary^Clara " * 100)
    assert b"Canary" not in archive.path(digest).read_bytes()


def test_a_stored_payload_is_readable_by_its_owner_alone(archive: Archive) -> None:
    assert archive.path(archive.put_bytes(b"x")).stat().st_mode & 0o077 == 0


def test_the_same_bytes_are_stored_once(archive: Archive) -> None:
    stored = archive.path(archive.put_bytes(b"once"))
    before = (stored.read_bytes(), stored.stat().st_mtime_ns)
    archive.put_bytes(b"once")
    assert (stored.read_bytes(), stored.stat().st_mtime_ns) == before
    assert len([p for p in archive.folder.rglob("*") if p.is_file()]) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), place=st.integers(0), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(key: Keys, data: bytes, place: int, bit: int) -> None:
    sealed = bytearray(b"".join(seal([data], key)))
    sealed[place % len(sealed)] ^= 1 << bit
    with pytest.raises((Unavailable, Misconfigured)):
        b"".join(unseal(io.BytesIO(bytes(sealed)), key))


def blocks(key: Keys) -> tuple[bytes, list[bytes]]:
    """The header and the three sealed chunks of MEGABYTES."""
    data = pattern(MEGABYTES)
    sealed = b"".join(seal((data[i : i + CHUNK] for i in range(0, MEGABYTES, CHUNK)), key))
    step = CHUNK + TAG
    return sealed[:HEADER], [sealed[i : i + step] for i in range(HEADER, len(sealed), step)]


@pytest.mark.parametrize(
    "order", [(), (0,), (0, 1), (1, 0, 2), (0, 2), (0, 1, 1, 2), (2,), (0, 1, 2, 2)], ids=str
)
def test_cut_swapped_and_doubled_chunks_are_refused(key: Keys, order: tuple[int, ...]) -> None:
    header, sealed = blocks(key)
    with pytest.raises(Unavailable, match="altered or cut"):
        b"".join(unseal(io.BytesIO(header + b"".join(sealed[i] for i in order)), key))


def test_a_chunk_of_another_file_is_refused(key: Keys) -> None:
    (header, sealed), (_, others) = blocks(key), blocks(key)
    with pytest.raises(Unavailable):
        b"".join(unseal(io.BytesIO(header + sealed[0] + others[1] + sealed[2]), key))


def test_another_key_is_refused_by_name(archive: Archive) -> None:
    digest = archive.put_bytes(b"x")
    with pytest.raises(Misconfigured, match="sealed under key"):
        Archive(archive.folder, Keys(bytes(32))).get(digest)


def test_a_whole_file_under_a_wrong_digest_is_refused(archive: Archive) -> None:
    one, two = archive.put_bytes(b"one"), archive.put_bytes(b"two")
    archive.path(one).write_bytes(archive.path(two).read_bytes())
    with pytest.raises(Unavailable, match="other bytes"):
        archive.get(one)


def test_a_missing_payload_is_unavailable(archive: Archive) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        archive.get("0" * 64)


@pytest.mark.parametrize("count", [1, 2, 40])
def test_a_batch_is_stored_whole_at_its_end_and_not_before(archive: Archive, count: int) -> None:
    with archive.batch() as batch:
        digests = [batch.put_bytes(b"%d" % n) for n in range(count)]
        assert not any(digest in archive for digest in digests)
    assert [archive.get(digest) for digest in digests] == [b"%d" % n for n in range(count)]
    assert [p for p in archive.folder.iterdir() if p.is_file()] == []


def test_of_a_batch_that_fails_nothing_is_stored_or_left(archive: Archive) -> None:
    def interrupted() -> None:
        with archive.batch() as batch:
            batch.put_bytes(b"one")
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert [p for p in archive.folder.rglob("*") if p.is_file()] == []


def test_no_name_is_given_before_the_bytes_are_synced(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def named(_: object) -> None:
        seen.append(sum(p.is_file() for p in archive.folder.glob("??/*")))

    monkeypatch.setattr("db.archive.sync_each", named)
    with archive.batch() as batch:
        for number in range(40):
            batch.put_bytes(b"%d" % number)
    assert seen == [0, 40]


def test_a_sync_that_fails_names_nothing(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("db.archive.sync_each", full)
    batch = Batch(archive, archive._keys)
    for number in range(40):
        batch.put_bytes(b"%d" % number)
    with pytest.raises(Unavailable, match="disk full"):
        batch.settle()
    batch.abandon()
    assert [p for p in archive.folder.rglob("*") if p.is_file()] == []


def test_what_a_stop_left_long_ago_is_swept_and_what_is_being_written_stays(archive: Archive) -> None:
    kept = archive.put_bytes(b"kept")
    old, new = archive.folder / ".old.tmp", archive.folder / ".new.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    archive.sweep()
    assert new.exists()
    assert not old.exists()
    assert archive.get(kept) == b"kept"


class Growing(PosixPath):
    """A file to which its sender still writes: it grows between two looks."""

    def open(self, *args: object, **more: object) -> io.BytesIO:  # type: ignore[override]
        plain = Path(str(self))
        data = plain.read_bytes()
        plain.write_bytes(data + b"more")
        return io.BytesIO(data)


def test_a_file_that_changes_while_it_is_archived_is_not_stored_under_a_wrong_digest(
    archive: Archive, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"begun ")
    with pytest.raises(Unavailable, match="changed"):
        archive.put(Growing(tmp_path / "source"))
    assert not [p for p in archive.folder.rglob("*") if p.is_file()]


def test_a_payload_that_cannot_be_written_leaves_nothing(archive: Archive) -> None:
    archive.folder.write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="cannot write"):
        archive.put_bytes(b"x")


def test_half_files_of_a_process_that_is_gone_are_swept_and_others_left(archive: Archive) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    host = socket.gethostname()
    archive.folder.mkdir(parents=True, exist_ok=True)
    names = [f".a.{gone.pid}.{host}.tmp", f".b.{os.getpid()}.{host}.tmp", f".c.{gone.pid}.another-host.tmp"]
    for name in names:
        (archive.folder / name).touch()
    archive.sweep()
    assert sorted(p.name for p in archive.folder.glob(".*.tmp")) == sorted(names[1:])
