"""Words, sentences and language of a note, each with character offsets into the note's own text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.payloads import Note

#: A word is letters and digits, with inner apostrophes (don't) or a decimal point (2.5); each other
#: visible sign stands alone. A hyphen between letters is skipped, so x-ray and x ray are the same two words.
_TOKEN = re.compile(r"\d+(?:[.,]\d+)+|[^\W_]+(?:['’][^\W_]+)*|(?<=\w)-(?=\w)|[^\w\s]|_", re.UNICODE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_WORD = 64  # characters kept of a word's normal form; base64 and the like are no words
_LONGEST_SENTENCE = 160  # words; text without any full stop is cut here, so that work stays linear

_BULLET = re.compile(r"\s*(?:[-*•·+>]|\d{1,2}[.)]|[a-z][.)])\s")
_HEADING = re.compile(r"\s*[A-Z][A-Za-z0-9 /&,'()-]{1,48}:")
_TITLES = frozenset(
    ("dr", "mr", "mrs", "ms", "st", "vs", "no", "approx", "e.g", "i.e", "pt", "hx", "dx", "tx", "sx")
)


@dataclass(frozen=True, slots=True)
class Word:
    """One word: its normal form (lower case, plain apostrophe) and where it stands in the text."""

    form: str
    start: int  #: offset of the first character
    end: int  #: offset after the last character


def printable(text: str) -> str:
    """The text with lone surrogates and control characters as blanks; offsets stay the same."""
    text = _SURROGATE.sub(" ", text)
    return (
        "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
        if not text.isprintable()
        else text
    )


def words(text: str, start: int = 0, end: int | None = None) -> list[Word]:
    """The words of text[start:end], with offsets into text. Inner hyphens are left out."""
    found = []
    for match in _TOKEN.finditer(text, start, len(text) if end is None else end):
        form = match.group()
        if form == "-" and match.start() > 0 and text[match.start() - 1].isalnum():
            continue
        form = form[:_LONGEST_WORD].lower().replace("’", "'")
        found.append(Word(form, match.start(), match.end()))
    return found


def _line_breaks(text: str, at: int) -> bool:
    """Whether the newline at this offset ends a sentence rather than wraps a line."""
    following = text[at + 1 : at + 80]
    if not following.strip() or following.lstrip(" \t\r").startswith("\n"):
        return True
    if _BULLET.match(following) or _HEADING.match(following):
        return True
    line = text[text.rfind("\n", max(0, at - 200), at) + 1 : at].rstrip()
    if line.endswith((":", ";")):
        return True
    first = following.lstrip()[:1]
    return len(line) < 50 and (first.isupper() or first.isdigit()) and not line.endswith(",")


def _full_stop(text: str, at: int) -> bool:
    """Whether the . ! or ? at this offset ends a sentence: blank and a capital, digit or the end follow."""
    after = text[at + 1 : at + 12]
    rest = after.lstrip(" \t\"')]")
    if after and not after[0].isspace() and after[0] not in "\"')]":
        return False
    if text[at] != ".":
        return True
    before = re.search(r"[\w.]+$", text[max(0, at - 12) : at])
    word = before.group().lower() if before else ""
    if word in _TITLES or (len(word) == 1 and word.isalpha() and not rest[:1].isupper()):
        return False
    return not rest[:1].islower()


def sentences(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence, without blanks around it, in order and not overlapping."""
    cuts = [0]
    for match in re.finditer(r"[.!?]+|\n", text):
        at = match.end() - 1
        if text[at] == "\n" and _line_breaks(text, at):
            cuts.append(at)
        elif text[at] != "\n" and _full_stop(text, at):
            cuts.append(match.end())
    cuts.append(len(text))
    spans = []
    for start, end in pairwise(cuts):
        piece = text[start:end]
        left = start + len(piece) - len(piece.lstrip())
        right = start + len(piece.rstrip())
        if left < right:
            spans.append((left, right))
    return spans


def pieces(sentence: Sequence[Word]) -> list[Sequence[Word]]:
    """A sentence's words in runs of bounded length, cut after a comma or semicolon where there is one."""
    found, start = [], 0
    while len(sentence) - start > _LONGEST_SENTENCE:
        ends = range(start + _LONGEST_SENTENCE, start + _LONGEST_SENTENCE // 2, -1)
        end = next((e for e in ends if sentence[e - 1].form in {",", ";"}), ends[0])
        found.append(sentence[start:end])
        start = end
    return [*found, sentence[start:]] if start < len(sentence) else found


#: Function words by language: enough to tell English from its neighbours, no more.
_FUNCTION_WORDS = {
    "en": "the of and to a in is was were with for on his her he she my i have has had been no not at by as"
    " are be it this that from or an but which there denies without patient they their when after",
    "es": "el la los las del y en un una con por para que es fue no se al su lo como más pero sin hay",
    "fr": "le la les des de du en un une avec que est pas au aux sur dans il elle son sa ce plus sans",
    "de": "der die das und in ist mit von zu den dem ein eine nicht auf bei im es sich wurde keine für er",
    "it": "il lo la gli le di del della e in un una con per che è non si sono nel alla senza ha",
    "pt": "o os as de do da em um uma com por para que é não se ao no na dos mais sem foi paciente",
    "nl": "de het een en van in is met op te dat niet aan voor er zijn bij geen was heeft naar ook hij zij",
}
# single letters and numerals are lost among abbreviations
_LANGUAGES = {
    name: frozenset(word for word in listed.split() if len(word) > 1)
    for name, listed in _FUNCTION_WORDS.items()
}
_TELLING = 3  # different function words of another language that a text must hold to be taken for it


def english(text: str) -> bool:
    """Whether the text may be English: Latin letters, and no other language shows more function words.

    Telegraphic notes with hardly any function words count as English.
    """
    sample = text[:20_000]
    letters = [c for c in sample if c.isalpha()]
    if letters and sum(c < "\u0250" for c in letters) < 0.7 * len(letters):
        return False
    forms = {w.form for w in words(sample)}
    counts = {name: len(forms & listed) for name, listed in _LANGUAGES.items()}
    foreign = max(count for name, count in counts.items() if name != "en")
    return foreign < _TELLING or counts["en"] >= foreign


def refusal(note: Note, *, longest: int) -> tuple[str, str] | None:
    """(code, sentence) of why a note cannot be read: empty, too-long, not-english; None when it can."""
    if not any(c.isalpha() for c in note.text[:longest]):
        return "empty", "the note has no words"
    if len(note.text) > longest:
        return "too-long", f"{len(note.text)} characters, at most {longest} are read"
    if not note.language.lower().startswith("en"):
        return "not-english", "the note is marked as another language than English"
    if not english(note.text):
        return "not-english", "the words are not those of English"
    return None
