"""An ingest of its own for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from db.archive import Archive
from db.keys import Keys
from db.settings import Settings
from db.store import Store, migrate
from tests.bench import Bench


@pytest.fixture
def bench_of(settings: Settings, key: Keys, redis: Redis) -> Iterator[Callable[..., Bench]]:
    """Makes a bench; settings may be changed by name."""
    stores = []

    def make(**changes: object) -> Bench:
        chosen = settings.model_copy(update=changes)
        store = Store(chosen.database, key, anchor=chosen.home / "audit.anchor")
        stores.append(store)
        migrate(store)
        return Bench(chosen, store, Archive(chosen.folder("archive"), key), redis)

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def bench(bench_of: Callable[..., Bench]) -> Bench:
    """A bench with the settings as they are."""
    return bench_of()
