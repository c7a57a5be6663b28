"""Work done beside other work: the next begun before it is asked for, the last finished behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(work: Callable[[T], R], parts: Iterable[T]) -> Iterator[R]:
    """What work makes of each part, in order; while one result is used the next is made, in a thread.

    A lone part is worked on here. What work raises is raised when its result is asked for.
    """
    rest = iter(parts)
    first = list(islice(rest, 2))
    if len(first) < 2:
        yield from map(work, first)
        return
    pool = ThreadPoolExecutor(1, "ahead")
    try:
        coming = pool.submit(work, first[0])
        for part in chain(first[1:], rest):
            ready = coming.result()
            coming = pool.submit(work, part)
            yield ready
        yield coming.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def abreast(
    work: Callable[[T], R], parts: Iterable[T], lanes: int, begin: Callable[[], object] = lambda: None
) -> Iterator[R]:
    """What work makes of each part, in order; as many are worked on at once as there are lanes.

    Each lane is a thread, made ready by `begin`; as many parts more wait at hand. A lone lane is this
    thread, as it is. What work raises is raised when its result is asked for.
    """
    if lanes < 2:
        yield from map(work, parts)
        return
    pool = ThreadPoolExecutor(lanes, "lane", initializer=begin)
    coming: deque[Future[R]] = deque()
    try:
        for part in parts:
            coming.append(pool.submit(work, part))
            if len(coming) >= 2 * lanes:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def behind(work: Callable[[T], None], *, alone: bool = False) -> Iterator[Callable[[T], None]]:
    """Gives a function that has work done in a thread, in order, one behind: it waits for the one before.

    All is done when the block ends; what work raised is raised by then. alone: works here, without a thread.
    """
    if alone:
        yield work
        return
    last: Future[None] | None = None

    def give(what: T) -> None:
        nonlocal last
        if last is not None:
            last.result()
        last = pool.submit(work, what)

    with ThreadPoolExecutor(1, "behind") as pool:
        yield give
        if last is not None:
            last.result()
