"""The words of (X)HTML narratives, in their lines."""

from __future__ import annotations

import re
from html import unescape

MOST = 4_000_000  #: characters of a narrative that are looked at: four times what a note may hold
_BLOCKS = frozenset(("p", "div", "br", "tr", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol"))
_SILENT = frozenset(("script", "style", "head"))


def stripped(written: str) -> str:
    """The words of an (X)HTML narrative in their lines; a cell is set apart from the next.

    By hand, because html.parser takes minutes for 20,000 tags that never end.
    """
    first, *pieces = written[:MOST].split("<")
    parts = [_blanks(first)]
    inside = ""  # what is passed over: a comment, a script, a style sheet
    for piece in pieces:
        closing = "-->" if inside == "!--" or (not inside and piece.startswith("!--")) else ">"
        tag, end, text = piece.partition(closing)
        name = re.split(r"[\s/]", tag.lstrip("/"), maxsplit=1)[0].lower()
        if closing == "-->":
            inside = "" if end else "!--"
        elif inside:
            inside = "" if name == inside and tag.startswith("/") else inside
        elif not end or not re.match(r"[A-Za-z/!?]", tag):
            parts.append(_blanks("<" + piece))
            continue
        elif name in _SILENT and not tag.startswith("/") and not tag.endswith("/"):
            inside = name
        if not inside:
            cell = name in ("td", "th") and not tag.startswith("/")
            parts += ("\n" if name in _BLOCKS else "\t" if cell else "", _blanks(text))
    return tidied("".join(parts))


def _blanks(text: str) -> str:
    """Text of mark-up, where any white space is a blank; entities resolved."""
    return re.sub(r"\s+", " ", unescape(text))


def tidied(text: str) -> str:
    """Without blanks at the edges of lines, and without runs of blank lines."""
    lines = (re.sub(r" +", " ", line).strip(" \t") for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
