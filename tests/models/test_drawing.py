"""Pages are self-contained, say what they are told, and cannot be made to run anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import drawing

words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


@given(words)
def test_a_page_escapes_what_it_is_told(word: str) -> None:
    evil = f"<script>{word}</script>"
    told = drawing.page(
        evil, drawing.paragraph(evil), drawing.table([evil], [[evil]]), drawing.letters(evil, [])
    )
    assert b"<script" not in told
    assert told.startswith(b"<!doctype html>")


def test_letters_are_shaded_by_strength_and_sign() -> None:
    told = drawing.letters("ACGT", [(1, 2, 1.0), (3, 4, -0.5)])
    assert told.count("<span") == 2
    assert 'title="+1.00">C<' in told
    assert 'title="-0.50">T<' in told


def test_a_figure_is_carried_inside_the_page() -> None:
    told = drawing.page("t", drawing.figure(b"\x89PNG", 'a "b"'))
    assert b'src="data:image/png;base64,iVBORw=="' in told
    assert b"http" not in told


@pytest.mark.parametrize(
    ("share", "told"), [(0.534, "53 %"), (0.9951, "over 99 %"), (0.99, "99 %"), (0.0004, "under 1 %")]
)
def test_no_probability_is_told_as_certain(share: float, told: str) -> None:
    assert drawing.percent(share) == told
