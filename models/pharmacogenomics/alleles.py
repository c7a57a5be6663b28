"""Alleles by their names: as the tables write them, and as laboratories do."""

from __future__ import annotations

import re

from db.errors import Abstained
from models.pharmacogenomics.tables import Gene, Variant, tables

COMPLEMENT = {"A": "T", "T": "A", "C": "G", "G": "C"}
_SUBALLELE = re.compile(r"(\*[0-9]+)\.[0-9]{3}(x[2-9])?")
_TWO_NAMES = re.compile(r"(.+?) \((.+)\)")


def given_alleles(gene: Gene, diplotype: str) -> list[str]:
    """The two alleles of a diplotype in the tables' spelling. Raises Abstained `unknown-allele`."""
    names = [part.strip().removeprefix(gene.name).strip() for part in diplotype.replace("|", "/").split("/")]
    names = [_in_tables(gene, _of_base(gene, name)) for name in names]
    if len(names) != 2 or not all(_known(gene, name) for name in names):
        raise Abstained("unknown-allele", f"{gene.name}: the diplotype is not two alleles of the tables")
    return names


def _in_tables(gene: Gene, name: str) -> str:
    """The tables' name of an allele: blanks, capitals, and which of its names is used, do not matter.

    A suballele (`*4.013`) has the function of its core allele, as PharmVar numbers them, and is taken for it.
    """
    if _known(gene, name):
        return name
    there = (*gene.alleles, *gene.further)
    found = {allele for allele in there if _squeezed(name) in map(_squeezed, _names(allele))}
    if len(found) == 1:
        return found.pop()
    suballele = _SUBALLELE.fullmatch(name)
    return suballele[1] + (suballele[2] or "") if suballele else name


def _names(allele: str) -> list[str]:
    """What else the tables' `c.1905+1G>A (*2A)` and `Mediterranean, Dallas, Panama` are called."""
    if match := _TWO_NAMES.fullmatch(allele):
        return [allele, *match.groups()]
    return [allele, *(allele.split(",") if ">" not in allele else ())]


def _squeezed(name: str) -> str:
    return re.sub(r"\s", "", name).lower()


def only(gene: Gene) -> Variant | None:
    """The one variant that decides a gene, None where there are more."""
    found = gene.variants["GRCh38"]
    return found[0] if len(found) == 1 else None


def _of_base(gene: Gene, name: str) -> str:
    """A base at the position that decides a gene, read on either strand, as the allele it stands for.

    VKORC1 is written so: A/G at -1639 on the gene's strand is T/C on the chromosome's. Of a pair of bases
    that complement each other the strand could not be told: they stay what they are, an unknown allele.
    """
    one = only(gene)
    if one is None or name not in COMPLEMENT or COMPLEMENT.get(one.reference) == one.alternate:
        return name
    named = {one.reference: gene.reference, one.alternate: one.rsid}
    return named.get(name) or named.get(COMPLEMENT[name], name)


def _known(gene: Gene, name: str) -> bool:
    """An allele of the tables; where copies count, "*1x2" as well."""
    base, _ = copies(name) if gene.name in tables().structural else (name, 1)
    return base in gene.alleles or name in gene.further


def copies(name: str) -> tuple[str, int]:
    """("*1", 2) of "*1x2"; one copy of an allele written plainly."""
    match = re.fullmatch(r"(.+)x([2-9])", name)
    return (match[1], int(match[2])) if match else (name, 1)
