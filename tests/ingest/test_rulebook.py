"""The rules file while ingest runs: read again when it changed; a bad one changes nothing but the audit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from db import metrics
from db.errors import Misconfigured, Unavailable
from ingest.rulebook import RuleBook
from tests.bench import CARDS, Bench
from tests.builders import dicom_bytes, note_bytes, write_tree

STAT = '[[rule]]\nname = "films"\nmatch = { modality = "DX", path = "er/**" }\nlane = "stat"\n'
OFF = STAT.replace("stat", "off-peak")


class Book:
    """A rule book with its clock in the test's hand."""

    def __init__(self, bench: Bench) -> None:
        self.now = 0.0
        self.path = bench.settings.rules
        self.book = RuleBook(bench.settings, bench.store, CARDS, lambda: self.now)

    def lane(self) -> str | None:
        """The lane of the one rule in force, after the file has rested."""
        for _ in range(3):
            self.now += 1.0
            found = self.book.current()
        return found.rules[0].lane if found.rules else None


def audited(bench: Bench) -> list[str]:
    query = text("SELECT action FROM audit WHERE action LIKE 'rules:%' ORDER BY seq")
    with bench.store.read() as connection:
        return list(connection.scalars(query))


def write(bench: Bench, content: str) -> None:
    bench.settings.rules.write_text(content)


def test_a_changed_file_is_taken_into_force_once_it_rests(bench: Bench) -> None:
    write(bench, STAT)
    book = Book(bench)
    write(bench, OFF)
    assert book.book.current().rules[0].lane == "stat"
    assert book.lane() == "off-peak"
    assert audited(bench) == ["rules:loaded", "rules:loaded"]


def test_a_bad_file_is_refused_and_the_last_good_one_stays(bench: Bench) -> None:
    write(bench, STAT)
    book = Book(bench)
    before = metrics.rules_refused._value.get()
    write(bench, STAT + "lane = 7\n")
    assert book.lane() == "stat"
    assert audited(bench) == ["rules:loaded", "rules:refused"]
    assert metrics.rules_refused._value.get() == before + 1
    assert Book(bench).lane() == "stat"  # after a restart as well


def test_a_bad_file_with_no_good_one_before_stops_the_start(bench: Bench) -> None:
    write(bench, "[[rule]]\nnome = 1")
    with pytest.raises(Misconfigured, match="rules test"):
        Book(bench)


def test_a_removed_file_is_no_rules_and_no_old_ones_come_back(bench: Bench) -> None:
    write(bench, STAT)
    book = Book(bench)
    book.path.unlink()
    assert book.lane() is None
    write(bench, "[[rule]]\nnome = 1")
    with pytest.raises(Misconfigured):
        Book(bench)


def test_a_named_file_that_is_absent_stops_the_start(bench_of: Callable[..., Bench], tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="not there"):
        bench_of(rules_file=tmp_path / "none.toml")


def test_intake_puts_a_film_in_the_lane_of_its_rule_and_notes_why(bench: Bench) -> None:
    write(bench, '[[rule]]\nname = "ct"\nmatch.modality = "CT"\n' + STAT)
    write_tree(
        bench.inbox,
        {"er/a.dcm": dicom_bytes(), "ward/b.dcm": dicom_bytes(), "er/c.txt": note_bytes("Cough.")},
    )
    bench.settle(bench.again())
    with bench.store.read() as connection:
        lanes = sorted(tuple(r) for r in connection.execute(text("SELECT model, lane FROM jobs")))
        details = [json.loads(d) for d in connection.scalars(
            text("SELECT detail FROM audit WHERE action = 'file:routed'"))]  # fmt: skip
    assert lanes == [("film", "routine"), ("film", "stat"), ("words", "routine")]
    (fired,) = [d for d in details if d["rule"] == "films"]
    assert fired["earlier"] == {"ct": "modality is DX, not CT"}


def rules_test(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "WETREAD_HOME": str(home)}
    command = [sys.executable, "-m", "console.cli", "rules", "test", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=170, check=False)


def test_the_command_says_which_rule_fires_and_leaves_the_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (note,) = write_tree(home / "inbox", {"er/a.txt": note_bytes("Cough.", note_type="emergency")})
    (home / "rules.toml").write_text(
        STAT + '[[rule]]\nname = "er"\nmatch.path = "er/*"\nlane = "stat"\nmodels = ["note-assertion"]\n'
    )
    done = rules_test(home, str(note), "--json")
    (row,) = json.loads(done.stdout)
    assert (row["rule"], row["models"], row["lane"], row["policy"]) == (
        "er", ["note-assertion"], "stat", "wait",
    )  # fmt: skip
    assert row["earlier"] == [{"rule": "films", "why_not": "modality is not known"}]
    assert note.exists()


def test_the_command_fails_on_a_bad_file_of_rules_and_says_the_line(tmp_path: Path) -> None:
    (film,) = write_tree(tmp_path, {"a.dcm": dicom_bytes()})
    (tmp_path / "new.toml").write_text("[[rule]]\nnome = 1")
    done = rules_test(tmp_path / "home", str(film), "--rules", str(tmp_path / "new.toml"))
    assert (done.returncode, "line 1" in done.stderr) == (1, True)


def test_a_change_while_the_database_is_away_is_taken_and_audited_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(bench, STAT)
    book = Book(bench)
    write(bench, OFF)

    def away() -> None:
        raise Unavailable("database: away")

    with monkeypatch.context() as broken:
        broken.setattr(bench.store, "write", away)
        with pytest.raises(Unavailable):
            book.lane()
    assert book.lane() == "off-peak"
    assert audited(bench) == ["rules:loaded", "rules:loaded"]
