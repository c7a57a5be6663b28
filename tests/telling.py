"""Whether a text tells a word that nobody may read there."""

from __future__ import annotations

import re


def tells(text: str, word: str) -> bool:
    """Is the word in the text? One of digits alone comes by chance within digests and fractions."""
    if word not in text:
        return False
    return not word.isdigit() or re.search(rf"(?<![0-9a-f.]){word}", text) is not None
