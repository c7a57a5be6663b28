"""Thousands of files in one folder: all found, all accounted for, a bounded number a turn."""

from __future__ import annotations

from pathlib import Path

from ingest.service import BATCHES
from ingest.watch import Inbox
from tests.bench import Bench

MANY = 5000


def fill(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"{number}.txt").touch()


def test_every_file_is_offered_once_a_bounded_number_at_a_time(tmp_path: Path) -> None:
    fill(tmp_path, MANY)
    inbox = Inbox(tmp_path, settle_seconds=1)
    new, _ = inbox.scan(0.0)
    offered: list[str] = []
    while ready := inbox.settled(2.0, limit=700)[0]:
        assert len(ready) <= 700
        offered += [item.name for item in ready]
        for item in ready:
            inbox.forget(item.name)
    assert sorted(offered) == sorted(new)
    assert len(set(offered)) == MANY


def test_a_file_that_is_postponed_does_not_hold_up_those_behind_it(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    inbox = Inbox(tmp_path, settle_seconds=1)
    inbox.scan(0.0)
    (first, *_), _ = inbox.settled(2.0, limit=1)
    inbox.postpone(first.name, 99.0)
    names = {item.name for item in inbox.settled(2.0, limit=19)[0]}
    assert (len(names), first.name in names) == (19, False)


def test_a_crowded_folder_is_on_record_after_one_scan(bench: Bench) -> None:
    fill(bench.inbox, MANY)
    bench.turn()
    assert bench.files() == {"pending": MANY}


def test_one_turn_takes_no_more_than_its_share(bench_of: object) -> None:
    bench: Bench = bench_of(intake_batch=2)  # type: ignore[operator]
    for number in range(3 * BATCHES):
        (bench.inbox / f"{number}.txt").write_text(f"Cough {number}.")
    bench.turn()
    bench.turn()
    assert bench.files() == {"ready": 2 * BATCHES, "pending": BATCHES}
    bench.turn()
    assert bench.files() == {"ready": 3 * BATCHES}
