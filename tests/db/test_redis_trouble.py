"""A Redis that is gone, and one that answers and does not write, are told apart, each with its cure."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from redis import Redis

from console import valkey
from db import queue
from db.settings import Settings


@pytest.fixture
def own(settings: Settings) -> Iterator[Redis]:
    """A Valkey of its own, to be hurt."""
    with (settings.folder("logs") / "valkey.log").open("wb") as log:
        process = valkey.start(settings, log)
    client = queue.connect(settings.redis)
    yield client
    client.close()
    process.kill()
    process.wait(10)


def test_one_that_takes_what_is_written_has_no_trouble(redis: Redis) -> None:
    assert queue.trouble(redis) is None


def test_one_that_is_not_there_does_not_answer() -> None:
    assert queue.trouble(queue.connect("redis://127.0.0.1:1/0")) == queue.GONE


def test_one_that_cannot_write_to_its_disk_says_so(own: Redis, settings: Settings) -> None:
    own.config_set("save", "3600 1")
    shutil.rmtree(settings.folder("valkey"))  # its disk fails
    own.bgsave()
    while own.info("persistence")["rdb_bgsave_in_progress"]:  # a look a round trip
        pass
    found = queue.trouble(own)
    assert found
    assert (found.answers, found.met) == (True, "answers, but cannot write to its disk")
    assert "free space" in found.cure


def test_one_that_is_full_says_so(own: Redis) -> None:
    own.config_set("maxmemory", 1)
    found = queue.trouble(own)
    assert found
    assert found.met == "answers, but is out of memory"


def test_a_wrong_password_is_no_silence(own: Redis, settings: Settings) -> None:
    stranger = queue.connect(settings.redis.replace("redis://:", "redis://:x"))
    found = queue.trouble(stranger)
    assert found
    assert (found.answers, found.met) == (True, "answers, but refuses user or password")
