"""Zip archives: every entry a file of its own, or the archive refused whole; nothing outside touched."""

from __future__ import annotations

import io
import stat
import struct
import time
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from db.errors import Rejected
from ingest import unpack
from ingest.intake import Intake
from ingest.unpack import Limits
from tests.bench import Bench
from tests.builders import dicom_bytes, note_bytes, write_tree, zipped

LIMITS = Limits(entries=100, bytes=64 * 2**20, ratio=100, free=2**40)


def refusal(path: Path, limits: Limits = LIMITS) -> str:
    with pytest.raises(Rejected) as met:
        unpack.entries(path, limits)
    return met.value.code


def archive_at(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    return path


def test_each_entry_is_a_file_of_its_own_with_the_archive_as_its_parent(bench: Bench) -> None:
    films = {f"study/{n}.dcm": dicom_bytes() for n in range(3)}
    write_tree(bench.inbox, {"cd.zip": zipped({**films, "note.txt": b"Cough."})})
    bench.settle()
    assert bench.files() == {"ready": 4, "done": 1}
    assert (len(bench.sent), bench.left()) == (4, [])
    with bench.store.read() as connection:
        (parent,) = connection.scalars(text("SELECT file_id FROM v_files WHERE reason = 'unpacked'"))
        parents = set(connection.scalars(text("SELECT parent_id FROM v_files WHERE state = 'ready'")))
    assert parents == {parent}
    assert bench.store.verify_audit().ok


def test_folders_and_sidecars_in_an_archive_say_whose_a_note_is(bench: Bench) -> None:
    tree = {"patient=7/a.txt": b"Cough.", "b.txt": b"Fever.", "b.json": b'{"patient_id": "7"}'}
    write_tree(bench.inbox, {"notes.zip": zipped(tree)})
    bench.settle()
    with bench.store.read() as connection:
        patients = set(connection.scalars(text("SELECT patient FROM cases")))
    assert patients == {bench.store.keys.pseudonym("p", "number", "", "7")}
    assert bench.files() == {"ready": 2, "done": 1, "ignored": 1}


def test_a_bad_entry_is_refused_alone(bench: Bench) -> None:
    tree = {"a.dcm": dicom_bytes(), "b.dcm": b"text" * 99, "Thumbs.db": b"x", "__MACOSX/a.dcm": b"x"}
    write_tree(bench.inbox, {"cd.zip": zipped(tree)})
    bench.settle()
    assert (bench.files(), bench.refused()) == (
        {"ready": 1, "quarantined": 1, "ignored": 2, "done": 1}, ["not-dicom"],
    )  # fmt: skip


def test_an_archive_in_an_archive_is_refused_and_its_neighbours_are_read(bench: Bench) -> None:
    tree = {"a.dcm": dicom_bytes(), "inner.zip": zipped({"b.dcm": dicom_bytes()})}
    write_tree(bench.inbox, {"cd.zip": zipped(tree)})
    bench.settle()
    assert (bench.files(), bench.refused()) == ({"ready": 1, "quarantined": 1, "done": 1}, ["zip-nested"])


def test_one_name_twice_is_two_files(bench: Bench) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.dcm", dicom_bytes())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.dcm", dicom_bytes())
    write_tree(bench.inbox, {"cd.zip": out.getvalue()})
    bench.settle()
    assert bench.files() == {"ready": 2, "done": 1}


def test_an_empty_archive_is_done(bench: Bench) -> None:
    write_tree(bench.inbox, {"cd.zip": zipped({})})
    bench.settle()
    assert bench.files() == {"done": 1}


def test_an_archive_still_being_written_is_waited_for(bench: Bench) -> None:
    whole = zipped({"a.dcm": dicom_bytes(rows=64, columns=64)})
    write_tree(bench.inbox, {"cd.zip": whole[:-30]})
    bench.settle()
    assert bench.files() == {"pending": 1}
    write_tree(bench.inbox, {"cd.zip": whole})
    bench.settle()
    assert bench.files() == {"ready": 1, "done": 1}


def test_an_archive_cut_off_for_good_is_quarantined_as_damaged(bench: Bench) -> None:
    write_tree(bench.inbox, {"cd.zip": zipped({"a.dcm": dicom_bytes()})[:-30]})
    for _ in range(10):
        bench.turn(10)
    assert bench.refused() == ["zip-damaged"]


def test_a_stop_between_unpacking_and_recording_doubles_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(BaseException):
        """The process dies here."""

    def stopped(*_: object) -> None:
        raise Stop

    write_tree(bench.inbox, {"cd.zip": zipped({f"{n}.dcm": dicom_bytes() for n in range(3)})})
    for step in ("_record", "_tidy"):
        with monkeypatch.context() as broken:
            broken.setattr(Intake, step, stopped)
            with pytest.raises(Stop):
                bench.settle()
        bench.ingest = bench.again()
    bench.settle()
    assert (bench.files(), len(bench.sent), bench.left()) == ({"ready": 3, "done": 1}, 3, [])


