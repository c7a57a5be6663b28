"""The entry point: the system's refusals become sentences, and the samples can be had as files."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from console import cli, quarantine_commands, samples


def fails(monkeypatch: pytest.MonkeyPatch, error: OSError, *arguments: str) -> None:
    def app() -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["wetread", *arguments])
    with pytest.raises(SystemExit, match="1"):
        cli.main()


def test_a_path_that_was_typed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "out/x.png"), "explain", "out/x.png")
    assert capsys.readouterr().err == "wetread: out/x.png: No space left on device\n"


def test_a_path_that_was_not_typed_may_be_a_patient_s_and_is_not_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(monkeypatch, PermissionError(errno.EACCES, "Permission denied", "inbox/Canary Clara.txt"), "status")
    said = capsys.readouterr().err
    assert "Permission denied" in said
    assert "Canary" not in said


def test_the_samples_are_written_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(samples, "files", lambda: {"notes/chest.txt": b"Cough.", "films/a.dcm": b"DICM"})
    monkeypatch.setattr(sys, "argv", ["wetread", "demo", "--samples", str(tmp_path / "own")])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert (tmp_path / "own" / "notes" / "chest.txt").read_bytes() == b"Cough."
    assert capsys.readouterr().out == f"2 files in {tmp_path / 'own'}\n"


def test_a_name_that_the_terminal_cannot_say_is_escaped() -> None:
    code = "import sys; from console import cli; cli.app = lambda: print('M\\udcffller'); cli.main()"
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=strict, check=True
    )
    assert done.stdout == "M\\udcffller\n"


def test_a_name_that_would_move_the_cursor_is_escaped() -> None:
    assert quarantine_commands.shown("Zoë\n\x1b[2J") == "Zoë\\n\\x1b[2J"
