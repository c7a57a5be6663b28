"""What a cell or an observation says of a feature: its name, its number or category, its genotype."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cache, lru_cache

from db.errors import Rejected
from ingest.units import convert
from models.features import Feature, dictionary
from models.payloads import Value

UNKNOWN = frozenset(
    ("", "na", "n/a", "nan", "null", "nil", "none", "?", ".", "-", "--", "unknown", "missing", "not known")
)
#: the genes that guidelines of CPIC speak of
PHARMACOGENES = frozenset(
    (
        *("ABCG2", "CACNA1S", "CFTR", "CYP2B6", "CYP2C", "CYP2C8", "CYP2C9", "CYP2C19", "CYP2D6", "CYP3A4"),
        *("CYP3A5", "CYP4F2", "DPYD", "F5", "G6PD", "HLA-A", "HLA-B", "IFNL3", "IFNL4", "MT-RNR1", "NAT2"),
        *("NUDT15", "RYR1", "SLCO1B1", "TPMT", "UGT1A1", "VKORC1"),
    )
)
_BRACKETED = re.compile(r"(.+?)\s*[\[(]([^\[\]()]*(?:\[[^\[\]]*\][^\[\]]*)*)[\])]\s*")
_GENOTYPE_WORDS = re.compile(r"[\s_-]*(genotypes?|diplotypes?)$", re.IGNORECASE)
_STAR = r"\*[0-9][0-9A-Za-z.:]{0,19}(?:\s?[x×]\s?[0-9N≥]{1,3})?"
_ALLELE = re.compile(
    rf"{_STAR}(?:\s?\+\s?{_STAR}){{0,3}}|reference|rs[0-9]{{1,12}}(?:\s?[acgt])?"
    r"|[cgm]\.[0-9+_>acgtdelinsup*-]{2,40}(?:\s?\(\*[0-9a-z]{1,4}\))?",
    re.IGNORECASE,
)
# of these genes alleles have names, of a place (Mediterranean), a change (F508del) or several (HapB3)
_NAMED = frozenset(("CFTR", "DPYD", "F5", "G6PD"))
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z .,'>()_+*-]{0,79}")
_BASES = re.compile(r"([ACGT]|del|ins)\s?[/|]?\s?([ACGT]|del|ins)", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,3})?")
_YES, _NO = ("yes", "present", "true", "1", "positive"), ("no", "absent", "false", "0", "negative")


def squeezed(name: str) -> str:
    """`Body Height`, `body-height` and `body_height` alike."""
    return re.sub(r"[\s_.-]+", "", name).lower()


@cache
def _columns() -> Mapping[str, str]:
    """Squeezed column name -> feature; an alternative that two features claim names neither."""
    claimed: dict[str, set[str]] = defaultdict(set)
    for name, feature in dictionary().items():
        for other in feature.names:
            claimed[squeezed(other)].add(name)
    found = {other: names.pop() for other, names in claimed.items() if len(names) == 1}
    return found | {squeezed(name): name for name in dictionary()}


@lru_cache(131_072)
def column(header: str) -> tuple[str, str] | None:
    """(feature, unit) that a column's header means: `glucose [mmol/L]` names its unit; None for neither."""
    header = header.strip()[:200]
    if name := _columns().get(squeezed(header)):
        return name, ""
    match = _BRACKETED.fullmatch(header)
    name = _columns().get(squeezed(match[1])) if match else None
    return (name, match[2]) if match and name else None


def unknown(cell: object) -> bool:
    """Whether a cell says that the value is not known."""
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in UNKNOWN)


