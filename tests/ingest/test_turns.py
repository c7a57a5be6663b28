"""The ingest loop goes on after a turn that failed, whatever it failed of."""

from __future__ import annotations

import threading

import pytest

from ingest.service import run
from tests.bench import Bench


@pytest.mark.parametrize("fault", [ValueError, OSError, RecursionError])
def test_a_failed_turn_does_not_end_the_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    stop, turns = threading.Event(), 0

    def tick(_: object) -> None:
        nonlocal turns
        turns += 1
        if turns == 1:
            raise fault
        stop.set()

    monkeypatch.setattr(bench.ingest, "tick", tick)
    run(bench.ingest, stop)
    assert turns == 2
