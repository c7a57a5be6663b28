"""Logistic regression on TF-IDF of words, pairs and letters, with the exact contribution of each word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.note_diagnosis.features import (
    Feature,
    content,
    letter_features,
    letter_names,
    tf_idf,
    word_features,
    word_names,
)

Floats = NDArray[np.float64]
RARE = 2  #: a feature counts when at least so many training texts hold it
STRENGTH = 50.0  #: inverse of the L2 penalty (scikit-learn's C), by cross-validation


@dataclass(frozen=True, kw_only=True)
class Linear:
    """The fitted regression. Columns: the word features first, then the letter features."""

    words: tuple[str, ...]  #: names of the word features, by column
    letters: tuple[str, ...]  #: names of the letter features, by column
    word_idf: Floats  #: (len(words),)
    letter_idf: Floats  #: (len(letters),)
    coefficients: Floats  #: (columns, classes), each row centred on zero
    intercepts: Floats  #: (classes,), centred on zero

    @cached_property
    def _index(self) -> tuple[dict[str, int], dict[str, int]]:
        return {n: i for i, n in enumerate(self.words)}, {n: i for i, n in enumerate(self.letters)}

    def knows(self, form: str) -> bool:
        """Whether the word occurred often enough in training to have a column of its own."""
        return f"w {form}" in self._index[0]

    def transform(self, words: Sequence[Feature], letters: Sequence[Feature]) -> dict[int, float]:
        """Column -> TF-IDF value of a note's features; the two blocks are normalised apart."""
        row = tf_idf((f.name for f in words), self._index[0], self.word_idf)
        other = tf_idf((f.name for f in letters), self._index[1], self.letter_idf)
        return row | {len(self.words) + column: value for column, value in other.items()}

    def logits(self, note: str) -> Floats:
        """(classes,) for one note."""
        words = content(note)
        return self._sum(self.transform(word_features(words), letter_features(words)))

    def _sum(self, row: dict[int, float]) -> Floats:
        if not row:
            return self.intercepts.copy()
        columns = np.fromiter(row.keys(), dtype=np.int64)
        values = np.fromiter(row.values(), dtype=np.float64)
        return np.asarray(values @ self.coefficients[columns] + self.intercepts)

    def contributions(self, note: str, label: int) -> Floats:
        """(words,) what each word adds to the label's logit; with the intercept they sum to it exactly.

        A feature's part is shared equally among its occurrences, a pair's among its two words.
        """
        words = content(note)
        blocks = (word_features(words), letter_features(words))
        row = self.transform(*blocks)
        shares = np.zeros(len(words))
        for block, index, base in zip(blocks, self._index, (0, len(self.words)), strict=True):
            known = [(base + index[f.name], f) for f in block if f.name in index]
            counts = np.bincount([c for c, _ in known], minlength=1)
            for column, feature in known:
                part = row[column] * self.coefficients[column, label] / counts[column]
                shares[feature.first] += part / 2
                shares[feature.last] += part / 2
        return shares

    def save(self, folder: Path) -> None:
        """Writes linear.safetensors and vocabulary.json."""
        from safetensors.numpy import save_file

        tensors = {
            "word_idf": self.word_idf,
            "letter_idf": self.letter_idf,
            "coefficients": self.coefficients.astype(np.float32),
            "intercepts": self.intercepts,
        }
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, folder / "linear.safetensors")
        listed = json.dumps({"words": self.words, "letters": self.letters}, ensure_ascii=False, indent=0)
        (folder / "vocabulary.json").write_text(listed + "\n", "utf-8")


def load(folder: Path) -> Linear:
    """The regression in a folder."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / "linear.safetensors")
    listed = json.loads((folder / "vocabulary.json").read_text("utf-8"))
    return Linear(
        words=tuple(listed["words"]),
        letters=tuple(listed["letters"]),
        word_idf=tensors["word_idf"],
        letter_idf=tensors["letter_idf"],
        coefficients=tensors["coefficients"].astype(np.float64),
        intercepts=tensors["intercepts"],
    )


def vectorizers() -> tuple[Any, Any]:
    """scikit-learn's own vectorizers of the same features, unfitted."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return tuple(
        TfidfVectorizer(analyzer=names, sublinear_tf=True, min_df=RARE)
        for names in (word_names, letter_names)
    )


def fit(texts: Sequence[str], labels: NDArray[np.int64]) -> Linear:
    """The regression fitted to texts with class indices 0..k-1, every class present."""
    from scipy.sparse import hstack
    from sklearn.linear_model import LogisticRegression

    words, letters = vectorizers()
    table = hstack([words.fit_transform(texts), letters.fit_transform(texts)]).tocsr()
    model = LogisticRegression(C=STRENGTH, max_iter=1000).fit(table, labels)
    # adding one number to every class changes no probability: centred, a coefficient compares with the mean
    coefficients = model.coef_.T - model.coef_.T.mean(axis=1, keepdims=True)
    return Linear(
        words=tuple(words.get_feature_names_out()),
        letters=tuple(letters.get_feature_names_out()),
        word_idf=words.idf_.astype(np.float64),
        letter_idf=letters.idf_.astype(np.float64),
        coefficients=coefficients,
        intercepts=model.intercept_ - model.intercept_.mean(),
    )
