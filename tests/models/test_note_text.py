"""Words, sentences and language of a note, with their offsets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import highlight, text


def split(note: str) -> list[str]:
    return [note[a:b] for a, b in text.sentences(note)]


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("No fever. No cough.", ["No fever.", "No cough."]),
        ("Seen by Dr. Field at 10.30. Well.", ["Seen by Dr. Field at 10.30.", "Well."]),
        ("Temp 38.5 today, took 2.5 mg. Better.", ["Temp 38.5 today, took 2.5 mg.", "Better."]),
        ("denies chest pain and\nshortness of breath", ["denies chest pain and\nshortness of breath"]),
        ("COPD\nHypertension\n", ["COPD", "Hypertension"]),
        ("- fever\n- cough", ["- fever", "- cough"]),
        ("one\n\ntwo", ["one", "two"]),
        (
            "the film shows nothing new and the heart is of normal size\nASSESSMENT: well",
            ["the film shows nothing new and the heart is of normal size", "ASSESSMENT: well"],
        ),
    ],
)
def test_sentences_end_where_a_reader_ends_them(note: str, expected: list[str]) -> None:
    assert split(note) == expected


@pytest.mark.parametrize(
    ("note", "forms"),
    [
        ("X-ray", ["x", "ray"]),
        ("doesn’t", ["doesn't"]),
        ("38.5 mg/dL", ["38.5", "mg", "/", "dl"]),
        ("fever - none", ["fever", "-", "none"]),
    ],
)
def test_words_have_one_form_for_their_spellings(note: str, forms: list[str]) -> None:
    assert [w.form for w in text.words(note)] == forms


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_words_and_sentences_stand_in_order_within_the_text(note: str) -> None:
    for spans in (text.sentences(note), [(w.start, w.end) for w in text.words(note)]):
        edges = [edge for span in spans for edge in span]
        assert edges == sorted(edges)
        assert all(a < b for a, b in spans)
        assert not edges or edges[-1] <= len(note)


@given(st.text(alphabet=st.characters()))
def test_making_a_text_printable_moves_nothing(note: str) -> None:
    clean = text.printable(note)
    assert len(clean) == len(note)
    assert all(c.isprintable() or c in "\n\t" for c in clean)


def test_pieces_are_bounded_and_lose_no_word() -> None:
    words = text.words("one, two three " * 400)
    runs = text.pieces(words)
    assert [w for run in runs for w in run] == words
    assert max(map(len, runs)) <= 160


@pytest.mark.parametrize(
    "note",
    [
        "Der Patient hat keine Fieber und wurde mit Husten auf die Station gebracht.",
        "Le patient a de la fièvre et une toux depuis trois jours, il est dans le service.",
        "La paziente non ha febbre, con tosse e dolore alla gola, per tre giorni.",
        "De patiënt heeft geen koorts, maar is met hoest op de afdeling.",
        "患者は発熱と咳を訴えている。",
    ],
)
def test_other_languages_are_told_apart(note: str) -> None:
    assert not text.english(note)


@pytest.mark.parametrize(
    "note", ["COPD. HTN. DM2. s/p CABG.", "No fever.", "Pt c/o SOB, CP x 3d. Hx CAD.", ""]
)
def test_telegraphic_notes_count_as_english(note: str) -> None:
    assert text.english(note)


@given(st.text(alphabet="<>&\"'ab \n"), st.integers(0, 9), st.integers(0, 9))
def test_a_highlighted_page_holds_the_note_escaped_and_whole(note: str, start: int, end: int) -> None:
    import html
    import re

    page = highlight.page("t", note, [highlight.Mark(start=start, end=end, kind="negated")]).decode()
    body = page[page.index('<div class="note">') + len('<div class="note">') : page.rindex("</div>")]
    assert html.unescape(re.sub(r"</?mark[^>]*>", "", body)) == note
