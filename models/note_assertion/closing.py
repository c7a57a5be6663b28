"""Terms right behind a problem that speak of it only where they end the clause, as in "dementia denied"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spacy.language import Language
from spacy.matcher import PhraseMatcher
from spacy.tokens import Doc, Span

LINES = "line_starts"  #: key of Doc.user_data: the tokens that begin a line within a sentence
_WIDEST_BRIDGE = 3  # tokens: "has also been", ": currently"
_LONGEST_JOINT = 2  # tokens: ", and"; "and /"


class Closing:
    """Finds closing terms and the problems before them.

    listed holds `terms`; `bridge`, words that may stand between a problem and its term; `tails`, phrases that
    may stand between the term and the clause's end; `ends`, what ends a clause, as the end of the sentence
    does; `joints`, words that make problems one list.
    """

    def __init__(self, nlp: Language, listed: Mapping[str, Sequence[str]]) -> None:
        self.matcher = self._matcher(nlp, listed.get("terms", ()))
        self.tails = self._matcher(nlp, listed.get("tails", ()))
        self.ends = frozenset(listed.get("ends", ()))
        self.bridge = frozenset(listed.get("bridge", ()))
        self.joints = frozenset(listed.get("joints", ()))

    @staticmethod
    def _matcher(nlp: Language, phrases: Sequence[str]) -> PhraseMatcher:
        matcher = PhraseMatcher(nlp.vocab, attr="LOWER")
        matcher.add("Closing", [nlp.tokenizer(p) for p in phrases])
        return matcher

    def matches(self, doc: Doc) -> list[tuple[int, int, int]]:
        """(match id, first token, token after the last) of each closing term that ends its clause."""
        found: list[tuple[int, int, int]] = self.matcher(doc)
        if not found:
            return []
        tails = {start: end for _, start, end in self.tails(doc)}
        return [m for m in found if self._ends(doc, m[2]) or self._tailed(doc, tails.get(m[2]))]

    def _ends(self, doc: Doc, at: int) -> bool:
        """Whether the clause, or at least its line, is over before this token."""
        return at == len(doc) or self._begins(doc, at) or doc[at].text in self.ends

    def _tailed(self, doc: Doc, at: int | None) -> bool:
        """Whether a tail before this token ends the clause; the end of a wrapped line is not enough."""
        return at is not None and (at == len(doc) or bool(doc[at].is_sent_start) or doc[at].text in self.ends)

    @staticmethod
    def _begins(doc: Doc, at: int) -> bool:
        """Whether a sentence or a line begins with this token."""
        return bool(doc[at].is_sent_start) or at in doc.user_data.get(LINES, ())

    def _wrapped(self, doc: Doc, end: int, first: int) -> bool:
        """Whether only a line ends here, and one that holds more than the problems: prose, wrapped."""
        if end == len(doc) or doc[end].is_sent_start or doc[end].text in self.ends:
            return False
        return end in doc.user_data.get(LINES, ()) and not self._begins(doc, first)

    def problems(self, doc: Doc, start: int, end: int) -> list[Span]:
        """The problems that the closing term doc[start:end] speaks of: the nearest and its list."""
        by_end = {ent.end: ent for ent in doc.ents}
        nearest = self._back(doc, start, by_end, self.bridge, _WIDEST_BRIDGE)
        if nearest is None or doc[start].is_sent_start:
            return []
        found = [nearest]
        joined = False  # "asthma, fever denied" is no list; "fever, chills and cough denied" is one
        while True:
            allowed = self.joints | {","} if joined else self.joints
            first = found[-1].start
            ent = self._back(doc, first, by_end, self.joints | {","}, _LONGEST_JOINT)
            if ent is None or not any(t.text in allowed for t in doc[ent.end : first]):
                return [] if self._wrapped(doc, end, first) else found
            found.append(ent)
            joined = True

    @staticmethod
    def _back(doc: Doc, at: int, by_end: Mapping[int, Span], over: frozenset[str], most: int) -> Span | None:
        """The problem that ends at a token, or before some tokens of one kind, in the same sentence."""
        for gap in range(most + 1):
            if at - gap in by_end:
                return by_end[at - gap]
            token = doc[at - gap - 1] if at > gap else None
            if token is None or token.text not in over or token.is_sent_start:
                return None
        return None
