"""From a note's text to its problems and what is said of each: vocabulary, then a scope pipe a question."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import spacy
from spacy.matcher import PhraseMatcher
from spacy.tokens import Doc, Span
from spacy.util import filter_spans
from spacy.vocab import Vocab

from models import text
from models.note_assertion import scope, terms
from models.note_assertion.closing import LINES
from models.note_assertion.terms import QUESTIONS, Problem

_BATCH_WORDS = 80  # words a document of several sentences holds; NegEx's rules are quadratic in it
_HEADING = re.compile(r"[\s>*#•-]*([A-Za-z][A-Za-z /&'-]{0,48}?)\s*(:|-\s|–\s|(?=\n|$))")
_PATIENT = re.compile(r"(?:the patient|patient|pt|he|she|i)\b", re.IGNORECASE)
_GIVEN = "given"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A term of ours that decided, at text[start:end]."""

    question: str
    term: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One problem at text[start:end], in the sentence text[sentence[0]:sentence[1]]."""

    problem: Problem
    start: int
    end: int
    sentence: tuple[int, int]
    triggers: tuple[Trigger, ...]

    @property
    def qualifiers(self) -> tuple[str, ...]:
        """The questions answered yes, the weightiest first."""
        said = {t.question for t in self.triggers}
        return tuple(q for q in QUESTIONS if q in said)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Words of one sentence, and the heading that rules it."""

    sentence: tuple[int, int]
    words: Sequence[text.Word]
    heading: Trigger | None


class Words:
    """The tokeniser that spaCy and negspacy use for our terms: the words of models.text."""

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab

    def __call__(self, phrase: str) -> Doc:
        """The phrase as a document."""
        return Doc(self.vocab, words=[w.form for w in text.words(phrase)])

    def pipe(self, phrases: Sequence[str], batch_size: int = 0) -> Iterator[Doc]:
        """Each phrase as a document, as negspacy asks for them."""
        for phrase in phrases:
            yield self(phrase)


