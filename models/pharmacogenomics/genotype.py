"""From the calls of a VCF, or star alleles as given, to one diplotype a gene; or the reason why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

from db.errors import Abstained
from models.payloads import Call, Variants
from models.pharmacogenomics.alleles import given_alleles, only
from models.pharmacogenomics.tables import ASSEMBLIES, Allele, Gene, Variant, tables

MOST_HETEROZYGOUS = 8  #: of one gene; 2**7 ways to share them out are tried
HEMIZYGOUS = "MALE"  #: how the tables write the second allele of one X chromosome

Haplotype = frozenset[str]  #: names of the defining variants on one chromosome


def diplotypes(variants: Variants) -> dict[str, str]:
    """gene -> diplotype of each gene that can be told for sure; the others are left out."""
    found = {}
    for gene in tables().genes:
        try:
            pairs = call(gene, variants)
        except Abstained:
            continue
        if len(pairs) == 1:
            found[gene] = pairs[0]
    return found


def speaks_of(variants: Variants) -> list[str]:
    """The genes that the input says anything about, in the tables' order."""
    given = {gene.upper() for gene in variants.diplotypes}
    return [g for g, gene in tables().genes.items() if g.upper() in given or _touches(gene, variants)]


def unknown_genes(variants: Variants) -> list[str]:
    """The genes of which a diplotype is given and the tables have nothing."""
    known = {name.upper() for name in tables().genes}
    return [g for g in variants.diplotypes if g.upper() not in known and not g.lower().startswith("rs")]


def call(name: str, variants: Variants) -> list[str]:
    """Every diplotype of a gene that fits what was found, the alleles of each in the tables' order.

    A diplotype given as star alleles goes before calls. Raises Abstained: `unknown-allele`,
    `missing-positions`, `structural-gene`, `assembly-unknown`, `ambiguous-phase`.
    """
    gene = tables().genes[name]
    given = {g.upper(): d for g, d in variants.diplotypes.items()}
    if (told := given.get(name.upper()) or _by_rsid(gene, given)) is not None:
        return [_spelled(gene, given_alleles(gene, told))]
    if name in tables().structural:
        raise Abstained("structural-gene", f"{name} is decided by deletions and hybrids, not seen in calls")
    assembly = assembly_of(variants)
    return _called(gene, variants, assembly)


def assembly_of(variants: Variants) -> str:
    """The assembly as stated, else the only one in which known rsIDs stand where they are called.

    Raises Abstained `assembly-unknown`.
    """
    if variants.assembly in ASSEMBLIES:
        return variants.assembly
    places = {(c.rsid, _plain(c.chromosome), c.position) for c in variants.calls if c.rsid}
    fits = [
        assembly
        for assembly in ASSEMBLIES
        for gene in tables().genes.values()
        for v in gene.variants[assembly]
        if (v.rsid, v.chromosome, v.position) in places
    ]
    if len(set(fits)) != 1 or variants.assembly:
        raise Abstained("assembly-unknown", "the calls do not say whether they are of GRCh37 or GRCh38")
    return fits[0]


def _plain(chromosome: str) -> str:
    plain = chromosome.removeprefix("chr")
    return "M" if plain == "MT" else plain


def _touches(gene: Gene, variants: Variants) -> bool:
    known = {(v.chromosome, v.position) for a in ASSEMBLIES for v in gene.variants[a]}
    return any((_plain(c.chromosome), c.position) in known for c in variants.calls)


def _by_rsid(gene: Gene, given: Mapping[str, str]) -> str | None:
    """The bases given by the rsID of a gene that one position decides."""
    one = only(gene)
    return given.get(one.rsid.upper()) if one and one.rsid else None


def _spelled(gene: Gene, names: Iterable[str]) -> str:
    order = list(gene.alleles)
    return "/".join(
        sorted(names, key=lambda n: (n == HEMIZYGOUS, order.index(n) if n in order else len(order), n))
    )


def _called(gene: Gene, variants: Variants, assembly: str) -> list[str]:
    calls = _calls(gene, variants, assembly)
    missing = _panel(gene, assembly) - set(calls)
    if missing:
        raise Abstained(
            "missing-positions",
            f"{gene.name}: {len(missing)} of {len(_panel(gene, assembly))} positions asked for lack a call",
        )
    fixed, loose = _alternates(gene, calls, assembly)
    if len(loose) > MOST_HETEROZYGOUS:
        raise Abstained("ambiguous-phase", f"{gene.name}: {len(loose)} heterozygous positions without phase")
    single = all(len(c.alleles) == 1 for c in calls.values())
    found: list[str] = []
    for one, other in _shares(fixed, loose):
        pair = [name for h in (one, other) if (name := _named(gene, h, assembly)) is not None]
        if len(pair) == 2:
            found.append(_spelled(gene, [pair[0], HEMIZYGOUS] if single and _has_male(gene) else pair))
    if not found:
        raise Abstained("unknown-allele", f"{gene.name}: the variants found make up no allele of the tables")
    return sorted(set(found))


def _has_male(gene: Gene) -> bool:
    return HEMIZYGOUS in gene.alleles


