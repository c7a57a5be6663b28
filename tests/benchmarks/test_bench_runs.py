"""The benchmark runs and its figures come out; their size is nobody's concern here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("decoders", "intake", "pipeline", "scale")


@pytest.mark.timeout(1200)
def test_every_figure_comes_out_and_stands_on_the_page(tmp_path: Path) -> None:
    kept, page = tmp_path / "kept.json", tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\n<!-- figures -->\nOUTDATED\n<!-- end of figures -->\n\n## Why\n")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--short", "--only", ",".join(PARTS), "--keep", str(kept),
         "--page", str(page), "--folder", str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": "tests:."}, capture_output=True, text=True, check=False,
        timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + kept.with_suffix(".log").read_text()[-2000:]
    held = json.loads(kept.read_text())
    assert set(held) == set(PARTS)
    assert all(entry["figures"] for entry in held.values())
    for entry in held.values():
        for figure in entry["figures"]:
            assert all(value > 0 for runs in figure["runs"].values() for value in runs), figure["what"]
            assert figure["what"] in page.read_text()
    assert "OUTDATED" not in page.read_text()
    assert page.read_text().endswith("## Why\n")
