"""What the console's tests share: commands asked in this process, a small installation, an empty one."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from redis import Redis
from sqlalchemy import text

from console import cli
from db import claims, inputs, jobs, ledger
from db.archive import Archive
from db.jobs import Owed
from db.ledger import Sighting
from db.records import Evidence, Identity, Kind
from db.settings import Settings
from db.store import Store, migrate, open_store
from models import registry
from tests.asking import Home, Said, Wetread
from tests.bench import Bench
from tests.builders import write_tree
from worker.diagnose import Diagnoser
from worker.runtime import Runtime


@pytest.fixture
def own_models() -> Iterator[None]:
    """Homes whose models the registry was told of are forgotten at the end."""
    yield
    registry._homes.clear()
    registry.cards.cache_clear()


@pytest.fixture
def wetread(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wetread:
    """Runs the real entry point in this process."""

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["wetread", *arguments])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def home(
    settings: Settings, valkey_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Home]:
    monkeypatch.setenv("WETREAD_HOME", str(settings.home))
    monkeypatch.setenv("WETREAD_REDIS_URL", valkey_url)
    store, archive = open_store(settings, create_key=True)
    migrate(store)
    card = registry.card("note-assertion")
    owed = Owed(model=card.name, version=card.version, weights_sha256=card.weights_sha256)
    done = _owe(store, archive, b"Known asthma. Denies fever.", owed)
    runtime = Runtime("cpu")
    runtime.load([card])
    Diagnoser(settings, store, archive, runtime, "worker-1").diagnose(done)
    failed = _owe(store, archive, b"Cough.", Owed(model="gone", version="1", weights_sha256="a"))
    (job,) = claims.claim(store, failed, worker="w", lease_seconds=60)
    jobs.give_back(store, job, "forward: ValueError at x.py:1", final=True, max_attempts=3)
    bench = Bench(settings, store, archive, redis)
    write_tree(bench.inbox, {"Canary Clara.txt": b"\xff\xfe\xfd bad"})
    bench.settle()
    with store.read() as connection:
        held = str(connection.scalar(text("SELECT id FROM files WHERE state = 'quarantined'")))
    yield Home(settings, store, done, failed, held)
    store.close()


@pytest.fixture
def empty(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An installation that nothing was dropped into."""
    monkeypatch.setenv("WETREAD_HOME", str(settings.home))
    store, _ = open_store(settings, create_key=True)
    migrate(store)
    yield settings
    store.close()


def _owe(store: Store, archive: Archive, data: bytes, owed: Owed) -> str:
    digest = archive.put_bytes(data)
    with store.write() as writer:
        file_id = ledger.see(writer, [Sighting(name=digest, suffix=".txt", bytes=len(data))])[digest]
        evidence = Evidence(kind=Kind.NOTE, identity=Identity(number="MRN-7700123", name="Canary^Clara"))
        inputs.accept(writer, file_id, evidence, digest=digest, size=len(data), owed=[owed])
    return jobs.take_owed(store)[0][0]