def _calls(gene: Gene, variants: Variants, assembly: str) -> dict[tuple[str, int], Call]:
    """The usable calls at the gene's positions: called, and not filtered out."""
    known = {(v.chromosome, v.position) for v in gene.variants[assembly]}
    return {
        place: c
        for c in variants.calls
        if (place := (_plain(c.chromosome), c.position)) in known
        and c.passed
        and c.alleles
        and -1 not in c.alleles
    }


def _panel(gene: Gene, assembly: str) -> set[tuple[str, int]]:
    names = {v for a in gene.panel for v in gene.alleles[a].core[assembly]}
    if gene.reference in gene.alleles and gene.panel:  # where the genome itself carries a variant allele
        default = gene.alleles.get(gene.default[assembly])
        if default is not None and default.name != gene.reference:
            names |= gene.alleles[gene.reference].core[assembly]
    return {(v.chromosome, v.position) for v in gene.variants[assembly] if not gene.panel or v.name in names}


def _alternates(
    gene: Gene, calls: Mapping[tuple[str, int], Call], assembly: str
) -> tuple[tuple[set[str], set[str]], list[str]]:
    """(variants known to lie on the one and the other chromosome, heterozygous variants without phase)."""
    fixed: tuple[set[str], set[str]] = (set(), set())
    loose: list[str] = []
    for c in calls.values():
        names = [None if i == 0 else _name(gene, c, i, assembly) for i in c.alleles]
        if len(names) == 1:
            names = [names[0], names[0]]
        if c.phased or names[0] == names[1] or None not in names:
            for side, name in zip(fixed, names, strict=True):
                side.update({name} - {None})  # type: ignore[arg-type]
        else:
            loose += [n for n in names if n is not None]
    return fixed, loose


def _name(gene: Gene, c: Call, index: int, assembly: str) -> str:
    """The table's name of a called alternate. Raises Abstained `unknown-allele` for one it has not."""
    if index > len(c.alternates):
        raise Abstained(
            "unknown-allele", f"{gene.name}: a call names an alternate that its line does not list"
        )
    spelled = _trim(c.position, c.reference, c.alternates[index - 1])
    for variant in gene.variants[assembly]:
        if any(_same(spelled, _plain(c.chromosome), s) for s in variant.spellings):
            return variant.name
    raise Abstained("unknown-allele", f"{gene.name}: a variant at a defining position is not in the tables")


def _trim(position: int, reference: str, alternate: str) -> tuple[int, str, str]:
    """Position and alleles without what they share at the end, then at the start, but for one base."""
    reference, alternate = reference.upper(), alternate.upper()
    while min(len(reference), len(alternate)) > 1 and reference[-1] == alternate[-1]:
        reference, alternate = reference[:-1], alternate[:-1]
    while min(len(reference), len(alternate)) > 1 and reference[0] == alternate[0]:
        position, reference, alternate = position + 1, reference[1:], alternate[1:]
    return position, reference, alternate


def _same(spelled: tuple[int, str, str], chromosome: str, name: str) -> bool:
    told, position, reference, alternate = name.split("-")
    return chromosome == told and spelled == _trim(int(position), reference, alternate)


def _shares(fixed: tuple[set[str], set[str]], loose: list[str]) -> Iterable[tuple[Haplotype, Haplotype]]:
    """Every way to share the loose variants out; mirror images are told once when nothing is fixed apart."""
    free = fixed[0] != fixed[1]
    for sides in product((0, 1), repeat=len(loose) if free else max(0, len(loose) - 1)):
        chosen = sides if free or not loose else (0, *sides)
        pair = (set(fixed[0]), set(fixed[1]))
        for name, side in zip(loose, chosen, strict=True):
            pair[side].add(name)
        yield frozenset(pair[0]), frozenset(pair[1])


def _named(gene: Gene, haplotype: Haplotype, assembly: str) -> str | None:
    """The allele that a chromosome with these variants carries; None when the tables have none.

    Variants of the reference allele itself (where the genome carries another) say nothing beside
    further ones. Alleles without star name one change each, and may share a chromosome: the one
    that takes most function away counts.
    """
    normal = gene.alleles[gene.reference].core[assembly]
    rest = haplotype - normal
    if not rest:
        return gene.reference if normal <= haplotype else gene.default[assembly]
    within = [
        a
        for a in gene.alleles.values()
        if not a.structural and (core := a.core[assembly] - normal) and core <= rest
    ]
    if frozenset(v for a in within for v in a.core[assembly] - normal) != rest:
        return None
    whole = [a for a in within if not any(a.core[assembly] < b.core[assembly] for b in within)]
    if len(whole) > 1 and gene.reference.startswith("*"):
        return None
    return min(whole, key=_harm).name


HARM = ("No Function", "Deficient", "Decreased Function", "Unfavorable Response")


def _harm(allele: Allele) -> tuple[float, int, str]:
    score = allele.score if allele.score is not None else 9.0
    place = next((i for i, word in enumerate(HARM) if word in allele.function), len(HARM))
    return score, place, allele.name


def positions(name: str, assembly: str) -> tuple[Variant, ...]:
    """The defining variants of a gene in an assembly: what a laboratory must report on."""
    return tables().genes[name].variants[assembly]
