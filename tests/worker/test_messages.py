"""A queue that cannot write is one that is away: the worker waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import ResponseError

from worker.messages import Channel, Client

FULL = "MISCONF Errors writing to the AOF file: No space left on device"  # Valkey's own words


def answering(client: Client, word: str) -> list[Callable[[], Any]]:
    """Asks a real server for this error, alone and with other commands."""
    script = f"return server.error_reply('{word}')"
    together = client.pipeline(transaction=False)
    together.eval(script, 0)
    return [lambda: client.eval(script, 0), together.execute]


def test_a_server_that_cannot_write_is_away(valkey_url: str) -> None:
    for ask in answering(Client.from_url(valkey_url), FULL):
        with pytest.raises(NotConnected, match="is its disk full"):
            ask()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("READONLY You can't write against a read only replica.", "read-only replica"),
        ("NOREPLICAS Not enough good replicas to write.", "lacks the replicas"),
    ],
)
def test_so_is_one_that_may_not_write(valkey_url: str, word: str, told: str) -> None:
    for ask in answering(Client.from_url(valkey_url), word.replace("'", "")):
        with pytest.raises(NotConnected, match=told):
            ask()


def test_any_other_answer_is_what_it_is(valkey_url: str) -> None:
    for ask in answering(Client.from_url(valkey_url), "ERR something else"):
        with pytest.raises(ResponseError, match="something else"):
            ask()


def test_celery_is_given_such_clients() -> None:
    assert Channel._get_client(object.__new__(Channel)) is Client
