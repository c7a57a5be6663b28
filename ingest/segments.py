r"""HL7 v2 as segments and fields (chapter 2 of the standard).

Split by hand: the `hl7` package takes five seconds for a megabyte, drops what follows a lone backslash, and
writes fields that it cannot unescape to the log, where no patient's words may be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from db.errors import Rejected
from ingest.plaintext import CONTROLS, decoded

SEGMENTS = 100_000  #: in one file
LINES = 1_000_000
REPEATS = 10_000  #: of the fields of one segment
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}(?=[^\w\s]|\s*$)")
ADVICE = "Export it as one HL7 v2 message, with MSH first."
FRAME = b" \t\r\n\x0b\x1c"  #: what may stand around a message: white space, and MLLP's block characters
# sections 2.7 and 2.7.5: formatting is layout, highlighting and code pages are let be
_ESCAPE = re.compile(
    r"\\(F|S|T|R|E|P|H|N|\.br|\.sp[+]?\d{0,3}|\.[a-z]{2}[+-]?\d{0,3}|X(?:[0-9A-Fa-f]{2}){1,40})\\"
)


@dataclass(frozen=True, kw_only=True, repr=False)
class Segment:
    """One segment's fields; numbers are those of the standard. Holds a patient's words, hence no repr."""

    fields: Sequence[str]
    marks: str  #: field, component, repetition, escape, subcomponent

    @property
    def name(self) -> str:
        """`PID`, `OBX` and so on."""
        return self.fields[0][:3]

    def raw(self, number: int) -> str:
        """A field as it stands, "" when absent."""
        number -= self.name == "MSH"
        return self.fields[number] if number < len(self.fields) else ""

    def repeats(self, number: int) -> list[str]:
        """The repetitions of a field, as they stand."""
        return self.raw(number).split(self.marks[2])

    def part(self, number: int, component: int = 1, of: str | None = None) -> str:
        """A component's first subcomponent, unescaped; of a field's first repetition, or of `of`."""
        parts = (self.repeats(number)[0] if of is None else of).split(self.marks[1])
        found = parts[component - 1] if component <= len(parts) else ""
        return self.plain(found.split(self.marks[4])[0])

    def plain(self, text: str) -> str:
        """Without escapes; `""` is the standard's way to say that there is nothing."""
        text = "" if text.strip() == '""' else text
        return _ESCAPE.sub(self._meant, text) if "\\" in text else text

    def _meant(self, match: re.Match[str]) -> str:
        word = match[1]
        if word in ("F", "S", "R", "E", "T"):
            return self.marks["FSRET".index(word)]
        if word.startswith("X"):
            return bytes.fromhex(word[1:]).decode("utf-8", "replace").translate(CONTROLS)
        return "\n" if word[:3] in (".br", ".sp", ".ce") else "#" if word == "P" else ""


def segmented(data: bytes) -> Iterator[Segment]:
    """A message's segments; a line that begins none goes on with the one before.

    Raises Rejected (`too-large`, `malformed`, `binary`, `undecodable-text`).
    """
    text = _text(data)
    if text.count("\r") + text.count("\n") > 2 * LINES:
        raise Rejected("too-large", f"it has more than {LINES} lines", "Split it.")
    lines: list[list[str]] = []
    for line in re.split(r"\r\n?|\n", text):
        if _SEGMENT.match(line):
            lines.append([line.strip(" \x0b\x1c")])
        elif lines and line.strip(FRAME.decode()):
            lines[-1].append(line)
        if len(lines) > SEGMENTS:
            raise Rejected("too-large", f"it holds more than {SEGMENTS} segments", "Split it.")
    marks = "|^~\\&"
    for line in map("\n".join, lines):
        if line[:3] in ("MSH", "FHS", "BHS"):
            marks = _marks(line)
        if line.count(marks[2]) > REPEATS:
            raise Rejected("too-large", f"a segment has more than {REPEATS} repetitions", "Split it.")
        yield Segment(fields=line.split(marks[0]), marks=marks)


def _marks(line: str) -> str:
    """Field separator and encoding characters of a header segment, in the order of `Segment.marks`."""
    separator = line[3:4]
    found = separator + line[4:].partition(separator or "|")[0][:4]
    if not separator or len(set(found)) < len(found) or len(found) < 4:
        raise Rejected("malformed", "MSH names no encoding characters such as ^~\\&", ADVICE)
    return found.ljust(5, "\0")


def _text(data: bytes) -> str:
    """The message's text without frame, in UTF-8 or in the ISO 8859 part that MSH-18 names."""
    data = data.removeprefix(b"\xef\xbb\xbf").strip(FRAME)
    header = re.split(rb"[\r\n]", data[:4096], maxsplit=1)[0]
    sets = header.split(header[3:4] or b"|")  # MSH-18 is the one at 17: MSH-1 is the separator itself
    named = re.match(rb"8859/(\d{1,2})\b", sets[17]) if len(sets) > 17 else None
    try:
        return decoded(data)
    except Rejected as why:
        if not named or why.code != "undecodable-text":
            raise
    try:
        return data.decode(f"iso8859-{int(named[1])}")
    except (LookupError, UnicodeError):
        raise Rejected(
            "undecodable-text", "the text is neither UTF-8 nor in the character set that MSH-18 names",
            "Export it as UTF-8.",
        ) from None  # fmt: skip
