"""Routing rules: what an input is, and where it came, decide its models, lane and completeness policy.

Rules stand in a TOML file, in order; the first that matches an input decides. They look at attributes
from the record's facts, which hold no free text: a series is chosen by what it is, not by what somebody
called it. Without a rule that matches, every model whose card asks for the input reads it (docs/rules.md).
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from db.errors import Misconfigured
from db.records import Evidence
from models.card import ModelCard

DEFAULT = "default"  #: the decision's rule when none matched
Facts = Mapping[str, str | int | float | bool | None]


class BadRules(Misconfigured):
    """A rules file that is refused; `line` is where."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"rules: line {line}: {reason}")
        self.line = line
        self.reason = reason


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Range(_Strict):
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


class Match(_Strict):
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


class Rule(_Strict):
    """One rule: what it matches, and what then happens."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")
    match: Match = Match()
    models: Literal["all", "none"] | Annotated[list[str], Field(min_length=1)] = "all"
    lane: Literal["stat", "routine", "off-peak"] = "routine"
    policy: Literal["wait", "partial", "quarantine"] = "wait"  #: for what is incomplete


class _File(_Strict):
    rule: list[Rule] = []


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An input as rules see it."""

    kind: str
    facts: Facts
    path: str = ""  #: below the inbox, POSIX form; never shown: it may name a patient
    site: str = ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Which rule fired, what follows, and why each rule before it did not."""

    rule: str
    models: tuple[str, ...] | None = None  #: None: every model whose card asks for the input
    lane: str = "routine"
    policy: str = "wait"
    earlier: tuple[tuple[str, str], ...] = ()  #: (rule, why it did not match), in order


@dataclass(frozen=True)
class Rules:
    """The rules in force."""

    rules: tuple[Rule, ...] = ()
    digest: str = ""  #: SHA-256 of the file's bytes; empty without a file

    @property
    def count_slices(self) -> bool:
        """Does a rule ask for what is known of a whole series alone?"""
        return any(rule.match.slices is not None for rule in self.rules)

    def models_of(self, lanes: Collection[str]) -> frozenset[str] | None:
        """The models that work in these lanes can be for; None when it can be any."""
        if Decision(rule=DEFAULT).lane in lanes:
            return None
        named: set[str] = set()
        for rule in self.rules:
            if rule.lane in lanes and isinstance(rule.models, str):
                if rule.models == "all":
                    return None
            elif rule.lane in lanes:
                named.update(rule.models)
        return frozenset(named)

    def decide(self, subject: Subject) -> Decision:
        """The first rule that matches decides; without one, the default does."""
        earlier: list[tuple[str, str]] = []
        for rule in self.rules:
            why = mismatch(rule.match, subject)
            if why is None:
                chosen = {"all": None, "none": ()}.get(rule.models, ()) if isinstance(rule.models, str) else (
                    tuple(rule.models))  # fmt: skip
                return Decision(
                    rule=rule.name, models=chosen, lane=rule.lane, policy=rule.policy, earlier=tuple(earlier)
                )
            earlier.append((rule.name, why))
        return Decision(rule=DEFAULT, earlier=tuple(earlier))


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
            if not any(re.fullmatch(_path_pattern(p), seen.path) for p in _listed(wanted)):
                return f"path is not {_shown(wanted)}"
        elif name == "site":
            if not _is_one_of(seen.site, wanted):
                return f"site is not {_shown(wanted)}"
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
        holds = _is_one_of(value, wanted) or (
            name == "image_type" and any(_is_one_of(part, wanted) for part in value.split("\\"))
        )
    else:
        holds = any(_holds(number, value) for number in _listed(wanted))
    return None if holds else f"{name} is {value}, not {_shown(wanted)}"


def _holds(wanted: int | Range, value: float) -> bool:
    if isinstance(wanted, Range):
        return (wanted.min is None or value >= wanted.min) and (wanted.max is None or value <= wanted.max)
    return value == wanted


def _is_one_of(value: str, wanted: Any) -> bool:
    # DICOM's code strings are upper case; a rule in lower case means the same
    return any(fnmatch.fnmatchcase(value.lower(), _literal(word).lower()) for word in _listed(wanted))


def _literal(word: str) -> str:
    """`[` has no meaning of its own in a rule."""
    return word.replace("[", "[[]")


def _path_pattern(glob: str) -> str:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(meaning.get(part, re.escape(part)) for part in parts)


def _listed(wanted: Any) -> Sequence[Any]:
    return wanted if isinstance(wanted, list) else [wanted]


def _shown(wanted: Any) -> str:
    def one(value: Any) -> str:
        if not isinstance(value, Range):
            return str(value)
        low = "" if value.min is None else f"at least {value.min:g}"
        high = "" if value.max is None else f"at most {value.max:g}"
        return " and ".join(part for part in (low, high) if part)

    return " or ".join(one(value) for value in _listed(wanted))


def parse(data: bytes, cards: Sequence[ModelCard]) -> Rules:
    """The rules of a file's bytes, checked against the models that are served.

    Raises BadRules with the line and the reason: not TOML, an unknown key, a wrong value, two rules of
    one name, a model that is not there, or one that cannot read what the rule matches.
    """
    try:
        text = data.decode("utf-8")
        found = _File(**tomllib.loads(text))
    except UnicodeDecodeError as error:
        raise BadRules(data[: error.start].count(b"\n") + 1, "not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        raise BadRules(int(at[1]) if at else data.count(b"\n") + 1, f"not TOML: {error}") from None
    except ValidationError as error:
        # of a value that fits none of several types, what says most comes first
        first = sorted(error.errors(include_url=False, include_input=False), key=_is_of_type)[0]
        written = [p for p in first["loc"] if isinstance(p, str) and re.search(rf"\b{re.escape(p)}\b", text)]
        where = ".".join(written) if first["type"] != "missing" else f"{first['loc'][-1]}"
        raise BadRules(_line(text, first["loc"]), f"{where or 'rule'}: {first['msg']}") from None
    for index, rule in enumerate(found.rule):
        problem = _problem(rule, found.rule[:index], cards)
        if problem is not None:
            raise BadRules(_line(text, ("rule", index, problem[0])), f"rule {rule.name}: {problem[1]}")
    return Rules(tuple(found.rule), hashlib.sha256(data).hexdigest())


def _is_of_type(error: ErrorDetails) -> bool:
    return error["type"].endswith("_type")


def _problem(rule: Rule, before: Sequence[Rule], cards: Sequence[ModelCard]) -> tuple[str, str] | None:
    """What is wrong with a rule, as (key, reason)."""
    if rule.name in {other.name for other in before}:
        return "name", "a rule before it has this name"
    kinds = _kinds(rule.match)
    if not kinds:
        return "match", "nothing can match: it asks for what notes have and for what images have"
    known = {card.name: card for card in cards}
    for name in rule.models if isinstance(rule.models, list) else ():
        if name not in known:
            return "models", f"no model {name} is served here; there are {', '.join(known) or 'none'}"
        needs = known[name].needs
        if needs.kind not in kinds:
            return (
                "models",
                f"{name} reads {needs.kind}s, and this rule matches {' and '.join(sorted(kinds))}s",
            )
        asked = _listed(rule.match.modality) if rule.match.modality else []
        if needs.modalities and asked and not any(_is_one_of(m, asked) for m in needs.modalities):
            return (
                "models",
                f"{name} reads {', '.join(needs.modalities)}, and this rule matches {_shown(asked)}",
            )
    return None


def _kinds(match: Match) -> set[str]:
    """The kinds of input that a rule can match."""
    kinds = set(_listed(match.kind)) if match.kind is not None else {"image", "note", "document"}
    given = {name for name in Match.model_fields if getattr(match, name) is not None}
    if given & OF_DICOM:
        kinds -= {"note"}
    if given & OF_NOTES:
        kinds &= {"note"}
    return kinds


def _line(text: str, where: Sequence[str | int]) -> int:
    """The line a finding is about: the key's, within its rule's table; else the rule's first."""
    lines = text.splitlines()
    starts = [n for n, line in enumerate(lines, 1) if re.match(r"\s*\[\[\s*[\"']?rule[\"']?\s*\]\]", line)]
    first, last = 1, len(lines)
    index = next((part for part in where if isinstance(part, int)), None)
    if index is not None and index < len(starts):
        first = starts[index]
        last = starts[index + 1] - 1 if index + 1 < len(starts) else len(lines)
    for key in reversed([part for part in where if isinstance(part, str) and part.isidentifier()]):
        for number in range(first, last + 1):
            if re.search(rf"(?:^|[\s{{,.\[]){re.escape(key)}\s*(?:=|\.|\])", lines[number - 1]):
                return number
    return first
