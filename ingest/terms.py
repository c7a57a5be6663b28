"""The DICOM standard's words for what a code string may say; any other word may be somebody's name."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

OTHER = "OTHER"  #: what is recorded in place of a word that is in no list
TERMS = {
    fact: frozenset(words.split())
    for fact, words in tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8")).items()
}


def known(fact: str, word: str) -> str:
    """A code string as it is where its words are terms of this fact, alone or as one; "" for "", else OTHER.

    Devices write a term of several words apart (`C SPINE`, `HEAD_NECK`), and phrases (`PROJECTION IMAGE`).
    """
    terms = TERMS[fact]
    joined = word.replace(" ", "").replace("_", "")
    return word if joined in terms or all(part in terms for part in word.split()) else OTHER


def all_known(fact: str, words: Iterable[str]) -> str:
    """Several values, each as it is or OTHER, joined as the standard writes them."""
    return "\\".join(known(fact, word) for word in words)
