"""Which windows of a record are looked at: the record itself, or one around every GT and AG."""

from __future__ import annotations

from dataclasses import dataclass

from models.payloads import Sequences
from models.splice_site.kernel import IUPAC, WINDOW

HALF = WINDOW // 2
LONGEST = 100_000  #: bases of all records together; more takes minutes
MOST_RECORDS = 1_000
MOST_AMBIGUOUS = 3  #: codes other than A, C, G, T in a window; all but one of the 3,190 have no more
FEWEST_TRIPLETS = 12  #: different runs of three bases in a window; all but three of the 3,190 have so many
DONOR, ACCEPTOR = 0, 1  #: the class indices of the two kinds of site


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One window to be read; the junction in question lies between its 30th and 31st base."""

    record: int  #: 1-based
    start: int  #: 0-based place of the window in its record
    window: str
    label: int  #: the site asked about

    @property
    def position(self) -> int:
        """1-based place in the record of the last base before the junction."""
        return self.start + HALF


def refused_file(file: Sequences) -> tuple[str, str] | None:
    """(code, sentence) of why no record of a file is read; None when some can be."""
    if file.alphabet != "dna":
        return "not-dna", "the sequences are not DNA"
    if len(file.records) > MOST_RECORDS:
        return "too-many", f"over {MOST_RECORDS:,} records"
    if sum(map(len, file.records)) > LONGEST:
        return "too-long", f"over {LONGEST:,} bases in all"
    each = [refusal(record) for record in file.records]
    return (each[0] if each else ("empty", "the file holds no record")) if all(each) else None


def refusal(record: str) -> tuple[str, str] | None:
    """(code, sentence) of why a record cannot be read at all; None when it can."""
    if len(record) < WINDOW:
        return "too-short", f"{len(record)} bases, at least {WINDOW} are needed"
    if set(record) - IUPAC:
        return "not-nucleotides", "it holds letters that are no nucleotide code"
    return refused_window(record) if len(record) == WINDOW else None


def refused_window(window: str) -> tuple[str, str] | None:
    """(code, sentence) of why a window of 60 bases is not judged; None when it is."""
    unsure = sum(base not in "ACGT" for base in window)
    if unsure > MOST_AMBIGUOUS:
        return "ambiguous", f"{unsure} bases are ambiguity codes, at most {MOST_AMBIGUOUS} are taken"
    triplets = len({window[i : i + 3] for i in range(len(window) - 2)})
    if triplets < FEWEST_TRIPLETS:
        return "low-complexity", f"{triplets} different triplets, at least {FEWEST_TRIPLETS} are asked"
    return None


def candidates(number: int, record: str) -> list[Candidate]:
    """The windows of a longer record around every GT (donor) and AG (acceptor) that can be judged.

    The first and the last 30 bases hold no candidate, for want of what stands before or behind them.
    """
    found = []
    for start in range(len(record) - WINDOW + 1):
        window = record[start : start + WINDOW]
        asked = [DONOR] * (window[HALF : HALF + 2] == "GT") + [ACCEPTOR] * (window[HALF - 2 : HALF] == "AG")
        if asked and refused_window(window) is None:
            found += [Candidate(record=number, start=start, window=window, label=label) for label in asked]
    return found
