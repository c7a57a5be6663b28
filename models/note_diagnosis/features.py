"""From a note to its features: single words, pairs of words and runs of letters, each with its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models import text

LETTERS = (2, 4)  #: the shortest and longest run of letters taken from a word and the blanks around it


@dataclass(frozen=True, slots=True)
class Feature:
    """One occurrence of a feature, made of the words first..last."""

    name: str  #: "w rash", "w skin rash", "c  ras"
    first: int
    last: int

    @property
    def letters(self) -> bool:
        """Whether it is a run of letters rather than a word or a pair."""
        return self.name.startswith("c")


def content(note: str) -> list[text.Word]:
    """The note's words without punctuation."""
    return [w for w in text.words(note) if w.form[0].isalnum()]


def word_features(words: Sequence[text.Word]) -> list[Feature]:
    """Each word, and each pair of neighbours."""
    single = [Feature(f"w {w.form}", i, i) for i, w in enumerate(words)]
    pairs = enumerate(pairwise(words))
    return single + [Feature(f"w {a.form} {b.form}", i, i + 1) for i, (a, b) in pairs]


def letter_features(words: Sequence[text.Word]) -> list[Feature]:
    """Each run of LETTERS letters of each word, the blanks before and behind it included."""
    return [
        Feature(f"c {padded[at : at + size]}", i, i)
        for i, padded in enumerate(f" {w.form} " for w in words)
        for size in range(LETTERS[0], LETTERS[1] + 1)
        for at in range(len(padded) - size + 1)
    ]


def word_names(note: str) -> list[str]:
    """The names of the word features, one an occurrence: a scikit-learn analyzer."""
    return [f.name for f in word_features(content(note))]


def letter_names(note: str) -> list[str]:
    """The names of the letter features, one an occurrence: a scikit-learn analyzer."""
    return [f.name for f in letter_features(content(note))]


def tf_idf(names: Iterable[str], index: Mapping[str, int], idf: NDArray[np.float64]) -> dict[int, float]:
    """Column -> (1 + ln count) x idf over the Euclidean length of the row, for the names that are known.

    The same as scikit-learn's TfidfVectorizer(sublinear_tf=True), which a test holds to 1e-9.
    """
    counts = Counter(index[n] for n in names if n in index)
    weights = {column: (1.0 + float(np.log(n))) * float(idf[column]) for column, n in counts.items()}
    length = float(np.sqrt(sum(w * w for w in weights.values())))
    return {column: w / length for column, w in weights.items()}
