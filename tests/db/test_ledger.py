"""The ledger: one state a file, and one open row a path."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from db import ledger
from db.errors import Misconfigured
from db.ledger import Sighting
from db.records import FileState
from db.store import Store, Writer


def see(writer: Writer, *names: str) -> dict[str, str]:
    return ledger.see(writer, [Sighting(name=n, suffix=".dcm", bytes=1) for n in names])


def count(store: Store) -> int:
    with store.read() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM files")) or 0)


def test_a_path_seen_twice_keeps_its_one_open_row(store: Store) -> None:
    with store.write() as writer:
        first = see(writer, "a.dcm")
    with store.write() as writer:
        assert see(writer, "a.dcm") == first
    assert count(store) == 1


def test_a_path_that_comes_again_after_it_was_concluded_is_a_new_file(store: Store) -> None:
    with store.write() as writer:
        ledger.conclude(writer, see(writer, "a.dcm")["a.dcm"], FileState.READY)
    with store.write() as writer:
        see(writer, "a.dcm")
    assert count(store) == 2


def test_a_withdrawn_path_may_come_again(store: Store) -> None:
    for _ in range(2):
        with store.write() as writer:
            ledger.conclude(writer, see(writer, "a.dcm")["a.dcm"], FileState.IGNORED, reason="withdrawn")
    assert count(store) == 2


def test_a_concluded_file_is_not_concluded_again(store: Store) -> None:
    with store.write() as writer:
        file_id = see(writer, "a.dcm")["a.dcm"]
        assert ledger.conclude(writer, file_id, FileState.QUARANTINED, reason="empty")
        assert not ledger.conclude(writer, file_id, FileState.READY)
    with store.read() as connection:
        assert ledger.state_of(connection, file_id) is FileState.QUARANTINED


def test_a_released_file_is_the_same_row_and_pending(store: Store) -> None:
    with store.write() as writer:
        file_id = see(writer, "a.dcm")["a.dcm"]
        ledger.conclude(writer, file_id, FileState.QUARANTINED, reason="empty")
        ledger.reopen(writer, file_id, "a.dcm")
    with store.write() as writer:
        assert see(writer, "a.dcm") == {"a.dcm": file_id}


def test_only_a_quarantined_file_can_be_released(store: Store) -> None:
    with store.write() as writer:
        file_id = see(writer, "a.dcm")["a.dcm"]
    with pytest.raises(Misconfigured, match="not in quarantine"), store.write() as writer:
        ledger.reopen(writer, file_id, "a.dcm")


def test_an_open_file_tells_its_name_to_the_next_start(store: Store) -> None:
    with store.write() as writer:
        see(writer, "folder/Zoë 1.dcm")
    with store.read() as connection:
        assert [f.name for f in ledger.open_files(connection, store.keys)] == ["folder/Zoë 1.dcm"]


def test_a_name_that_is_no_utf8_is_kept(store: Store) -> None:
    with store.write() as writer:
        file_id = see(writer, "caf\udce9.txt")["caf\udce9.txt"]
    with store.read() as connection:
        assert ledger.name_of(connection, store.keys, file_id) == "caf\udce9.txt"


def test_a_thousand_files_at_once_each_get_a_row(sqlite_store: Store) -> None:
    with sqlite_store.write() as writer:
        found = see(writer, *(f"{n}.dcm" for n in range(1000)))
    assert len(set(found.values())) == 1000
