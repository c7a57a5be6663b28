"""Settings that defeat each other stop the start, in a sentence that names both."""

from __future__ import annotations

from pathlib import Path

import pytest

from db.errors import Misconfigured
from db.settings import Settings, contradictions, load

WRONG = [
    ("lease_seconds = 10\nheartbeat_seconds = 5", "lease_seconds", "heartbeat_seconds"),
    (
        "visibility_seconds = 30\nlease_seconds = 60\njob_seconds_max = 60",
        "visibility_seconds",
        "lease_seconds",
    ),
    ("visibility_seconds = 300\njob_seconds_max = 301", "visibility_seconds", "job_seconds_max"),
    ("job_seconds_max = 59\nlease_seconds = 60", "job_seconds_max", "lease_seconds"),
    ("settle_seconds = 60\ntruncated_after_seconds = 60", "truncated_after_seconds", "settle_seconds"),
    ("relay_seconds = 20\nresend_after_seconds = 20", "resend_after_seconds", "relay_seconds"),
    ("canary_seconds = 31\ncanary_seconds_max = 90", "canary_seconds_max", "canary_seconds"),
    ("disk_low_bytes = 2\ndisk_resume_bytes = 1", "disk_resume_bytes", "disk_low_bytes"),
    ("file_max_bytes = 10", "file_max_bytes", "note_max_bytes"),
    ("queue_limit = 7\nbatch_size = 8", "queue_limit", "batch_size"),
]


@pytest.mark.parametrize(("stored", "one", "other"), WRONG, ids=[f"{one}-{two}" for _, one, two in WRONG])
def test_a_contradiction_is_refused_and_names_both(tmp_path: Path, stored: str, one: str, other: str) -> None:
    (tmp_path / "wetread.toml").write_text(stored)
    with pytest.raises(Misconfigured, match=rf"{one} \(.*\) must be .*{other} \("):
        load(tmp_path)


def test_the_defaults_do_not_contradict_each_other() -> None:
    assert contradictions(Settings()) == []


def test_no_limit_of_the_queue_contradicts_nothing() -> None:
    assert contradictions(Settings(queue_limit=0)) == []


def test_file_and_environment_are_judged_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wetread.toml").write_text("heartbeat_seconds = 1")
    monkeypatch.setenv("WETREAD_LEASE_SECONDS", "4")  # against the default heartbeat alone it would be wrong
    assert load(tmp_path).lease_seconds == 4
