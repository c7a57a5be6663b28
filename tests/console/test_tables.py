"""A table is readable at any width: folded where there is room, a block a row where there is none."""

from __future__ import annotations

import re
import sys

import pytest

from console.findings import results_table
from console.shared import table

RESULT = {
    "result_id": "1a2029cd809b6bb17859-0", "case_id": "c-c1aaab517d61196c7f41", "model": "chest-xray",
    "model_version": "1.0.0", "finding": {"code": "233604007", "system": "s", "meaning": "Pneumonia"},
    "probability": 0.999, "threshold": 0.6, "value": None, "unit": None, "positive": True, "qualifier": None,
    "reason": None, "abstained": False, "partial": False, "status": "preliminary", "evidence": {},
    "site": None,
}  # fmt: skip


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int) -> list[str]:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    results_table([RESULT])
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_every_word_of_a_result_is_whole_in_a_terminal_of_any_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    lines = printed(monkeypatch, capsys, width)
    assert max(map(len, lines)) <= width
    for word in ("1a2029cd809b6bb17859-0", "c-c1aaab517d61196c7f41", "Pneumonia", "0.999", "positive"):
        assert any(word in line for line in lines), word


def test_where_there_is_room_a_result_is_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = [line for line in printed(monkeypatch, capsys, 160) if "positive" in line]
    assert "1a2029cd809b6bb17859-0" in row


def test_a_pipe_gets_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table("", ["a", "b"], [["x" * 30, "y" * 30]])
    assert "x" * 30 + " │ " + "y" * 30 in capsys.readouterr().out
