"""The ingest loop goes on after a turn that failed, whatever it failed of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from db.archive import Batch
from db.errors import Unavailable
from db.records import Evidence
from ingest import reading
from ingest.pace import BURST
from ingest.service import BATCHES, run
from tests.bench import Bench
from tests.builders import dicom_bytes, note_bytes, write_tree


def test_a_database_that_is_away_at_the_start_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, tries, resume = threading.Event(), 0, bench.ingest.resume

    def away_once() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable("database: OperationalError")
        resume()

    monkeypatch.setattr(bench.ingest, "resume", away_once)
    monkeypatch.setattr(bench.ingest, "tick", lambda _: stop.set())
    run(bench.ingest, stop)
    assert tries == 2


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


def test_nothing_more_is_claimed_while_the_archive_cannot_be_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise Unavailable("archive: cannot write")

    monkeypatch.setattr(Batch, "put", full)
    write_tree(bench.inbox, {"a.txt": note_bytes("Fever since Monday.")})
    for _ in range(4):
        with suppress(Unavailable):
            bench.turn()
    write_tree(bench.inbox, {f"{n}.txt": note_bytes(f"Cough for {n} days.") for n in range(5)})
    for _ in range(4):
        with suppress(Unavailable):
            bench.turn()
    assert len(list(bench.inbox.iterdir())) == 5
    monkeypatch.undo()
    bench.settle()
    assert bench.files() == {"ready": 6}


def test_one_file_that_no_row_can_hold_is_set_aside_and_the_others_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = reading.read

    def strange(path: Path, **more: Any) -> Evidence:
        found = real(path, **more)
        return replace(found, facts={**found.facts, "odd": object()})  # type: ignore[dict-item]

    monkeypatch.setattr(reading, "read", strange)
    write_tree(bench.inbox, {"a.dcm": dicom_bytes(), "b.txt": note_bytes("Fever since Monday.")})
    bench.settle()
    assert (bench.files(), bench.refused()) == ({"quarantined": 1, "ready": 1}, ["internal-error"])


def test_the_next_turn_comes_when_the_next_file_has_rested(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(tick_seconds=60.0, settle_seconds=5.0)
    write_tree(bench.inbox, {"a.txt": note_bytes("Fever.")})
    bench.turn()
    assert bench.ingest.pause()[1] == pytest.approx(5.0)
    bench.turn(4.0)
    assert bench.ingest.pause()[1] == pytest.approx(1.0)
    bench.turn(1.0)
    assert bench.files() == {"ready": 1}


def test_without_anything_to_wait_for_the_next_turn_comes_after_a_tick(bench: Bench) -> None:
    bench.turn()
    assert bench.ingest.pause()[1] == bench.settings.tick_seconds


def test_a_turn_that_took_all_that_one_may_is_followed_at_once(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(intake_batch=1)
    write_tree(bench.inbox, {f"{n}.txt": note_bytes(f"Cough for {n} days.") for n in range(BATCHES + 1)})
    bench.turn()
    bench.turn()
    assert (bench.files()["pending"], bench.ingest.pause()) == (1, (0.0, 0.0))
    bench.turn()
    assert bench.ingest.pause()[1] == bench.settings.tick_seconds


def test_turns_that_go_on_having_work_are_kept_a_tick_apart(bench: Bench) -> None:
    pauses = []
    for number in range(BURST + 2):
        write_tree(bench.inbox, {f"{number}.txt": note_bytes(f"Cough for {number} days.")})
        bench.turn(0.0)
        bench.ingest.tick([f"{number}.txt"])
        pauses.append(bench.ingest.pause()[0])
    tick = bench.settings.tick_seconds
    assert pauses[: BURST - 1] == [0.0] * (BURST - 1)
    assert min(pauses[BURST - 1 :]) >= tick
    bench.turn(BURST * 2 * tick)
    assert bench.ingest.pause()[0] == 0.0
