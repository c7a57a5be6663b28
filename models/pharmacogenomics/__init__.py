"""From a person's genotype to CPIC's phenotypes and drug recommendations, each with its guideline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.records import Finding
from models.payloads import Call, Payload, Variants
from models.registry import Explanation

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.registry import Model

HERE = Path(__file__).parent


def load(card: ModelCard, device: str) -> Model:
    """The rules, opened. They run on the CPU, whatever device is asked for."""
    from models.pharmacogenomics.model import Pharmacogenomics

    return Pharmacogenomics(card)


def variants(stored: Mapping[str, Any]) -> Variants:
    """The genotype that a JSON object of the example's form holds."""
    calls = tuple(
        Call(**{**c, "alternates": tuple(c["alternates"]), "alleles": tuple(c["alleles"])})
        for c in stored["calls"]
    )
    return Variants(calls=calls, diplotypes=stored["diplotypes"], assembly=stored["assembly"])


def example() -> Payload:
    """An invented genotype: some calls of a GRCh38 VCF and one diplotype given as star alleles."""
    return variants(json.loads((HERE / "example" / "genotype.json").read_text("utf-8")))


def _row(finding: Finding) -> list[str]:
    seen: Mapping[str, Any] = finding.evidence
    said = seen.get("recommendation") or f"diplotype {seen.get('diplotype', '')}"
    source = " ".join([str(seen.get("guideline", "")), *(f"PMID {p}" for p in seen.get("pmids", ()))])
    told = str(finding.reason if finding.abstained else said)
    return [finding.code.meaning, told, ", ".join(_genes(seen)), source.strip()]


def _genes(seen: Mapping[str, Any]) -> list[str]:
    genes: Mapping[str, str] = seen.get("genes", {})
    return [f"{gene} {phenotype}" for gene, phenotype in genes.items()]


def render(payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """A table of what each finding says, from which genes, and by which guideline."""
    from models.drawing import page, table

    rows = [_row(finding) for finding in findings]
    told = table(("finding", "says", "because of", "source"), rows)
    return Explanation(media_type="text/html", content=page("pharmacogenomics", told))
