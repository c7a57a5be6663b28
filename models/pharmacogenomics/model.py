"""The opened rules: a phenotype for each gene that can be told, a recommendation for each of its drugs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from db.errors import Abstained
from db.records import WETREAD, Code, Diagnosis, Finding
from models.card import ModelCard
from models.payloads import Payload, Variants
from models.pharmacogenomics.genotype import call, speaks_of, unknown_genes
from models.pharmacogenomics.phenotype import abnormal, phenotype, recommendation, score, usual
from models.pharmacogenomics.tables import Drug, from_folder, tables

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


class Pharmacogenomics:
    """The model; plain look-up on the CPU whatever the device asked for."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.device = "cpu"
        with from_folder(card.folder):
            tables()  # read at opening, not at the first case

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a person, in order; a payload it was not made for abstains alone."""
        with from_folder(self.card.folder):
            return [self._examine(payload) for payload in payloads]

    def _examine(self, payload: Payload) -> Diagnosis:
        if not isinstance(payload, Variants):
            return Diagnosis.abstain(
                "not-variants", "genotypes were expected, another kind of input was given"
            )
        genes = speaks_of(payload)
        if not genes:
            return Diagnosis.abstain(
                "no-known-gene", "no position or diplotype of a gene of the tables is given"
            )
        findings = [self._gene(gene, payload) for gene in genes]
        findings += [_open(g, f"gene-not-in-tables: the tables lack {g}") for g in unknown_genes(payload)]
        told = {
            f.site: str(f.evidence["phenotype"]) for f in findings if f.site and "phenotype" in f.evidence
        }
        if all(f.abstained for f in findings):
            reasons = "; ".join(sorted({str(f.reason) for f in findings}))
            return Diagnosis(abstained=True, reason=f"no-gene-called: no gene could be called; {reasons}")
        open_genes = {f.site for f in findings if f.abstained}
        drugs = (self._drug(drug, told, open_genes) for drug in tables().drugs)
        return Diagnosis(findings=(*findings, *(d for d in drugs if d is not None)))

    def _gene(self, name: str, payload: Variants) -> Finding:
        try:
            return self._phenotype(name, call(name, payload))
        except Abstained as error:
            return _open(name, str(error))

    def _phenotype(self, name: str, pairs: list[str]) -> Finding:
        if not tables().genes[name].method:
            return _genotype(name, pairs)
        phenotypes = {pair: phenotype(name, pair) for pair in pairs}
        if len(set(phenotypes.values())) > 1:
            told = "; ".join(f"{pair} {p}" for pair, p in sorted(phenotypes.items()))
            raise Abstained("ambiguous-phase", f"{name}: without phase it may be {told}")
        found = phenotypes[pairs[0]]
        gene = tables().genes[name]
        return Finding(
            code=Code(value=_slug(f"{name} {found}"), system=WETREAD, meaning=f"{name} {found}"),
            positive=abnormal(name, found),
            value=score(gene, pairs[0]) if gene.method == "score" else None,
            unit="{score}" if gene.method == "score" else None,
            site=name,
            evidence={
                "kind": "genotype",
                "gene": name,
                "diplotype": pairs[0],
                "alternatives": pairs[1:],
                "phenotype": found,
                "functions": {
                    a: gene.alleles[a].function for a in sorted(set(pairs[0].split("/"))) if a in gene.alleles
                },
                "tables": self.card.version,
            },
        )

    def _drug(self, drug: Drug, told: dict[str, str], open_genes: set[str | None]) -> Finding | None:
        text = recommendation(drug, told)
        unsettled = [gene for gene in drug.genes if gene in open_genes]
        genes = {gene: told[gene] for gene in drug.genes if gene in told}
        if text is None:
            return None
        common: dict[str, Any] = {
            "code": Code(value=drug.rxnorm, system=RXNORM, meaning=drug.name)
            if drug.rxnorm
            else Code(value=_slug(drug.name), system=WETREAD, meaning=drug.name)
        }
        if unsettled:  # the guideline for the other gene alone would pass for an all-clear
            reason = (
                f"gene-not-called: {' and '.join(unsettled)}, on which {drug.name} depends, is not called"
            )
            seen = {"kind": "recommendation", "drug": drug.name, "genes": genes}
            return Finding(**common, positive=False, abstained=True, reason=reason, evidence=seen)
        return Finding(
            **common,
            positive=text not in usual(drug),
            evidence={
                "kind": "recommendation",
                "drug": drug.name,
                "genes": genes,
                "not_known": [gene for gene in drug.genes if gene not in told],
                "recommendation": text,
                "guideline": drug.guideline,
                "pmids": list(drug.pmids),
                "cpic_level": drug.level,
                "pharmgkb_level": drug.evidence,
                "fda_label": list(drug.label),
                "atc": drug.atc,
                "population": "as the guideline states; the tables do not tell children from adults",
                "tables": self.card.version,
            },
        )


def _open(name: str, reason: str) -> Finding:
    """A gene that the input speaks of and that cannot be told."""
    return Finding(
        code=Code(value=f"pgx-{name.lower()}", system=WETREAD, meaning=f"{name} phenotype"),
        positive=False,
        site=name,
        abstained=True,
        reason=reason,
        evidence={"kind": "genotype", "gene": name},
    )


def _genotype(name: str, pairs: list[str]) -> Finding:
    """A gene that CPIC translates into no phenotype: its diplotype alone, for dose equations."""
    if len(pairs) > 1:
        raise Abstained("ambiguous-phase", f"{name}: without phase it may be {' or '.join(pairs)}")
    return Finding(
        code=Code(value=_slug(f"{name} genotype"), system=WETREAD, meaning=f"{name} genotype"),
        positive=None,
        site=name,
        evidence={"kind": "genotype", "gene": name, "diplotype": pairs[0]},
    )


def _slug(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:64]
