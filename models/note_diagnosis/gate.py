"""Whether a note tells the model enough to answer: its words must be words that training taught."""

from __future__ import annotations

from collections.abc import Callable

from models import text
from models.note_diagnosis.features import content

#: different content words of the vocabulary a note must hold; 852 of the 853 training texts do
FEWEST_KNOWN = 5
KNOWN_SHARE = 0.5  #: of its different content words, the part that must be in the vocabulary

_LISTED = """
a about after again all also always am an and any are as at be because been before being both but by
can could did do does doing don't down during each few for from further had has have having he her
here his how i i'd i'll i'm i've if in into is it it's its just me more most my no nor not now of
off often on once only or other our out over own please quite rather really recently same she should
so some sometimes such than that the their them then there these they this those through to too
under until up very was we were what when where which while who why will with without would you your
additionally well along even every feel feeling felt get getting go going keep lot make makes making
much many one two three day days week weeks month time times today yesterday lately lastly new like
still us may might must
"""
#: Words that speak of no illness: grammar, and the padding of letters and lists.
EMPTY_WORDS = frozenset(_LISTED.split())


def known(note: str, knows: Callable[[str], bool]) -> tuple[int, int]:
    """(content words of the vocabulary, content words), each different word counted once."""
    forms = {w.form for w in content(note) if w.form not in EMPTY_WORDS and not w.form[0].isdigit()}
    return sum(knows(f) for f in forms), len(forms)


def stranger(note: str, knows: Callable[[str], bool]) -> bool:
    """Whether the note says too little that the model has ever seen."""
    inside, every = known(note, knows)
    return inside < FEWEST_KNOWN or inside < KNOWN_SHARE * every


_DENIALS = frozenset(("no", "denies", "denied", "denying", "without", "negative", "never", "not"))
_DENIAL_ENDS = frozenset(
    (".", ";", ":", "!", "?", "but", "except", "however", "has", "have", "having", "is", "are")
)


def denied(note: str) -> set[str]:
    """The words that stand only after a denial, up to its clause's end: no rash, denies cough or fever."""
    inside: set[str] = set()
    affirmed: set[str] = set()
    open_clause = False
    for word in text.words(note):
        if word.form in _DENIALS:
            open_clause = True
        elif word.form in _DENIAL_ENDS:
            open_clause = False
        else:
            (inside if open_clause else affirmed).add(word.form)
    return inside - affirmed


def mostly_denied(note: str, knows: Callable[[str], bool]) -> bool:
    """Whether over half of the known content words are denied; the regression cannot tell no from yes."""
    forms = {w.form for w in content(note) if w.form not in EMPTY_WORDS and knows(w.form)}
    return 2 * len(forms & denied(note)) > len(forms)
