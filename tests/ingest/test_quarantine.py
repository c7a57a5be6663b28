"""Quarantine: sealed, explained, and nothing in it that names a patient; release and purge keep the row."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from db import reports
from db.errors import Misconfigured, Rejected, Unavailable
from db.keys import Keys
from ingest import quarantine
from tests.bench import Bench
from tests.builders import dicom_bytes, write_tree

CANARY = b"Canary^Clara MRN-7700123 coughs. \xff"  # no UTF-8, hence refused
FIELDS = {
    "file_id", "code", "sentence", "what_to_do", "stage", "sha256", "bytes", "quarantined_at", "wetread",
}  # fmt: skip


@pytest.fixture
def refused(bench: Bench) -> str:
    """The id of a note in quarantine that names a patient in its text and its file name."""
    write_tree(bench.inbox, {"Canary Clara/MRN-7700123.txt": CANARY})
    bench.settle()
    return only(bench)


def only(bench: Bench) -> str:
    with bench.store.read() as connection:
        return str(connection.scalar(text("SELECT id FROM files")))


def folder(bench: Bench) -> Path:
    return bench.settings.folder("quarantine")


def test_a_reason_has_every_promised_field(bench: Bench, refused: str) -> None:
    found = quarantine.reason(folder(bench), refused)
    assert set(found) == FIELDS
    assert (found["file_id"], found["code"], found["stage"], found["bytes"]) == (
        refused, "undecodable-text", "read", len(CANARY),
    )  # fmt: skip


def test_a_reason_is_what_the_ledger_says(bench: Bench, refused: str) -> None:
    found = quarantine.reason(folder(bench), refused)
    with bench.store.read() as connection:
        row = connection.execute(text("SELECT reason, sentence, digest FROM v_files")).one()
    assert tuple(row) == (found["code"], found["sentence"], found["sha256"])


def test_nothing_below_quarantine_names_the_patient(bench: Bench, refused: str) -> None:
    kept = [p for p in folder(bench).rglob("*") if p.is_file()]
    told = b"".join(str(p).encode() + p.read_bytes() for p in kept)
    assert {p.name for p in kept} == {quarantine.PAYLOAD, quarantine.REASON}
    assert not any(word in told for word in (b"Canary", b"Clara", b"7700123"))


def test_the_refused_bytes_come_out_again_for_their_owner_alone(bench: Bench, refused: str) -> None:
    out = bench.settings.home / "out.txt"
    quarantine.extract(folder(bench), refused, bench.store.keys, out)
    assert (out.read_bytes(), out.stat().st_mode & 0o077) == (CANARY, 0)


def test_a_released_file_goes_round_again_as_the_same_row(bench: Bench) -> None:
    film = dicom_bytes()
    write_tree(bench.inbox, {"a/film.dcm": film[:-10]})
    bench.turn()
    for _ in range(4):
        bench.turn(30)
    assert bench.refused() == ["truncated"]
    row = only(bench)
    quarantine.release(bench.store, folder(bench), bench.inbox, row)
    assert bench.files() == {"pending": 1}
    write_tree(bench.inbox, {"a/film.dcm": film})  # mended meanwhile
    bench.settle()
    assert (bench.files(), only(bench), list(folder(bench).iterdir())) == ({"ready": 1}, row, [])


def test_a_released_file_that_is_refused_again_is_counted_again(bench: Bench, refused: str) -> None:
    quarantine.release(bench.store, folder(bench), bench.inbox, refused)
    bench.settle()
    with bench.store.read() as connection:
        counts = reports.quarantine_counts(connection)
    assert (bench.files(), counts) == ({"quarantined": 1}, {"undecodable-text": 2})


def test_a_release_beside_a_newer_file_of_that_name_overwrites_nothing(bench: Bench, refused: str) -> None:
    (newer,) = write_tree(bench.inbox, {"Canary Clara/MRN-7700123.txt": b"Newer."})
    quarantine.release(bench.store, folder(bench), bench.inbox, refused)
    assert newer.read_bytes() == b"Newer."
    bench.settle()
    assert bench.files() == {"ready": 1, "quarantined": 1}


def test_a_purged_file_s_bytes_are_gone_and_its_row_stays(bench: Bench, refused: str) -> None:
    quarantine.purge(bench.store, folder(bench), refused)
    assert list(folder(bench).iterdir()) == []
    assert bench.files() == {"quarantined": 1}
    with bench.store.read() as connection:
        actions = [e["action"] for e in reports.audit_entries(connection, subject=f"file:{refused}")]
    assert actions[-1] == "file:purged"


def test_a_purged_file_cannot_be_released(bench: Bench, refused: str) -> None:
    quarantine.purge(bench.store, folder(bench), refused)
    with pytest.raises(Misconfigured, match="holds no file"):
        quarantine.release(bench.store, folder(bench), bench.inbox, refused)
    assert bench.files() == {"quarantined": 1}


@pytest.mark.parametrize("file_id", ["0" * 20, "../../keys", ""])
def test_an_unknown_id_is_refused(bench: Bench, file_id: str) -> None:
    with pytest.raises(Misconfigured, match="holds no file"):
        quarantine.reason(folder(bench), file_id)


def test_a_fault_of_our_own_is_quarantined_without_its_message(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("Canary^Clara")

    monkeypatch.setattr("ingest.reading.read", broken)  # as the child says it
    write_tree(bench.inbox, {"film.dcm": dicom_bytes()})
    bench.settle()
    found = quarantine.reason(folder(bench), only(bench))
    assert (found["code"], "Canary" in json.dumps(found)) == ("internal-error", False)


def test_what_cannot_be_sealed_lies_beside_its_reason(bench: Bench) -> None:
    (bench.inbox / "link.txt").symlink_to("/nowhere")
    bench.settle()
    held = folder(bench) / only(bench)
    assert sorted(p.name for p in held.iterdir()) == [quarantine.LINK, quarantine.REASON]
    with pytest.raises(Misconfigured, match="nothing to extract"):
        quarantine.release(bench.store, folder(bench), bench.inbox, held.name)
    assert bench.files() == {"quarantined": 1}


def test_a_full_quarantine_is_waited_for(tmp_path: Path, key: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    work = tmp_path / "work"
    work.write_bytes(b"x")
    monkeypatch.setattr(quarantine, "seal_file", full)
    why = Rejected("empty", "nothing in it")
    with pytest.raises(Unavailable, match="quarantine: cannot write"):
        quarantine.put(tmp_path / "q", work, key, why, stage="read", now=datetime(2026, 1, 1, tzinfo=UTC))
