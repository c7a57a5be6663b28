"""Routing rules: what an input is, and where it came, decide its models, lane and completeness policy.

Rules stand in a TOML file, in order; the first that matches an input decides. They look at attributes
from the record's facts, which hold no free text: a series is chosen by what it is, not by what somebody
called it. Without a rule that matches, every model whose card asks for the input reads it (docs/rules.md).
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from db.errors import Misconfigured
from ingest.matching import Match, Strict, Subject, is_one_of, kinds_of, listed, mismatch, shown
from models.card import ModelCard

DEFAULT = "default"  #: the decision's rule when none matched


class BadRules(Misconfigured):
    """A rules file that is refused; `line` is where."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"rules: line {line}: {reason}")
        self.line = line
        self.reason = reason


class Rule(Strict):
    """One rule: what it matches, and what then happens."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")
    match: Match = Match()
    models: Literal["all", "none"] | Annotated[list[str], Field(min_length=1)] = "all"
    lane: Literal["stat", "routine", "off-peak"] = "routine"
    policy: Literal["wait", "partial", "quarantine"] = "wait"  #: for what is incomplete


class _File(Strict):
    rule: list[Rule] = Field([])


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
    kinds = kinds_of(rule.match)
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
        asked = listed(rule.match.modality) if rule.match.modality else []
        if needs.modalities and asked and not any(is_one_of(m, asked) for m in needs.modalities):
            return (
                "models",
                f"{name} reads {', '.join(needs.modalities)}, and this rule matches {shown(asked)}",
            )
    return None


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
