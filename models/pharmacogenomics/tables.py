"""The family's tables as records: genes with their alleles, phenotypes of diplotypes, recommendations."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ASSEMBLIES = ("GRCh37", "GRCh38")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One defining variant in one assembly."""

    name: str  #: "10-96702047-C-T"
    chromosome: str
    position: int
    reference: str
    alternate: str
    rsid: str  #: "" when the tables name none
    spellings: frozenset[str]  #: every name it is known by in this assembly, its own among them


@dataclass(frozen=True, kw_only=True)
class Allele:
    """One named allele of a gene."""

    name: str
    function: str  #: as CPIC assigns it: "No Function", "Uncertain Function", ...
    score: float | None  #: activity score, None where CPIC gives none
    core: Mapping[str, frozenset[str]]  #: assembly -> names of the variants that define it there
    structural: bool  #: a deletion, duplication or hybrid: not seen as small variants


@dataclass(frozen=True, kw_only=True)
class Gene:
    """One pharmacogene. method: "diplotype" (by table), "score" (by activity), "" (no phenotype)."""

    name: str
    method: str
    reference: str  #: the allele that is called normal
    default: Mapping[str, str]  #: assembly -> the allele that the reference genome itself carries
    alleles: Mapping[str, Allele]
    variants: Mapping[str, tuple[Variant, ...]]  #: assembly -> its defining variants
    phenotypes: Mapping[str, str]  #: phenotype -> priority in an electronic record
    equations: tuple[tuple[str, str], ...]  #: (phenotype, condition on `score`)
    panel: frozenset[str]  #: alleles whose positions must be called; empty: every position
    further: frozenset[str]  #: alleles that the diplotype table alone names


@dataclass(frozen=True, kw_only=True, eq=False)
class Drug:
    """One drug's guideline. rows: phenotypes of `genes`, "" for not known -> recommendation or None."""

    name: str
    genes: tuple[str, ...]
    rxnorm: str
    atc: str
    guideline: str
    pmids: tuple[str, ...]
    level: str  #: CPIC level
    evidence: str  #: PharmGKB level
    label: tuple[str, ...]  #: what the FDA label asks for
    rows: Mapping[tuple[str, ...], str | None]


@dataclass(frozen=True, kw_only=True)
class Tables:
    """All of it."""

    genes: Mapping[str, Gene]
    phenotypes: Mapping[str, Mapping[frozenset[str], str]]  #: gene -> pair of alleles -> phenotype
    drugs: tuple[Drug, ...]
    structural: frozenset[str]  #: genes that small variants cannot call


_folder: ContextVar[Path] = ContextVar("folder", default=HERE)


@contextmanager
def from_folder(folder: Path) -> Iterator[None]:
    """Inside, `tables` are those of a folder, as a home's own model has them."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def tables() -> Tables:
    """The tables in use: the committed ones, or those of `from_folder`."""
    return _read(_folder.get())


@cache
def _read(folder: Path) -> Tables:
    panels = tomllib.loads((folder / "panel.toml").read_text("utf-8"))
    pairs = _json(folder, "diplotypes")
    genes = {
        name: _gene(name, entry, panels.get(name, ()), pairs.get(name, {}).get("alleles", ()))
        for name, entry in _json(folder, "genes").items()
    }
    return Tables(
        genes=genes,
        phenotypes={gene: _pairs(entry) for gene, entry in pairs.items()},
        drugs=_drugs(_json(folder, "recommendations")),
        structural=frozenset(panels["structural"]),
    )


def _json(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return found


def _variant(names: list[str], assembly: str) -> Variant:
    place = ASSEMBLIES.index(assembly)
    chromosome, position, reference, alternate = names[place].split("-")
    others = {s for s in names[3 + place].split(",") if s}
    return Variant(
        name=names[place],
        chromosome=chromosome,
        position=int(position),
        reference=reference,
        alternate=alternate,
        rsid=names[2],
        spellings=frozenset(others | {names[place]}),
    )


def _allele(name: str, entry: Mapping[str, Any]) -> Allele:
    return Allele(
        name=name,
        function=entry["function"],
        score=entry["score"],
        core={assembly: frozenset(entry[assembly]) for assembly in ASSEMBLIES},
        structural=entry["structural"],
    )


def _gene(name: str, entry: Mapping[str, Any], panel: Iterable[str], paired: Iterable[str]) -> Gene:
    return Gene(
        name=name,
        method=entry["method"],
        reference=entry["reference"],
        default=entry["default"],
        alleles={allele: _allele(allele, e) for allele, e in entry["alleles"].items()},
        variants={
            a: tuple(_variant(v, a) for v in entry["variants"] if v[ASSEMBLIES.index(a)]) for a in ASSEMBLIES
        },
        phenotypes=entry["phenotypes"],
        equations=tuple((p, q) for p, q in entry["equations"]),
        panel=frozenset(panel),
        further=frozenset(paired) - frozenset(entry["alleles"]),
    )


def _pairs(entry: Mapping[str, Any]) -> dict[frozenset[str], str]:
    """The upper triangle, unrolled; an allele with itself is a set of one."""
    symbols = "0123456789abcdefghijklmnopqrstuvwxyz"
    alleles, phenotypes = entry["alleles"], entry["phenotypes"]
    return {
        frozenset((one, other)): phenotypes[symbols.index(symbol)]
        for place, one in enumerate(alleles)
        for other, symbol in zip(alleles[place:], entry["table"][place], strict=True)
        if symbol != "."
    }


def _drugs(entry: Mapping[str, Any]) -> tuple[Drug, ...]:
    texts = entry["texts"]
    return tuple(
        Drug(
            name=name,
            rows={tuple(row[:-1]): None if row[-1] is None else texts[row[-1]] for row in told["rows"]},
            genes=tuple(told["genes"]),
            pmids=tuple(told["pmids"]),
            label=tuple(told["label"]),
            **{key: told[key] for key in ("rxnorm", "atc", "guideline", "level", "evidence")},
        )
        for name, told in entry["drugs"].items()
    )
