"""What a run of the benchmark may write on the page, and what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import figures, run
from benchmarks.figures import Figure

TEXT = "by hand\n<!-- figures -->\n{}\n<!-- end of figures -->\nby hand too\n"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "kept.json"
    figures.record(
        path, "record", [Figure(bar=5, what="a chain", unit="ms", runs={"wetread": [1.0]})], [], 1.0
    )
    return path


def test_what_was_measured_replaces_the_figures_alone(tmp_path: Path, kept: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(TEXT.format("\n### record\n\nold"))
    assert run._publish(page, kept) == []
    told = page.read_text()
    assert told.startswith("by hand\n")
    assert told.endswith("by hand too\n")
    assert "a chain" in told
    assert "old" not in told


def test_a_page_that_tells_of_more_than_was_measured_stays_as_it_is(tmp_path: Path, kept: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(before := TEXT.format("\n### intake\n\nold\n\n### record\n\nold"))
    assert run._publish(page, kept) == ["intake"]
    assert page.read_text() == before


def test_a_share_s_figures_are_kept_apart(tmp_path: Path) -> None:
    code = (
        "import sys, types\nfrom benchmarks import run\n"
        "sys.modules['benchmarks.record'] = types.SimpleNamespace(run=lambda _: [])\nsys.exit(run.main())"
    )
    page = tmp_path / "page.md"
    page.write_text(before := TEXT.format(""))
    subprocess.run(
        [sys.executable, "-c", code, "--only", "record", "--share", "0.5", "--keep", str(tmp_path / "k.json"),
         "--page", str(page), "--folder", str(tmp_path)],
        check=True, capture_output=True, cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "tests:."},
    )  # fmt: skip
    assert page.read_text() == before
    assert list(json.loads((tmp_path / "k-0.5.json").read_text())) == ["record"]
    assert not (tmp_path / "k.json").exists()


@pytest.mark.parametrize(("ended", "code"), [([0, 0], 0), ([0, 1], 1), ([-9, 0], 1)])
def test_a_part_that_was_killed_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, ended: list[int], code: int
) -> None:
    left = iter(ended)
    monkeypatch.setattr(
        run.subprocess, "run", lambda command, check: subprocess.CompletedProcess(command, next(left))
    )
    monkeypatch.setattr(sys, "argv", ["run", "--only", "record,intake"])
    assert run.main() == code
