"""Worlds to break, on SQLite and on PostgreSQL, and the table of what was seen."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import report
from faults.postgres import Postgres
from faults.world import World, assert_sound


class Seen:
    """What a row's test saw, for the table."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    def saw(self, words: str) -> None:
        self._item.user_properties.append(("seen", words))

    def recovered(self, seconds: float) -> None:
        self._item.user_properties.append(("seconds", f"{seconds:.1f}"))


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Seen:
    return Seen(request.node)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("faultpg"))
    yield server
    server.close()


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("sqlite", marks=pytest.mark.xdist_group("faults-sqlite")),
        pytest.param("postgresql", marks=pytest.mark.xdist_group("faults-postgresql")),
    ],
)
def one_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world for all rows that leave it whole, one a database."""
    for name in [n for n in os.environ if n.startswith("WETREAD_") and n != "WETREAD_DATA"]:
        del os.environ[name]
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres").database()
    world = World(tmp_path_factory.mktemp("faults") / "home", url)
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def world(one_world: World) -> Iterator[World]:
    """The world, up and calm; and sound afterwards, whatever the test did to it."""
    one_world.ensure()
    yield one_world
    one_world.ensure()
    one_world.settle(seconds=120)
    assert_sound(one_world)


@pytest.fixture
def own_world(tmp_path: Path) -> Iterator[World]:
    """A world of the test's own, on SQLite, not started."""
    found = World(tmp_path / "home")
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    """An environment in which the wall clock is off by the seconds in a file, and that file."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: the clock cannot be shifted; tests/db holds leases to Store(now=...)")
    folder = tmp_path_factory.mktemp("clock")
    library, offset = folder / "clock.so", folder / "offset"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    offset.write_text("0")
    return {"LD_PRELOAD": str(library), "CLOCK_FILE": str(offset)}, offset


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The short run tries on PostgreSQL what depends on the database: not hostile files or models."""
    for item in items:
        alike = item.path.stem in ("test_hostile", "test_files") or "row_19" in item.name
        if item.path.parent == Path(__file__).parent and alike and "postgresql" in item.name:
            item.own_markers = [mark for mark in item.own_markers if mark.name != "faults_short"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """Collects each row's outcome where a table is asked for."""
    found = yield
    path = os.environ.get("FAULTS_TABLE")
    row = re.match(r"test_row_(\d+)", item.name)
    if path and row and (found.when == "call" or found.outcome != "passed"):
        report.note(Path(path), int(row.group(1)), item.name, found)
    return found