def number(cell: object) -> float | None:
    """A finite number as written, with `.` before its decimals; None for anything else."""
    if isinstance(cell, str):
        cell = cell.strip()  # of more than float() would take away, U+001C among it
        if not _NUMBER.fullmatch(cell):
            return None
    elif isinstance(cell, bool) or not isinstance(cell, int | float):
        return None
    try:
        found = float(cell)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def value(name: str, cell: object, unit: str, place: str) -> Value | None:
    """What a cell says of a feature, None when it says that it is not known.

    place: where it stands, for the refusal: `row 3, column age`. The value itself is never told.
    Raises Rejected (`bad-value`, `out-of-range`, `unit`).
    """
    feature = dictionary()[name]
    if feature.kind == "category":
        return _category(feature, cell, place)
    if unknown(cell):
        return None
    found = number(_truth(feature, cell))
    if found is None:
        raise Rejected("bad-value", f"{place}: not a number", "Write it as digits with a decimal point.")
    try:
        found = convert(found, unit, feature)
    except Rejected as why:
        raise Rejected(why.code, f"{place}: {why.sentence}", why.advice) from None
    low, high = feature.low, feature.high
    if not math.isfinite(found) or (low is not None and found < low) or (high is not None and found > high):
        raise Rejected(
            "out-of-range",
            f"{place}: outside {'' if low is None else f'{low:g}'}..{'' if high is None else f'{high:g}'}"
            f" {feature.unit}".rstrip(),
            "Check the value and its unit; correct it, or leave it empty.",
        )
    return found


def _truth(feature: Feature, cell: object) -> object:
    """Yes and no of a feature that runs from 0 to 1."""
    if (feature.low, feature.high) != (0, 1):
        return cell
    word = str(cell).strip().lower()
    return 1.0 if word in (*_YES, "y") else 0.0 if word in (*_NO, "n") else cell


def _category(feature: Feature, cell: object, place: str) -> Value | None:
    if cell is None:
        return None
    word = str(cell).strip().lower() if isinstance(cell, str | int | float) else ""
    known = {_key(other): name for other, name in feature.synonyms.items()}
    known |= {_key(name): name for name in feature.categories}
    if found := known.get(_key(word)):
        return found
    if found := next((other for other in _alike(word) if other in feature.categories), None):
        return found
    if unknown(cell):
        return None
    raise Rejected(
        "bad-value",
        f"{place}: not one of {', '.join(list(feature.categories)[:20])}",
        "Use one of these words, or leave it empty.",
    )


def _key(word: str) -> str:
    """`1.0` and `1` alike, but not `10` nor `-1`; words as `squeezed` has them."""
    figure = number(word)
    return squeezed(word) or word if figure is None else f"{figure:g}"


def _alike(word: str) -> tuple[str, ...]:
    """Every other word for yes or for no; a number is neither but where the synonyms say so."""
    return next((words for words in ((*_YES, "y"), (*_NO, "n")) if word in words and not word.isdigit()), ())


def present(name: str) -> Value | None:
    """What a feature is when its code merely stands in a record: the yes of its categories, or 1."""
    feature = dictionary()[name]
    if feature.kind == "number":
        return 1.0 if (feature.low, feature.high) == (0, 1) else None
    known = {**feature.synonyms, **{category: category for category in feature.categories}}
    return next((known[word] for word in _YES if word in known), None)


def gene(header: str) -> str | None:
    """The pharmacogene or rsID that a column is named by, as genetics writes it; None for another name."""
    name = _GENOTYPE_WORDS.sub("", header.strip()[:60])
    if re.fullmatch(r"rs[0-9]{1,12}", name, re.IGNORECASE):
        return name.lower()
    return name.upper() if name.upper() in PHARMACOGENES else None


def genotype(name: str, cell: object, place: str) -> str | None:
    """A diplotype (`*1/*3`) or a pair of bases (`A/G`), None when not known.

    name: as `gene` gives it. Raises Rejected `bad-value`.
    """
    if unknown(cell):
        return None
    text = cell.strip() if isinstance(cell, str) else ""
    bases = name.startswith("rs") or name == "VKORC1"
    if bases and (match := _BASES.fullmatch(text)):
        return "/".join(allele.lower() if len(allele) > 1 else allele.upper() for allele in match.groups())
    alleles = [_allele(name, part) for part in re.split("[/|]", text[:200])]
    if not name.startswith("rs") and len(alleles) == 2 and all(alleles):
        return "/".join(filter(None, alleles))
    form = "A/G" if bases else "*1/*3"
    raise Rejected("bad-value", f"{place}: not a genotype such as {form}", "Write it so, or leave it empty.")


def _allele(gene: str, text: str) -> str | None:
    """One allele of a diplotype, without the gene's name before it (`CYP2C19*2`); None when it is none."""
    text = text.strip().removeprefix(gene).strip()
    if _ALLELE.fullmatch(text):
        return re.sub(r"\s+", "", text).replace("×", "x")
    return " ".join(text.split()) if gene in _NAMED and _NAME.fullmatch(text) else None
