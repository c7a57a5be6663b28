"""From a diplotype to CPIC's phenotype, by its table or by the activity score, and on to recommendations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from db.errors import Abstained
from models.pharmacogenomics.alleles import copies
from models.pharmacogenomics.tables import Drug, Gene, tables

INDETERMINATE = "Indeterminate"


def score(gene: Gene, diplotype: str) -> float | None:
    """The activity score of a diplotype, each copy counted; None when an allele has none."""
    total = 0.0
    for base, number in map(copies, diplotype.split("/")):
        value = gene.alleles[base].score if base in gene.alleles else None
        if value is None:
            return None
        total += number * value
    return total


def phenotype(name: str, diplotype: str) -> str:
    """CPIC's phenotype of a gene's diplotype; Indeterminate where an allele's function is not known.

    Raises Abstained: `no-phenotype` for a gene or a pair that CPIC translates into none.
    """
    gene = tables().genes[name]
    if gene.method == "score":
        total = score(gene, diplotype)
        return INDETERMINATE if total is None else _by_score(gene, total)
    found = tables().phenotypes.get(name, {}).get(frozenset(diplotype.split("/")))
    if found is None:
        raise Abstained("no-phenotype", f"{name}: CPIC's tables give this diplotype no phenotype")
    return found


def _by_score(gene: Gene, total: float) -> str:
    for told, condition in gene.equations:
        if _holds(condition, total):
            return told
    raise Abstained("no-phenotype", f"{gene.name}: no phenotype covers an activity score of {total}")


def _holds(condition: str, total: float) -> bool:
    """`0.25 <= score < 1.25`, `2 == score` and `2.5 <= score`, the three forms that the table has."""
    parts = condition.split()
    place = parts.index("score")
    compare = {"<=": lambda a, b: a <= b, "<": lambda a, b: a < b, "==": lambda a, b: a == b}
    left = place == 0 or compare[parts[place - 1]](float(parts[place - 2]), total)
    right = place == len(parts) - 1 or compare[parts[place + 1]](total, float(parts[place + 2]))
    return bool(left and right)


def abnormal(name: str, told: str) -> bool:
    """Whether CPIC flags a phenotype in an electronic record, or calls the response unfavourable."""
    priority = tables().genes[name].phenotypes.get(told, "")
    return priority.startswith("Abnormal") or told == "Unfavorable Response"


def recommendation(drug: Drug, phenotypes: Mapping[str, str]) -> str | None:
    """What the guideline says for these phenotypes; a gene that is not known counts as such.

    None where the guideline says nothing, or no gene of the drug is known.
    """
    known = tuple(phenotypes.get(gene, "") for gene in drug.genes)
    return drug.rows.get(known) if any(known) else None


@cache
def usual(drug: Drug) -> frozenset[str]:
    """What the guideline says where no gene's phenotype is out of the ordinary."""
    return frozenset(
        text
        for row, text in drug.rows.items()
        if text is not None and not any(p and abnormal(g, p) for g, p in zip(drug.genes, row, strict=True))
    )
