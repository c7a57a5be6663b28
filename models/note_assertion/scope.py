"""NegEx's scope rules on spaCy, one pipe a question, keeping which trigger decided and where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from negspacy.negation import Negex
from spacy.language import Language
from spacy.tokens import Doc, Span

from models.note_assertion.closing import Closing

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
    """NegEx with four rules of our own.

    1. Of overlapping terms the longest counts, whatever its kind.
    2. A term inside a problem ("pain other than ...") triggers and ends nothing.
    3. A term may name its reach in words; the others reach to the end of the sentence or to a
       termination term.
    4. A closing term ("denied") speaks of the problem right before it, and of nothing else, where it ends
       the clause: "dementia denied." but not "with dementia denied pain". See `closing`.

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
        closing: dict[str, list[str]],
    ) -> None:
        super().__init__(nlp, name, terms, extension_name=extension_name)
        self.closing = Closing(nlp, closing)
        self.by = f"{extension_name}_by"
        if not Span.has_extension(self.by):
            Span.set_extension(self.by, default=None)
        self.reach = {self._form(term): words for term, words in reach.items()}
        self.reach_back = self.reach | {self._form(term): words for term, words in reach_back.items()}

    def _form(self, term: str) -> str:
        return " ".join(t.text for t in self.nlp.tokenizer(term))

    def process_negations(self, doc: Doc) -> tuple[list[_Match], list[_Match], list[_Match]]:
        """The preceding, following and terminating terms that count in this document.

        Closing terms answer here: no termination term lies between one and its problems.
        """
        inside = {i for ent in doc.ents for i in range(ent.start, ent.end)}
        matches = self._outside(doc, inside)
        taken: set[int] = set()
        for match, closed in self._closed(doc, inside, matches):
            taken.update(range(match[1], match[2]))
            for ent in closed:
                self._answer(ent, [self._trigger(doc, match)])
        kinds: dict[str, list[_Match]] = {"Preceding": [], "Following": [], "Termination": []}
        for match in _longest([m for m in matches if taken.isdisjoint(range(m[1], m[2]))]):
            kind = self.nlp.vocab.strings[match[0]]
            if kind in kinds:
                kinds[kind].append(match)
        return kinds["Preceding"], kinds["Following"], kinds["Termination"]

    def _closed(
        self, doc: Doc, inside: set[int], matches: Sequence[_Match]
    ) -> list[tuple[_Match, list[Span]]]:
        """Each closing term that no longer pseudo term overlaps, and the problems that it speaks of."""
        pseudo = self.nlp.vocab.strings["pseudo"]
        barred = [m for m in matches if m[0] == pseudo]
        found = {}
        for match in _longest([m for m in self.closing.matches(doc) if inside.isdisjoint(range(m[1], m[2]))]):
            longer = any(
                m[1] < match[2] and match[1] < m[2] and m[2] - m[1] > match[2] - match[1] for m in barred
            )
            closed = [] if longer else self.closing.problems(doc, match[1], match[2])
            if closed:
                found[match] = closed
        return list(found.items())

    def _outside(self, doc: Doc, inside: set[int]) -> list[_Match]:
        pseudo = self.nlp.vocab.strings["pseudo"]
        return [m for m in self.matcher(doc) if m[0] == pseudo or inside.isdisjoint(range(m[1], m[2]))]

    def _answer(self, span: Span, found: list[Trigger]) -> None:
        span._.set(self.extension_name, True)
        span._.set(self.by, [*(span._.get(self.by) or ()), *found])

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
            self._answer(span, found)

    def _trigger(self, doc: Doc, match: _Match) -> Trigger:
        _, start, end = match
        return Trigger(" ".join(t.text for t in doc[start:end]), start, end)


@Language.factory("assertion_scope", default_config={"reach": {}, "reach_back": {}, "closing": {}})
def make_scope(
    nlp: Language,
    name: str,
    terms: dict[str, list[str]],
    reach: dict[str, int],
    reach_back: dict[str, int],
    extension_name: str,
    closing: dict[str, list[str]],
) -> Any:
    """The spaCy factory: one pipe a question, its answer in `span._.<extension_name>`."""
    return Scope(nlp, name, terms, reach, reach_back, extension_name, closing)


def add_question(nlp: Language, question: str, listed: Mapping[str, Any]) -> None:
    """Adds a question's pipe; listed holds what its TOML file does."""
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
        "closing": dict(listed.get("closing", {})),
    }
    nlp.add_pipe("assertion_scope", name=question, config=config)
