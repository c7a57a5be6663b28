"""Whether the engine gives every row of the CPIC tables again: diplotypes, recommendations, definitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from db.errors import Abstained
from db.records import Diagnosis, Finding
from models.payloads import Call, Variants
from models.pharmacogenomics import train
from models.pharmacogenomics.genotype import HEMIZYGOUS
from models.pharmacogenomics.phenotype import phenotype
from models.pharmacogenomics.tables import ASSEMBLIES, Gene, Variant, from_folder, tables
from models.registry import Model

ASSEMBLY = "GRCh38"  #: of the pairs that are asked
PAIRS = 150  #: of a gene's alleles that are asked at most
NOTE = (
    f"Pairs of different alleles as calls of a VCF without phase, at most {PAIRS} a gene, every pair as "
    "often as any other, so that rare alleles count more than in patients; of a mitochondrial gene, of which "
    "a person has one, each allele alone. Left open is what could be another pair with another phenotype."
)
Expected = tuple[Variants, str, str | None]  #: input, what to look for, what should be said


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "pharmacogenomics"
) -> dict[str, Any]:
    """`rows` and `matched` over every diplotype and recommendation row, and of the allele definitions.

    data: a folder of CPIC tables; anything else compares with the committed ones. Each row is put
    through the whole model: its diplotype in as star alleles, its phenotype or recommendation out.
    `definitions`: each allele's variants as homozygous calls of a VCF, and the allele back.
    folds is not needed.
    """
    from models import registry

    folder = data if (data / "diplotype-table.csv").is_file() else None
    return measured(registry.load(name, device), folder)


def measured(model: Model, folder: Path | None) -> dict[str, Any]:
    """The figures of `evaluate` by a model on a folder of CPIC tables; None: on the model's own tables."""
    with from_folder(model.card.folder):
        return _measured(model, folder)


def _measured(model: Model, folder: Path | None) -> dict[str, Any]:
    parts = {
        "diplotype": _run(model, _diplotype_rows(folder), _said_phenotype),
        "recommendation": _run(model, _recommendation_rows(folder), _said_recommendation),
    }
    rows, matched = (sum(part[i] for part in parts.values()) for i in (0, 1))
    defined, found = _definitions(model)
    share = round(matched / rows, 6)
    return {
        "rows": rows,
        "matched": matched,
        "matched_fraction": {"value": share, "low": round(max(0.0, share - 3 / rows), 6), "high": share},
        **{f"{name}_rows": part[0] for name, part in parts.items()},
        **{f"{name}_matched": part[1] for name, part in parts.items()},
        "definitions": defined,
        "definitions_matched": found,
        "n": rows,
        "note": "against the folder's tables" if folder else "against the committed tables",
    }


def _run(model: Model, rows: Iterable[Expected], said: Any) -> tuple[int, int]:
    count = matched = 0
    for variants, what, expected in rows:
        (diagnosis,) = model.examine([variants])
        count += 1
        matched += said(diagnosis, what) == expected
    return count, matched


def _said_phenotype(diagnosis: Diagnosis, gene: str) -> str | None:
    told = [f for f in diagnosis.findings if f.site == gene and not f.abstained]
    return str(told[0].evidence["phenotype"]) if told else None


def _said_recommendation(diagnosis: Diagnosis, drug: str) -> str | None:
    told = [f for f in diagnosis.findings if f.evidence.get("drug") == drug and not f.abstained]
    return str(told[0].evidence["recommendation"]) if told else None


def _diplotype_rows(folder: Path | None) -> Iterator[Expected]:
    if folder is not None:
        for row in train.read(folder, "diplotype"):
            yield Variants(diplotypes={row["Gene"]: row["Diplotype"]}), row["Gene"], row["Phenotype"]
        return
    for gene, pairs in tables().phenotypes.items():
        for pair, told in pairs.items():
            names = (*pair, *pair)[:2]
            yield Variants(diplotypes={gene: "/".join(names)}), gene, told


def _carrier(gene: str, told: str) -> str:
    """A diplotype of a gene with this phenotype. Raises ValueError when no pair of alleles has it."""
    pairs = tables().phenotypes.get(gene)
    if pairs is not None:
        found = next((pair for pair, p in pairs.items() if p == told), None)
        if found is not None:
            return "/".join((*found, *found)[:2])
    names = list(tables().genes[gene].alleles)
    if gene in tables().structural:
        names = [*names, *(f"{name}x2" for name in names)]
    for one in names:
        for other in names:
            if pairs is None and phenotype(gene, f"{one}/{other}") == told:
                return f"{one}/{other}"
    raise ValueError(f"{gene}: no diplotype has the phenotype {told!r}")


def _recommendation_rows(folder: Path | None) -> Iterator[Expected]:
    if folder is not None:
        drugs = train.recommendations(folder)
        told = [
            (name, entry["genes"], row[:-1], None if row[-1] is None else drugs["texts"][row[-1]])
            for name, entry in drugs["drugs"].items()
            for row in entry["rows"]
        ]
    else:
        told = [
            (d.name, list(d.genes), list(row), text) for d in tables().drugs for row, text in d.rows.items()
        ]
    for drug, genes, phenotypes, text in told:
        given = {g: _carrier(g, p) for g, p in zip(genes, phenotypes, strict=True) if p}
        yield Variants(diplotypes=given), drug, text


