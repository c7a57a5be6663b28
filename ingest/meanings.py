"""What codes and names of coded records mean: the dictionary's features that they stand for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache

from db.records import ICD10CM, LOINC, SNOMED
from models.features import dictionary

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD10 = "http://hl7.org/fhir/sid/icd-10"
ICD9CM = "http://hl7.org/fhir/sid/icd-9-cm"
#: the terminologies as HL7 v2 (table 0396) and CDA (OIDs) name them
SYSTEMS = {
    "LN": LOINC, "LOINC": LOINC, "2.16.840.1.113883.6.1": LOINC, "urn:oid:2.16.840.1.113883.6.1": LOINC,
    "SCT": SNOMED, "SNM": SNOMED, "2.16.840.1.113883.6.96": SNOMED, "urn:oid:2.16.840.1.113883.6.96": SNOMED,
    "I10C": ICD10CM, "2.16.840.1.113883.6.90": ICD10CM, "urn:oid:2.16.840.1.113883.6.90": ICD10CM,
    "I10": ICD10, "2.16.840.1.113883.6.3": ICD10,
    "I9C": ICD9CM, "I9": ICD9CM, "2.16.840.1.113883.6.103": ICD9CM,
    "RXN": RXNORM, "RXNORM": RXNORM, "2.16.840.1.113883.6.88": RXNORM,
}  # fmt: skip
_LOCAL = re.compile(  # it acts where it is put, and hardly elsewhere
    r"\b(cream|shampoo|ointment|topical|ophthalmic|otic|eye|ear|vaginal|gel|lotion|foam)\b"
)


@cache
def _features() -> Mapping[str, tuple[str, ...]]:
    """`system|code` -> the features that it stands for."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, feature in dictionary().items():
        for code in feature.codes:
            found[code].append(name)
    return {code: tuple(names) for code, names in found.items()}


def meant(codes: Iterable[str]) -> tuple[str, ...]:
    """The features that these codes (`system|code`) stand for; of an ICD code also its broader ones."""
    found: dict[str, None] = {}
    for code in codes:
        system, _, value = code.partition("|")
        spellings = [code]
        if system in (ICD10CM, ICD10, ICD9CM):
            spellings += [f"{system}|{value[:n].rstrip('.')}" for n in range(min(len(value), 10) - 1, 2, -1)]
        for spelling in spellings:
            found |= dict.fromkeys(_features().get(spelling, ()))
    return tuple(found)


@cache
def _drugs() -> tuple[tuple[re.Pattern[str], str], ...]:
    """(how its substances are written, feature) of the features that medications make `yes`."""
    return tuple(
        (re.compile(rf"(?<![a-z-])(?:{'|'.join(map(re.escape, feature.drugs))})(?![a-z]|[- ]free)"), name)
        for name, feature in dictionary().items()
        if feature.drugs
    )


def prescribed(names: Iterable[str]) -> set[str]:
    """The features whose substances stand in these names of a medication, unless it acts where it is put."""
    told = [name.lower()[:500] for name in names]
    if any(_LOCAL.search(name) for name in told):
        return set()
    return {feature for pattern, feature in _drugs() if any(pattern.search(name) for name in told)}
