"""Which of the installed models an installation serves."""

from __future__ import annotations

import pytest

from db.errors import Misconfigured
from models.registry import cards, served


def test_every_model_is_served_where_none_is_named() -> None:
    assert served("") == cards()


def test_only_the_named_models_are_served() -> None:
    assert [c.name for c in served(" note-diagnosis, note-assertion,")] == [
        "note-assertion",
        "note-diagnosis",
    ]


def test_a_model_that_is_not_installed_cannot_be_served() -> None:
    with pytest.raises(Misconfigured, match="no model named 'crystal-ball'"):
        served("note-assertion,crystal-ball")
