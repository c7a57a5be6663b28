"""Real processes: a whole `wetread up` in a home of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from running import Running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An installation on the embedded defaults, shared by a module's tests."""
    found = Running(tmp_path_factory.mktemp("up") / "home").start()
    yield found
    assert found.process is not None
    if found.process.poll() is None:
        assert found.stop() == 0
