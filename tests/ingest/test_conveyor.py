"""One batch is archived while the one before is recorded; what cannot be recorded is kept for another try."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from db import inputs
from db.errors import Unavailable
from ingest.intake import Intake
from tests.bench import Bench
from tests.builders import note_bytes, write_tree


def fill(bench: Bench, count: int) -> None:
    write_tree(bench.inbox, {f"{n}.txt": note_bytes(f"Cough for {n} days.") for n in range(count)})
    bench.turn()


def test_a_batch_is_begun_before_the_one_ahead_of_it_is_recorded(
    bench_of: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, steps = bench_of(intake_batch=2), list[str]()
    for name in ("begin", "finish"):
        real = getattr(Intake, name)

        def noted(*args: object, name: str = name, real: Callable[..., object] = real) -> object:
            steps.append(name)
            return real(*args)

        monkeypatch.setattr(Intake, name, noted)
    fill(bench, 6)
    bench.turn()
    assert steps == ["begin", "begin", "finish", "begin", "finish", "finish"]
    assert bench.files() == {"ready": 6}


@pytest.mark.parametrize("call", [1, 3, 5])
def test_a_batch_that_cannot_be_recorded_and_the_one_behind_it_are_recorded_later(
    bench_of: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    bench, calls, real = bench_of(intake_batch=2), 0, inputs.accept

    def away(*args: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Unavailable("database: away")
        return real(*args, **more)  # type: ignore[arg-type]

    fill(bench, 6)
    monkeypatch.setattr(inputs, "accept", away)
    with pytest.raises(Unavailable):
        bench.turn()
    assert bench.files()["pending"] >= 2
    bench.settle()
    assert (bench.files(), len(bench.sent), bench.left()) == ({"ready": 6}, 6, [])
    assert [p for p in bench.archive.folder.iterdir() if p.is_file()] == []


def test_a_batch_that_cannot_be_read_leaves_nothing_half_archived(
    bench_of: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, calls, real = bench_of(intake_batch=2), 0, Intake._read

    def away(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Unavailable("no process to read it in")
        return real(*args)  # type: ignore[arg-type]

    fill(bench, 6)
    monkeypatch.setattr(Intake, "_read", away)
    with pytest.raises(Unavailable):
        bench.turn()
    assert [p for p in bench.archive.folder.iterdir() if p.is_file()] == []
    bench.settle()
    assert (bench.files(), len(bench.sent), bench.left()) == ({"ready": 6}, 6, [])
