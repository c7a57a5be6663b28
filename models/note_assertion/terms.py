"""Our own word lists, read from the TOML files beside this module: problems, triggers and headings."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: The questions asked of every problem, in the order in which one answer outranks another.
QUESTIONS = ("family", "negated", "historical", "uncertain")

#: The files that are this family's weights.
FILES = (
    "problems.toml",
    "negated.toml",
    "uncertain.toml",
    "historical.toml",
    "family.toml",
    "sections.toml",
)

_MUTE_S = frozenset(("ss", "is", "us", "as", "os"))


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem of the vocabulary."""

    term: str  #: canonical name, the only one stored with a finding
    code: str  #: ICD-10-CM
    meaning: str  #: the code's title
    also: tuple[str, ...] = ()  #: synonyms, abbreviations, spellings
    capitals: tuple[str, ...] = ()  #: abbreviations that count only in capitals
    absent: tuple[str, ...] = ()  #: words that by themselves deny it: afebrile

    def spellings(self) -> tuple[str, ...]:
        """Every way it is written in any case, plurals included."""
        names = (self.term, *self.also)
        return tuple(dict.fromkeys((*names, *(plural(n) for n in names))))


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The problems, and the phrases that hold a problem's word but speak of something else."""

    problems: tuple[Problem, ...]
    ignored: tuple[str, ...]


def plural(name: str) -> str:
    """The name with its last word in the plural; unchanged where none is formed.

    >>> plural("rib fracture"), plural("biopsy"), plural("sepsis")
    ('rib fractures', 'biopsies', 'sepsis')
    """
    if len(name) < 4 or not name[-1].isalpha() or name[-2:] in _MUTE_S or name.endswith("s"):
        return name
    if name.endswith("y") and name[-2] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("x", "ch", "sh")) else f"{name}s"


def _read(folder: Path, file: str) -> dict[str, object]:
    return tomllib.loads((folder / file).read_text("utf-8"))


def vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary in problems.toml."""
    listed = _read(folder, "problems.toml")
    entries: list[dict[str, object]] = listed["problem"]  # type: ignore[assignment]
    problems = tuple(
        Problem(**{k: tuple(v) if isinstance(v, list) else v for k, v in e.items()})  # type: ignore[arg-type]
        for e in entries
    )
    return Vocabulary(problems=problems, ignored=tuple(listed["ignored"]))  # type: ignore[arg-type]


def triggers(folder: Path, question: str) -> dict[str, object]:
    """A question's terms: pseudo, preceding, following, termination and reach (words)."""
    return _read(folder, f"{question}.toml")


def sections(folder: Path) -> Mapping[str, str]:
    """Heading in lower case -> the question that it answers for all lines beneath it."""
    listed: dict[str, list[str]] = _read(folder, "sections.toml")  # type: ignore[assignment]
    return {heading: question for question, headings in listed.items() for heading in headings}
