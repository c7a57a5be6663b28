"""Runs a service that stumbles at one exact point: killed, delayed, crashed or lied to; for the fault tests.

usage: stumble.py ACTION MODULE:NAME[:before|after[:N]] [...] -- the rest is wetread's own command line
Points are named as `console.services:run_ingest`; `ACTION` is `kill`, `sleepS`, `segv`, `oom`, `raise`,
`mute`, `visibility=S`, or a lie (`nan`, `inf`, `none`, `short`). Further points follow after a comma, as
`ACTION@POINT`.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

POISON = "segfault-here"


def _act(action: str, arguments: tuple[Any, ...]) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action.startswith("sleep"):
        time.sleep(float(action[5:]))
    elif action in ("segv", "oom") and POISON in "".join(getattr(p, "text", "") for p in arguments[-1]):
        if action == "segv":
            ctypes.string_at(0)
        os.kill(os.getpid(), signal.SIGKILL)  # what the kernel's out-of-memory killer does
    elif action == "raise":
        raise OSError(28, "No space left on device")


def _lie(action: str, diagnoses: Any) -> Any:
    """What a broken model answers."""
    from dataclasses import replace

    if action == "none":
        return None
    if action == "short":
        return diagnoses[:-1]
    return [
        replace(d, findings=tuple(replace(f, probability=float(action), positive=False) for f in d.findings))
        for d in diagnoses
    ]


def _wrap(action: str, point: str) -> None:
    module_name, _, rest = point.partition(":")
    name, _, when = rest.partition(":")
    when, _, nth = when.partition(":")
    owner: Any = importlib.import_module(module_name)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    inner: Callable[..., Any] = getattr(owner, last)
    if action.startswith("visibility="):
        seconds = float(action.partition("=")[2])
        setattr(owner, last, lambda url, **_: inner(url, visibility_seconds=seconds))
        return
    calls = 0

    def stumbling(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        due = not nth or calls == int(nth)
        if action == "mute":
            return None
        if due and when != "after":
            _act(action, arguments)
        result = inner(*arguments, **named)
        if action in ("nan", "inf", "none", "short"):
            return _lie(action, result)
        if due and when == "after":
            _act(action, arguments)
        return result

    setattr(owner, last, stumbling)


def main() -> None:
    """Prepares the points and becomes wetread."""
    action, points, sys.argv[1:] = sys.argv[1], sys.argv[2], sys.argv[3:]
    for one in points.split(","):
        act, _, point = one.rpartition("@")
        _wrap(act or action, point)
    from console.cli import main as wetread

    wetread()


if __name__ == "__main__":
    main()
