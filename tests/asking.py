"""Commands asked in this process, and a small installation to ask them of."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from db.settings import Settings
from db.store import Store


class Said(NamedTuple):
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


Wetread = Callable[..., Said]


class Home(NamedTuple):
    """A small real installation: a note read, a job failed, a file in quarantine."""

    settings: Settings
    store: Store
    done: str
    failed: str
    quarantined: str


def parsed(said: Said) -> Any:
    assert said.err == ""
    return json.loads(said.out)


def checks(said: Said) -> dict[str, Any]:
    return {check["check"]: check for check in json.loads(said.out)}
