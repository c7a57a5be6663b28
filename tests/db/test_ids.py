"""Ids: never twice, in the order of their making, whatever the clock does."""

from __future__ import annotations

import re
import time

import pytest

from db import ids


def test_ids_are_typed_in_twenty_letters_and_digits() -> None:
    assert re.fullmatch(ids.PATTERN, ids.new_id())


def test_ids_grow_in_the_order_of_their_making_and_never_repeat() -> None:
    found = [ids.new_id() for _ in range(5000)]
    assert found == sorted(set(found))


def test_a_clock_that_is_put_back_repeats_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [ids.new_id() for _ in range(100)]
    with monkeypatch.context() as earlier:
        earlier.setattr(time, "time_ns", lambda: 1_600_000_000 * 10**9)
        after = [ids.new_id() for _ in range(100)]
    assert [*before, *after] == sorted({*before, *after})