UNSAFE = ["../../evil.dcm", "/etc/evil.dcm", "a/../../evil.dcm", "C:\\evil.dcm", "..\\evil.dcm", "a\0b.dcm"]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_path_that_leads_outside_is_refused_with_nothing_unpacked(bench: Bench, name: str) -> None:
    """zipfile itself will not write a NUL, so that the name is put into the bytes afterwards."""
    plain = name.replace("\0", "!")
    data = zipped({"good.dcm": dicom_bytes(), plain: b"evil"}).replace(plain.encode(), name.encode())
    outside = sorted(bench.settings.home.parent.iterdir())
    write_tree(bench.inbox, {"cd.zip": data})
    bench.settle()
    assert (bench.files(), bench.refused()) == ({"quarantined": 1}, ["zip-unsafe"])
    assert (sorted(bench.settings.home.parent.iterdir()), bench.left()) == (outside, [])


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert refusal(archive_at(tmp_path, out.getvalue())) == "zip-unsafe"


def test_a_method_whose_decoder_takes_what_memory_it_is_told_is_refused(tmp_path: Path) -> None:
    assert refusal(archive_at(tmp_path, zipped({"a": b"x" * 99}, zipfile.ZIP_LZMA))) == "zip-unsafe"


def test_an_encrypted_entry_is_refused_by_name(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.txt": b"secret"}))
    data[data.rfind(b"PK\x01\x02") + 8] |= 1  # general purpose bit 0 of the directory's entry
    assert refusal(archive_at(tmp_path, bytes(data))) == "zip-encrypted"


def test_an_archive_of_too_many_entries_is_a_bomb(tmp_path: Path) -> None:
    assert refusal(archive_at(tmp_path, zipped({str(n): b"" for n in range(101)}))) == "zip-bomb"


def test_a_count_that_the_end_record_alone_claims_is_a_bomb_before_anything_is_read(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": b""}))
    struct.pack_into("<H", data, data.rfind(b"PK\x05\x06") + 10, 60_000)
    assert refusal(archive_at(tmp_path, bytes(data))) == "zip-bomb"


WIDE = Limits(entries=100, bytes=2**40, ratio=10**6, free=2**40)


@pytest.mark.parametrize("asked", ["bytes", "ratio", "free"])
def test_a_bomb_is_told_from_the_directory_within_little_memory(tmp_path: Path, asked: str) -> None:
    path = archive_at(tmp_path, zipped({"zeros": bytes(48 * 2**20)}))
    tracemalloc.start()
    assert refusal(path, replace(WIDE, **{asked: 2**20 if asked != "ratio" else 100})) == "zip-bomb"
    assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    tracemalloc.stop()


def test_unpacking_takes_little_memory_however_large_an_entry_is(tmp_path: Path) -> None:
    path = archive_at(tmp_path, zipped({"zeros": bytes(48 * 2**20)}))
    tracemalloc.start()
    unpack.extract(path, unpack.entries(path, WIDE), lambda entry: tmp_path / f"out-{entry.index}")
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()
    assert (tmp_path / "out-0").stat().st_size == 48 * 2**20


def test_a_checksum_that_does_not_hold_leaves_nothing_unpacked(tmp_path: Path) -> None:
    data = zipped({"a": b"first" * 99, "b": b"second" * 99}, zipfile.ZIP_STORED)
    path = archive_at(tmp_path, data.replace(b"second", b"SECOND"))
    with pytest.raises(Rejected, match="zip-damaged"):
        unpack.extract(path, unpack.entries(path, LIMITS), lambda entry: tmp_path / f"out-{entry.index}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_of_any_damaged_archive_only_rejected_or_its_entries_come_out(
    tmp_path: Path, data: st.DataObject
) -> None:
    base = bytearray(zipped({"a.txt": b"one" * 40, "folder/b.txt": note_bytes("two")}))
    for _ in range(data.draw(st.integers(1, 4))):
        base[data.draw(st.integers(0, len(base) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(base)))
    folder = tmp_path / str(time.monotonic_ns())
    folder.mkdir()
    path = archive_at(folder, bytes(base[: cut if data.draw(st.booleans()) else len(base)]))
    try:
        found = unpack.entries(path, LIMITS)
        unpack.extract(path, found, lambda entry: folder / f"out-{entry.index}")
    except Rejected:
        found = []
    assert len(list(folder.iterdir())) == 1 + len(found)
