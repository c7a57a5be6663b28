"""A training's words as a progress bar: lines such as `step 40/200` move it, others stand above it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_COUNT = re.compile(r"\b(\d+)/(\d+)\b")


@contextmanager
def bar(stream: TextIO, *, title: str = "training") -> Iterator[Callable[[str], None]]:
    """The `progress` callable of a training. On a terminal a bar with the time left; else plain lines."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(file=stream, highlight=False, markup=False)
    if not console.is_terminal:
        yield lambda line: console.print(line, soft_wrap=True)
        return
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[said]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=console) as shown:
        task = shown.add_task(title, total=None, said="")

        def say(line: str) -> None:
            count = _COUNT.search(line)
            if not count:
                console.print(line)
                return
            done, total = int(count[1]), int(count[2])
            if done < shown.tasks[0].completed:  # another fold, seed or network begins
                shown.reset(task)
            shown.update(task, completed=done, total=total, said=line[count.end() :].strip())

        yield say
