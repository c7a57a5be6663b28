"""Whether the engine gives every row of the CPIC tables again: diplotypes, recommendations, definitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from db.records import Diagnosis
from models.payloads import Call, Variants
from models.pharmacogenomics import train
from models.pharmacogenomics.genotype import HEMIZYGOUS
from models.pharmacogenomics.phenotype import phenotype
from models.pharmacogenomics.tables import ASSEMBLIES, Gene, from_folder, tables
from models.registry import Model

Expected = tuple[Variants, str, str | None]  #: input, what to look for, what should be said


def evaluate(data: Path, *, folds: int | None = None, device: str = "cpu") -> dict[str, Any]:
    """`rows` and `matched` over every diplotype and recommendation row, and of the allele definitions.

    data: a folder of CPIC tables; anything else compares with the committed ones. Each row is put
    through the whole model: its diplotype in as star alleles, its phenotype or recommendation out.
    `definitions`: each allele's variants as homozygous calls of a VCF, and the allele back.
    folds is not needed.
    """
    from models import registry

    folder = data if (data / "diplotype-table.csv").is_file() else None
    return measured(registry.load("pharmacogenomics", device), folder)


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
    told = [f for f in diagnosis.findings if f.evidence.get("drug") == drug]
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


def homozygous(gene: Gene, allele: str, assembly: str) -> Variants:
    """Calls at every position of a gene, with an allele's variants on both chromosomes."""
    core = gene.alleles[allele].core[assembly]
    calls: dict[tuple[str, int], Call] = {}
    for v in gene.variants[assembly]:
        carried = v.name in core
        if carried or (v.chromosome, v.position) not in calls:
            calls[v.chromosome, v.position] = Call(
                chromosome=v.chromosome,
                position=v.position,
                rsid=v.rsid,
                reference=v.reference,
                alternates=(v.alternate,) if carried else (),
                alleles=(1, 1) if carried else (0, 0),
            )
    return Variants(calls=tuple(calls.values()), assembly=assembly)


def _definitions(model: Model) -> tuple[int, int]:
    """(alleles that small variants define, in both assemblies; those that come back from their calls)."""
    from models.pharmacogenomics.genotype import call

    count = matched = 0
    for gene in tables().genes.values():
        if gene.name in tables().structural:
            continue
        for name, allele in gene.alleles.items():
            for assembly in ASSEMBLIES:
                plain = not allele.core[assembly] and name != gene.default[assembly]
                if plain or allele.structural or name == HEMIZYGOUS:
                    continue
                count += 1
                matched += call(gene.name, homozygous(gene, name, assembly)) == [f"{name}/{name}"]
    return count, matched
