"""What the console's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models import registry


@pytest.fixture
def own_models() -> Iterator[None]:
    """Homes whose models the registry was told of are forgotten at the end."""
    yield
    registry._homes.clear()
    registry.cards.cache_clear()
