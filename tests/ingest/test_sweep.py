"""A stop between the commit and the tidying loses nothing that could not be sealed."""

from __future__ import annotations

import os

import pytest

from ingest import quarantine
from ingest.intake import Intake
from tests.bench import Bench


def test_a_refused_link_is_kept_though_the_stop_came_before_it_was_moved(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.inbox / "link.txt").symlink_to("/etc/hostname")
    monkeypatch.setattr(Intake, "_tidy", lambda *_: None)
    bench.settle()
    monkeypatch.undo()
    bench.again()
    (place,) = bench.settings.folder("quarantine").iterdir()
    assert os.path.lexists(place / quarantine.LINK)
    assert bench.left() == []
