"""Some hundred mutations of real files; `make fuzz` runs a hundred thousand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuzz.mutations import mutation, originals
from fuzz.run import run

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.timeout(1200)
def test_some_hundred_mutations_crash_hang_and_leak_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.environ.get("WETREAD_DATA", str(ROOT / ".." / "shared" / "data"))
    if Path(data).is_dir():
        monkeypatch.setenv("WETREAD_DATA", data)
    report = run(600, seed=7, processes=1)
    assert report["findings"] == []
    assert report["mutations"] == 600


def test_a_mutation_is_the_same_again_from_its_seed() -> None:
    files = originals(None)
    assert mutation(1, 2, files) == mutation(1, 2, files)
    assert mutation(1, 2, files) != mutation(1, 3, files)
