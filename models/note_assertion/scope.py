"""NegEx's scope rules on spaCy, one pipe a question, keeping which trigger decided and where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from negspacy.negation import Negex
from spacy.language import Language
from spacy.tokens import Doc, Span

_Match = tuple[int, int, int]  # (match id, first token, token after the last)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger term of ours and its first and after-last token in the document."""

    term: str
    start: int
    end: int


def _longest(matches: Sequence[_Match]) -> list[_Match]:
    """The matches that no longer one overlaps: "no evidence of" beats "no", "not only" beats "not"."""
    kept: list[_Match] = []
    taken: set[int] = set()
    spans: set[tuple[int, int]] = set()
    for match in sorted(matches, key=lambda m: (m[1] - m[2], m[1])):
        # a term listed both as preceding and as following matches twice at one place
        if match[1:] in spans or taken.isdisjoint(range(match[1], match[2])):
            taken.update(range(match[1], match[2]))
            spans.add(match[1:])
            kept.append(match)
    return sorted(kept, key=lambda m: m[1])


class Scope(Negex):
    """NegEx with three rules of our own.

    1. Of overlapping terms the longest counts, whatever its kind.
    2. A term inside a problem ("pain other than ...") triggers and ends nothing.
    3. A term may name its reach in words; the others reach to the end of the sentence or to a
       termination term.

    The deciding triggers are kept as `span._.<extension_name>_by`.
    """

    def __init__(
        self,
        nlp: Language,
        name: str,
        terms: dict[str, list[str]],
        reach: dict[str, int],
        reach_back: dict[str, int],
        extension_name: str,
    ) -> None:
        super().__init__(nlp, name, terms, extension_name=extension_name)
        self.by = f"{extension_name}_by"
        if not Span.has_extension(self.by):
            Span.set_extension(self.by, default=None)
        self.reach = {self._form(term): words for term, words in reach.items()}
        self.reach_back = self.reach | {self._form(term): words for term, words in reach_back.items()}

    def _form(self, term: str) -> str:
        return " ".join(t.text for t in self.nlp.tokenizer(term))

    def process_negations(self, doc: Doc) -> tuple[list[_Match], list[_Match], list[_Match]]:
        """The preceding, following and terminating terms that count in this document."""
        inside = {i for ent in doc.ents for i in range(ent.start, ent.end)}
        kinds: dict[str, list[_Match]] = {"Preceding": [], "Following": [], "Termination": []}
        for match in _longest(self._outside(doc, inside)):
            kind = self.nlp.vocab.strings[match[0]]
            if kind in kinds:
                kinds[kind].append(match)
        return kinds["Preceding"], kinds["Following"], kinds["Termination"]

    def _outside(self, doc: Doc, inside: set[int]) -> list[_Match]:
        pseudo = self.nlp.vocab.strings["pseudo"]
        return [m for m in self.matcher(doc) if m[0] == pseudo or inside.isdisjoint(range(m[1], m[2]))]

    def _apply_negation(self, span: Span, before: list[_Match], after: list[_Match]) -> None:
        found = [
            trigger
            for matches, reach, ahead in ((before, self.reach, True), (after, self.reach_back, False))
            for trigger in (self._trigger(span.doc, match) for match in matches)
            if 0
            <= (span.start - trigger.end if ahead else trigger.start - span.end)
            <= reach.get(trigger.term, len(span.doc))
        ]
        if found:
            span._.set(self.extension_name, True)
            span._.set(self.by, found)

    def _trigger(self, doc: Doc, match: _Match) -> Trigger:
        _, start, end = match
        return Trigger(" ".join(t.text for t in doc[start:end]), start, end)


@Language.factory("assertion_scope", default_config={"reach": {}, "reach_back": {}})
def make_scope(
    nlp: Language,
    name: str,
    terms: dict[str, list[str]],
    reach: dict[str, int],
    reach_back: dict[str, int],
    extension_name: str,
) -> Any:
    """The spaCy factory: one pipe a question, its answer in `span._.<extension_name>`."""
    return Scope(nlp, name, terms, reach, reach_back, extension_name)


def add_question(nlp: Language, question: str, listed: Mapping[str, Any]) -> None:
    """Adds a question's pipe; listed holds pseudo, preceding, following, termination, reach, reach_back."""
    terms = {
        "pseudo_negations": list(listed["pseudo"]),
        "preceding_negations": list(listed["preceding"]),
        "following_negations": list(listed["following"]),
        "termination": list(listed["termination"]),
    }
    config = {
        "terms": terms,
        "reach": dict(listed.get("reach", {})),
        "reach_back": dict(listed.get("reach_back", {})),
        "extension_name": question,
    }
    nlp.add_pipe("assertion_scope", name=question, config=config)