class Assertions:
    """Finds problems and says which are negated, uncertain, historical or a relative's."""

    def __init__(self, folder: Path, questions: Sequence[str] = QUESTIONS) -> None:
        self.nlp = spacy.blank("en")
        self.nlp.tokenizer = Words(self.nlp.vocab)
        for question in questions:
            scope.add_question(self.nlp, question, terms.triggers(folder, question))
        self.questions = tuple(questions)
        self.sections = terms.sections(folder)
        self._add_vocabulary(terms.vocabulary(folder))

    def replace(self, question: str, listed: Mapping[str, object]) -> None:
        """Puts other terms in the place of a question's own; for weighing them."""
        self.nlp.remove_pipe(question)
        scope.add_question(self.nlp, question, listed)

    def _add_vocabulary(self, vocabulary: terms.Vocabulary) -> None:
        self.problems = vocabulary.problems
        self.matcher = PhraseMatcher(self.nlp.vocab)
        for number, problem in enumerate(vocabulary.problems):
            self._add(f"problem {number}", problem.spellings())
            self._add(f"capitals {number}", problem.capitals)
            self._add(f"absent {number}", problem.absent)
        self._add("ignored", vocabulary.ignored)

    def _add(self, label: str, phrases: Sequence[str]) -> None:
        if phrases:
            self.matcher.add(label, [self.nlp.tokenizer(p) for p in phrases])

    def mentions(self, note: str) -> list[Mention]:
        """Every problem of the vocabulary in the note, in order. Time grows linearly with the note."""
        note = text.printable(note)
        found: list[Mention] = []
        batch: list[_Piece] = []
        size = 0
        for piece in self._pieces(note):
            if batch and size + len(piece.words) > _BATCH_WORDS:
                found += self._read(note, batch)
                batch, size = [], 0
            batch.append(piece)
            size += len(piece.words)
        return found + self._read(note, batch) if batch else found

    def decide(self, sentence: str, start: int, end: int) -> tuple[Trigger, ...]:
        """The triggers that speak of the given span of a sentence."""
        sentence = text.printable(sentence)
        left, right = 0, len(sentence)
        for first, last in text.sentences(sentence):
            left = first if first <= start < last else left
            right = last if first < end <= last else right
        words = text.words(sentence, left, right)
        inside = [i for i, w in enumerate(words) if w.end > start and w.start < end]
        if not inside:
            return ()
        with self.nlp.memory_zone():
            doc = self._doc(sentence, [words])
            doc.ents = [Span(doc, inside[0], inside[-1] + 1, label=_GIVEN)]
            self._ask(doc)
            return self._triggers(doc.ents[0], words)

    def _pieces(self, note: str) -> Iterator[_Piece]:
        """The note's sentences as bounded runs of words, each with the section heading that rules it."""
        ruling: Trigger | None = None
        last = 0
        for start, end in text.sentences(note):
            heading = _HEADING.match(note, start, end)
            name = " ".join(heading.group(1).lower().split()) if heading else ""
            blank_line = bool(re.search(r"\n\s*\n", note[last:start]))
            if heading and name in self.sections:
                ruling = Trigger(
                    question=self.sections[name], term=name, start=heading.start(1), end=heading.end(1)
                )
            elif (heading and heading.group(2) == ":") or self._ends(ruling, note, start, last, blank_line):
                ruling = None
            for words in text.pieces(text.words(note, start, end)):
                yield _Piece(sentence=(start, end), words=words, heading=ruling)
            last = end

    def _ends(self, ruling: Trigger | None, note: str, start: int, last: int, blank_line: bool) -> bool:
        """Whether a section stops here: at a blank line after its first words, or as the patient returns."""
        if ruling is None:
            return False
        if blank_line and last > ruling.end + 1:
            return True
        return ruling.question == "family" and bool(_PATIENT.match(note, start))

    def _doc(self, note: str, runs: Sequence[Sequence[text.Word]]) -> Doc:
        words = [w for run in runs for w in run]
        lines = {i for i, (a, b) in enumerate(pairwise(words), 1) if "\n" in note[a.end : b.start]}
        starts: list[bool | int | None] = [i == 0 for run in runs for i in range(len(run))]
        forms = [w.form for w in words]
        return Doc(self.nlp.vocab, words=forms, sent_starts=starts, user_data={LINES: lines})

    def _ask(self, doc: Doc) -> None:
        for _, pipe in self.nlp.pipeline:
            pipe(doc)

    def _read(self, note: str, batch: Sequence[_Piece]) -> list[Mention]:
        """The mentions in a few sentences. The zone gives spaCy's copies of their words back."""
        words = [w for piece in batch for w in piece.words]
        owner = [piece for piece in batch for _ in piece.words]
        with self.nlp.memory_zone():
            doc = self._doc(note, [piece.words for piece in batch])
            doc.ents = self._entities(doc, note, words, owner)
            if not doc.ents:
                return []
            self._ask(doc)
            return [self._mention(ent, words, owner[ent.start]) for ent in doc.ents]

    def _entities(
        self, doc: Doc, note: str, words: Sequence[text.Word], owner: Sequence[_Piece]
    ) -> list[Span]:
        """The longest vocabulary matches that lie within one sentence; ignored phrases take their place."""
        spans = []
        for match, start, end in self.matcher(doc):
            if owner[start] is not owner[end - 1]:
                continue
            label = self.nlp.vocab.strings[match]
            if label.startswith("capitals") and not note[words[start].start : words[end - 1].end].isupper():
                continue
            spans.append(Span(doc, start, end, label=label))
        return [s for s in filter_spans(spans) if s.label_ != "ignored"]

    def _triggers(self, ent: Span, words: Sequence[text.Word]) -> tuple[Trigger, ...]:
        return tuple(
            Trigger(question=q, term=t.term, start=words[t.start].start, end=words[t.end - 1].end)
            for q in self.questions
            for t in ent._.get(f"{q}_by") or ()
        )

    def _mention(self, ent: Span, words: Sequence[text.Word], piece: _Piece) -> Mention:
        kind, number = ent.label_.split()
        problem = self.problems[int(number)]
        start, end = words[ent.start].start, words[ent.end - 1].end
        triggers = self._triggers(ent, words)
        if kind == "absent":
            term = next(a for a in problem.absent if len(a.split()) == ent.end - ent.start)
            triggers = (Trigger(question="negated", term=term, start=start, end=end), *triggers)
        heading = piece.heading
        if heading and heading.end <= start and heading.question not in {t.question for t in triggers}:
            triggers = (*triggers, heading)
        return Mention(problem=problem, start=start, end=end, sentence=piece.sentence, triggers=triggers)
