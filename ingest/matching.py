"""What a rule may ask of an input, and whether an input has it."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from db.records import Evidence

Facts = Mapping[str, str | int | float | bool | None]


class Strict(BaseModel):
    """A part of a rule: what it does not know of, or is of another type, is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Range(Strict):
    """Numbers from `min` to `max`, both included; one of them may be open."""

    min: float | None = Field(None, allow_inf_nan=False)
    max: float | None = Field(None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _holds_a_number(self) -> Range:
        if self.min is None and self.max is None:
            raise ValueError("a range needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("a range's min is above its max: it holds no number")
        return self


Word = Annotated[str, Field(min_length=1, max_length=128)]
Words = Word | Annotated[list[Word], Field(min_length=1)]
Numbers = int | Range | Annotated[list[int], Field(min_length=1)]
KindName = Literal[
    "image", "note", "document", "table", "variants", "expression", "sequence", "recording", "molecule"
]
Kinds = KindName | Annotated[list[KindName], Field(min_length=1)]


class Match(Strict):
    """What must hold of an input, all of it. Words may be globs; a list means any of these."""

    kind: Kinds | None = None
    modality: Words | None = None
    orientation: Words | None = None  #: transverse, coronal, sagittal
    slices: Numbers | None = None  #: of the series where that is known, else frames of a multi-frame image
    image_type: Words | None = None  #: any one value of ImageType, or all joined by backslashes
    sop_class_uid: Words | None = None
    body_part: Words | None = None
    view_position: Words | None = None
    laterality: Words | None = None
    photometric: Words | None = None
    transfer_syntax_uid: Words | None = None
    rows: Numbers | None = None
    columns: Numbers | None = None
    frames: Numbers | None = None
    bits_stored: Numbers | None = None
    series_number: Numbers | None = None
    instance_number: Numbers | None = None
    burned_in: bool | None = None
    note_type: Words | None = None
    characters: Numbers | None = None  #: length of a note
    site: Words | None = None
    path: Words | None = None  #: below the inbox; * within a folder's name, ** across folders


PLACE = frozenset(("kind", "path", "site"))  #: known of every input
OF_NOTES = frozenset(("note_type", "characters"))
OF_DICOM = frozenset(Match.model_fields) - PLACE - OF_NOTES


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An input as rules see it."""

    kind: str
    facts: Facts
    path: str = ""  #: below the inbox, POSIX form; never shown: it may name a patient
    site: str = ""


def subject(evidence: Evidence, path: str = "", site: str = "") -> Subject:
    """An accepted input as rules see it. A folder `site=NAME` on its path goes before the `site` given."""
    named = [part[5:] for part in path.split("/")[:-1] if part.startswith("site=")]
    return Subject(
        kind=str(evidence.kind), facts=evidence.facts, path=path, site=named[-1] if named else site
    )


def mismatch(match: Match, seen: Subject) -> str | None:
    """The first thing asked for that does not hold, in words that name no patient; None when all does."""
    for name in Match.model_fields:
        wanted = getattr(match, name)
        if wanted is None:
            continue
        if name == "path":
            if not any(re.fullmatch(_path_pattern(p), seen.path) for p in listed(wanted)):
                return f"path is not {shown(wanted)}"
        elif name == "site":
            if not is_one_of(seen.site, wanted):
                return f"site is not {shown(wanted)}"
        else:
            why = _differs(name, wanted, _value(seen, name))
            if why:
                return why
    return None


def _value(seen: Subject, name: str) -> str | int | float | bool | None:
    if name == "kind":
        return seen.kind
    value = seen.facts.get(name)
    if name == "slices" and value is None:
        frames = seen.facts.get("frames")
        return frames if isinstance(frames, int) and frames > 1 else None
    return value


def _differs(name: str, wanted: Any, value: str | int | float | bool | None) -> str | None:
    if value is None or value == "":
        return f"{name} is not known"
    if isinstance(wanted, bool):
        holds = value is wanted
    elif isinstance(value, str):
        holds = is_one_of(value, wanted) or (
            name == "image_type" and any(is_one_of(part, wanted) for part in value.split("\\"))
        )
    else:
        holds = any(_holds(number, value) for number in listed(wanted))
    return None if holds else f"{name} is {value}, not {shown(wanted)}"


def _holds(wanted: int | Range, value: float) -> bool:
    if isinstance(wanted, Range):
        return (wanted.min is None or value >= wanted.min) and (wanted.max is None or value <= wanted.max)
    return value == wanted


def is_one_of(value: str, wanted: Any) -> bool:
    """Whether a word is one of those wanted, which may be globs."""
    # DICOM's code strings are upper case; a rule in lower case means the same
    return any(fnmatch.fnmatchcase(value.lower(), _literal(word).lower()) for word in listed(wanted))


def _literal(word: str) -> str:
    """`[` has no meaning of its own in a rule."""
    return word.replace("[", "[[]")


def _path_pattern(glob: str) -> str:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(meaning.get(part, re.escape(part)) for part in parts)


def listed(wanted: Any) -> Sequence[Any]:
    """What is wanted as a list, be it one or any of several."""
    return wanted if isinstance(wanted, list) else [wanted]


def shown(wanted: Any) -> str:
    """What is wanted, in words."""

    def one(value: Any) -> str:
        if not isinstance(value, Range):
            return str(value)
        low = "" if value.min is None else f"at least {value.min:g}"
        high = "" if value.max is None else f"at most {value.max:g}"
        return " and ".join(part for part in (low, high) if part)

    return " or ".join(one(value) for value in listed(wanted))


def kinds_of(match: Match) -> set[str]:
    """The kinds of input that a rule can match."""
    kinds = set(listed(match.kind)) if match.kind is not None else {"image", "note", "document"}
    given = {name for name in Match.model_fields if getattr(match, name) is not None}
    if given & OF_DICOM:
        kinds -= {"note"}
    if given & OF_NOTES:
        kinds &= {"note"}
    return kinds
