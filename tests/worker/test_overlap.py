"""Work beside other work: the order holds, nothing is left undone, and what is raised is heard."""

from __future__ import annotations

import threading

import pytest

from worker.overlap import abreast, ahead, behind


def test_results_come_in_the_order_of_the_parts() -> None:
    assert list(ahead(lambda n: n * n, [1, 2, 3, 4])) == [1, 4, 9, 16]


def test_the_next_part_is_worked_on_while_one_is_used() -> None:
    begun = {n: threading.Event() for n in (1, 2)}
    results = ahead(lambda n: begun[n].set(), [1, 2])
    next(results)
    assert begun[2].wait(60)
    list(results)


def test_a_lone_part_needs_no_thread() -> None:
    assert list(ahead(lambda _: threading.current_thread(), [1])) == [threading.current_thread()]


def test_what_a_part_raises_is_raised_at_its_turn() -> None:
    results = ahead(lambda n: 1 // n, [1, 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_part_is_asked_for_when_its_turn_to_be_made_comes() -> None:
    asked: list[int] = []
    results = ahead(lambda n: n, (asked.append(n) or n for n in range(9)))
    next(results)
    assert asked == [0, 1]


def test_lanes_work_at_once_and_their_results_come_in_order() -> None:
    together = threading.Barrier(2)

    def work(n: int) -> int:
        together.wait(60)  # broken where they would work one after the other
        return n

    assert list(abreast(work, range(8), 2, lambda: None)) == list(range(8))


def test_each_lane_is_begun_once() -> None:
    begun: list[str] = []
    list(abreast(str, range(20), 2, lambda: begun.append(threading.current_thread().name)))
    assert len(begun) == len(set(begun)) <= 2


def test_a_lone_lane_is_this_thread_as_it_is() -> None:
    lanes = abreast(lambda _: threading.current_thread(), [1, 2], 1, lambda: pytest.fail("begun"))
    assert list(lanes) == [threading.current_thread()] * 2


def test_what_a_lane_raises_is_raised_at_its_turn() -> None:
    results = abreast(lambda n: 1 // n, [1, 0, 1], 2, lambda: None)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("alone", [True, False])
def test_all_that_was_given_is_done_in_order_when_the_block_ends(alone: bool) -> None:
    done: list[int] = []
    with behind(done.append, alone=alone) as give:
        for n in range(5):
            give(n)
    assert done == [0, 1, 2, 3, 4]


def test_the_giver_goes_on_while_one_is_worked_on() -> None:
    may_end = threading.Event()
    in_time: list[bool] = []
    with behind(lambda _: in_time.append(may_end.wait(60))) as give:
        give(1)
        may_end.set()  # reached although the work waits for it
    assert in_time == [True]


@pytest.mark.parametrize("given", [1, 2])
def test_what_the_work_raises_reaches_the_giver(given: int) -> None:
    def fail(n: int) -> None:
        raise LookupError(n)

    def run() -> None:
        with behind(fail) as give:
            for n in range(given):
                give(n)

    with pytest.raises(LookupError):
        run()


def test_what_was_given_is_done_even_when_the_block_raises() -> None:
    done: list[int] = []

    def run() -> None:
        with behind(done.append) as give:
            give(1)
            raise LookupError

    with pytest.raises(LookupError):
        run()
    assert done == [1]