def genotype(gene: Gene, pair: tuple[str, str], assembly: str) -> Variants:
    """Calls at every position of a gene, without phase, of a person with these two alleles.

    Raises ValueError where the two need different spellings of one position, which one call cannot hold.
    """
    cores = [gene.alleles[name].core[assembly] for name in pair]
    places: dict[tuple[str, int], list[Variant]] = {}
    for variant in gene.variants[assembly]:
        places.setdefault((variant.chromosome, variant.position), []).append(variant)
    return Variants(
        calls=tuple(_call(there, [_carried(there, core) for core in cores]) for there in places.values()),
        assembly=assembly,
    )


def _carried(there: list[Variant], core: frozenset[str]) -> Variant | None:
    """Which of a position's variants an allele has."""
    return next((v for v in reversed(there) if v.name in core), None)


def _call(there: list[Variant], sides: list[Variant | None]) -> Call:
    carried = list(dict.fromkeys(v for v in sides if v is not None))
    shown = carried[0] if carried else there[0]
    if len({v.reference for v in carried}) > 1:
        raise ValueError(f"{shown.name}: two spellings at one position")
    return Call(
        chromosome=shown.chromosome,
        position=shown.position,
        rsid=shown.rsid,
        reference=shown.reference,
        alternates=tuple(v.alternate for v in carried),
        alleles=tuple(0 if v is None else carried.index(v) + 1 for v in sides),
    )


def homozygous(gene: Gene, allele: str, assembly: str) -> Variants:
    """Calls at every position of a gene, with an allele's variants on both chromosomes."""
    return genotype(gene, (allele, allele), assembly)


def _definable(gene: Gene, assembly: str) -> list[str]:
    """The alleles of a gene that small variants define in an assembly."""
    if gene.name in tables().structural:
        return []
    return [
        name
        for name, allele in gene.alleles.items()
        if (allele.core[assembly] or name == gene.default[assembly])
        and not allele.structural
        and name != HEMIZYGOUS
    ]


def _definitions(model: Model) -> tuple[int, int]:
    """(alleles that small variants define, in both assemblies; those that come back from their calls)."""
    from models.pharmacogenomics.genotype import call

    count = matched = 0
    for gene in tables().genes.values():
        for assembly in ASSEMBLIES:
            for name in _definable(gene, assembly):
                count += 1
                matched += call(gene.name, homozygous(gene, name, assembly)) == [f"{name}/{name}"]
    return count, matched


def curves(data: Path) -> dict[str, Any]:
    """For each gene: of pairs of alleles as unphased calls of a VCF, how many are answered, and rightly.

    See `models.training.curves`. The tables are the released ones whatever data is; PAIRS a gene are drawn,
    each pair of alleles as often as any other, in GRCh38. Right: the phenotype (or, where CPIC has none, the
    diplotype) is that of the pair.
    """
    from models import registry

    served = registry.load("pharmacogenomics", "cpu")
    told = {gene.name: _asked(served, gene) for gene in tables().genes.values()}
    shares = {
        name: (sum(a for a, _ in found), sum(r for _, r in found), len(found)) for name, found in told.items()
    }
    unseen = ", ".join(name for name, found in told.items() if not found)
    return {
        "shares": shares,
        "answered": [a for found in told.values() for a, _ in found],
        "note": f"{NOTE} Not asked, since calls do not show them: {unseen}.",
    }


def _asked(served: Model, gene: Gene) -> list[tuple[bool, bool]]:
    """(answered, and rightly) of pairs of a gene's alleles."""
    pairs = _pairs(gene)
    chosen = np.random.default_rng(0).permutation(len(pairs))[:PAIRS]
    found = []
    for place in sorted(chosen.tolist()):
        try:
            variants = genotype(gene, pairs[place], ASSEMBLY)
        except ValueError:
            continue  # no VCF line could hold it
        (diagnosis,) = served.examine([variants])
        finding = next((f for f in diagnosis.findings if f.site == gene.name and not f.abstained), None)
        found.append((finding is not None, finding is not None and _right(gene, finding, pairs[place])))
    return found


def _pairs(gene: Gene) -> list[tuple[str, str]]:
    """Every two alleles of a gene; a mitochondrial one's alone, since a person has but one."""
    names = _definable(gene, ASSEMBLY)
    if any(v.chromosome == "M" for v in gene.variants[ASSEMBLY]):
        return [(name, name) for name in names]
    return list(combinations(names, 2))


def _right(gene: Gene, finding: Finding, pair: tuple[str, str]) -> bool:
    if "phenotype" in finding.evidence:
        try:
            return finding.evidence["phenotype"] == phenotype(gene.name, "/".join(pair))
        except Abstained:
            return False  # CPIC gives the pair no phenotype: another pair was answered
    return set(str(finding.evidence["diplotype"]).split("/")) == set(pair)
