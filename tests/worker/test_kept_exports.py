"""An export is kept for the next start, and given back only as it was put there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from db.keys import Keys
from worker import exports
from worker.exports import Exports

EXPORT = os.urandom(3_000_000)
NAME, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def kept(tmp_path: Path, key: Keys) -> Exports:
    found = Exports(tmp_path / "exports", key)
    found.put(NAME, EXPORT)
    return found


def test_what_is_kept_is_there_at_the_next_start(kept: Exports, tmp_path: Path, key: Keys) -> None:
    assert Exports(tmp_path / "exports", key).get(NAME) == EXPORT
    assert kept.get(OTHER) is None


@pytest.mark.parametrize("place", [0, 20, 30, 1_500_000, -1])
def test_one_that_was_altered_is_not_given_back(kept: Exports, tmp_path: Path, place: int) -> None:
    path = tmp_path / "exports" / NAME
    held = bytearray(path.read_bytes())
    held[place] ^= 1
    path.write_bytes(held)
    assert kept.get(NAME) is None


def test_one_that_was_cut_is_not_given_back(kept: Exports, tmp_path: Path) -> None:
    os.truncate(tmp_path / "exports" / NAME, 1_500_000)
    assert kept.get(NAME) is None


def test_one_that_another_key_sealed_is_not_given_back(kept: Exports, tmp_path: Path) -> None:
    Exports(tmp_path / "exports", Keys(secrets.token_bytes(32))).put(NAME, b"theirs")
    assert kept.get(NAME) is None


def test_one_under_the_name_of_another_is_not_given_back(kept: Exports, tmp_path: Path) -> None:
    (tmp_path / "exports" / NAME).rename(tmp_path / "exports" / OTHER)
    assert kept.get(OTHER) is None


def test_one_that_was_refused_is_replaced(kept: Exports, tmp_path: Path) -> None:
    (tmp_path / "exports" / NAME).write_bytes(b"")
    assert kept.get(NAME) is None
    kept.put(NAME, EXPORT)
    assert kept.get(NAME) == EXPORT


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path, key: Keys) -> None:
    (tmp_path / "file").touch()
    kept = Exports(tmp_path / "file" / "exports", key)
    kept.put(NAME, EXPORT)
    assert kept.get(NAME) is None


def test_the_last_used_stay(tmp_path: Path, key: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "KEPT", 2)
    kept = Exports(tmp_path, key)
    for name, used in (("one", 1), ("two", 2)):
        kept.put(name, EXPORT[:9])
        os.utime(tmp_path / name, (used, used))
    kept.get("one")
    kept.put("three", EXPORT[:9])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three"]
