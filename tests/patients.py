"""Families that read one patient's values, in tests: a model opened once, its invented patient changed."""

import functools
import os
from dataclasses import replace
from pathlib import Path

from db.records import Diagnosis
from models import registry
from models.payloads import Payload, Table, Value
from models.registry import Model

DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))


@functools.cache
def opened(name: str) -> Model:
    return registry.load(name, "cpu")


def patient(name: str, **changes: Value | None) -> Table:
    """The family's example with these values; None takes one away."""
    known = registry.family(name).example()
    assert isinstance(known, Table)
    values = {**known.values, **changes}
    return replace(known, values={key: value for key, value in values.items() if value is not None})


def examine(name: str, payload: Payload) -> Diagnosis:
    (found,) = opened(name).examine([payload])
    return found
