"""The command `settings`: all of them, and each wrong one by name, what was met and what was expected."""

from __future__ import annotations

import json

import pytest

from db.settings import Settings
from tests.asking import Wetread

SECRET = "hunter2"
WRONG = [
    ("SETTLE_SECONDS", "soon", "WETREAD_SETTLE_SECONDS: met 'soon', expected a valid number"),
    ("HTTP_PORT", "99999", "met '99999', expected less than or equal to 65535"),
    ("WATCH_MODE", "maybe", "met 'maybe', expected 'auto', 'events' or 'polling'"),
    ("LEASE_SECONDS", "4", "lease_seconds (4) must be more than twice heartbeat_seconds (5)"),
    ("DEVCE", "cpu", "WETREAD_DEVCE is no setting; did you mean WETREAD_DEVICE?"),
    ("REDIS_URL", SECRET, "WETREAD_REDIS_URL: met a value that is not shown, expected a URL such as"),
]


def test_settings_show_meaning_and_no_secret(wetread: Wetread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WETREAD_DATABASE_URL", f"postgresql+psycopg://u:{SECRET}@h/d")
    said = wetread("settings", "--json")
    found = {s["name"]: s for s in json.loads(said.out)}
    assert set(found) == {f"WETREAD_{name.upper()}" for name in Settings.model_fields}
    assert all(s["meaning"] for s in found.values())
    assert SECRET not in said.out + wetread("settings").out


@pytest.mark.parametrize(("name", "value", "sentence"), WRONG, ids=[name for name, _, _ in WRONG])
def test_a_wrong_setting_is_named_below_all_of_them(
    wetread: Wetread, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"WETREAD_{name}", value)
    said = wetread("settings", "--json")
    assert (said.code, len(json.loads(said.out))) == (1, len(Settings.model_fields))
    assert sentence in said.err
    assert SECRET not in said.out + said.err


def test_every_wrong_setting_is_told_at_once(
    empty: Settings, wetread: Wetread, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty.home / "wetread.toml").write_text("setle_seconds = 1\nhttp_port = 'x'\nthreads = 2")
    monkeypatch.setenv("WETREAD_DEVCE", "cpu")
    monkeypatch.setenv("WETREAD_SCAN_SECONDS", "-1")
    said = wetread("settings", "--json")
    for name in ("WETREAD_DEVCE", "WETREAD_SCAN_SECONDS", "setle_seconds", "http_port"):
        assert name in said.err
    found = {s["name"]: s for s in json.loads(said.out)}
    assert (found["WETREAD_THREADS"]["value"], found["WETREAD_SCAN_SECONDS"]["value"]) == ("2", "5.0")
    assert "scan_seconds".upper() in found["WETREAD_SCAN_SECONDS"]["wrong"]


def test_a_damaged_file_is_told_and_the_rest_listed(empty: Settings, wetread: Wetread) -> None:
    (empty.home / "wetread.toml").write_text("site = ")
    said = wetread("settings")
    assert (said.code, "WETREAD_SITE" in said.out, "wetread.toml" in said.err) == (1, True, True)
