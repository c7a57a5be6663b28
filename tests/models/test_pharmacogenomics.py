"""Genotypes become CPIC's phenotypes and recommendations, or stay open for a stated reason."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.records import Diagnosis, Finding
from models import registry
from models.payloads import Call, Note, Variants
from models.pharmacogenomics import evaluate, example
from models.pharmacogenomics.genotype import diplotypes
from models.pharmacogenomics.tables import tables

DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
CPIC = DATA / "treatment" / "cpic"
needs_data = pytest.mark.skipif(not CPIC.is_dir(), reason="needs the data folder: set WETREAD_DATA")


def examine(payload: Variants) -> Diagnosis:
    return registry.load("pharmacogenomics", "cpu").examine([payload])[0]


def gene(diagnosis: Diagnosis, name: str) -> Finding:
    return next(f for f in diagnosis.findings if f.site == name)


def drug(diagnosis: Diagnosis, name: str) -> Finding:
    return next(f for f in diagnosis.findings if f.code.meaning == name)


def panel(name: str, carried: dict[str, tuple[int, ...]], *, phased: bool = False) -> Variants:
    """GRCh38 calls at every position of a gene: reference but for the variants carried."""
    calls = {}
    for v in tables().genes[name].variants["GRCh38"]:
        if v.name in carried or (v.chromosome, v.position) not in calls:
            calls[v.chromosome, v.position] = Call(
                chromosome=f"chr{v.chromosome}", position=v.position, rsid=v.rsid, reference=v.reference,
                alternates=(v.alternate,), alleles=carried.get(v.name, (0, 0)), phased=phased,
            )  # fmt: skip
    return Variants(calls=tuple(calls.values()), assembly="GRCh38")


# CPIC guideline for clopidogrel (Lee 2022), table 2: *2/*2 is a poor metaboliser, to be given another drug
def test_two_lost_alleles_of_cyp2c19_warn_of_clopidogrel() -> None:
    found = examine(Variants(diplotypes={"CYP2C19": "*2/*2"}))
    assert gene(found, "CYP2C19").code.value == "cyp2c19-poor-metabolizer"
    told = drug(found, "clopidogrel")
    assert told.positive
    assert told.code.value == "32968"
    assert str(told.evidence["recommendation"]).startswith("Avoid standard dose (75 mg/day) clopidogrel")
    assert "35034351" in told.evidence["pmids"]  # type: ignore[operator]


# CPIC: CYP2D6 activity scores *1 1, *4 0; *1x2/*1 is 3, ultrarapid from 2.5 on (Caudle 2020)
@pytest.mark.parametrize(
    ("diplotype", "score", "phenotype"), [("*4/*1", 1.0, "Intermediate"), ("*1x2/*1", 3.0, "Ultrarapid")]
)
def test_activity_scores_add_up_over_copies(diplotype: str, score: float, phenotype: str) -> None:
    found = gene(examine(Variants(diplotypes={"CYP2D6": diplotype})), "CYP2D6")
    assert found.value == score
    assert phenotype in found.code.meaning


def test_both_changes_of_one_allele_are_one_allele() -> None:
    carried = {"10-94775367-A-G": (0, 1), "10-94781859-G-A": (0, 1), "10-94842866-A-G": (1, 1)}
    assert diplotypes(panel("CYP2C19", carried)) == {"CYP2C19": "*1/*2"}


TPMT_3A = {"6-18130687-T-C": (0, 1), "6-18138997-C-T": (0, 1)}


def test_phase_that_decides_the_phenotype_is_not_guessed() -> None:
    found = examine(panel("TPMT", TPMT_3A))
    assert found.abstained
    assert "ambiguous-phase" in str(found.reason)


def test_phase_that_is_given_decides() -> None:
    assert diplotypes(panel("TPMT", TPMT_3A, phased=True)) == {"TPMT": "*1/*3A"}


def test_a_position_of_the_panel_that_is_not_called_leaves_the_gene_open() -> None:
    whole = panel("CYP2C9", {})
    less = replace(whole, calls=tuple(c for c in whole.calls if c.rsid != "rs1057910"))
    assert diplotypes(whole) == {"CYP2C9": "*1/*1"}
    assert "missing-positions" in str(examine(less).reason)


def test_a_call_that_failed_its_filter_is_no_call() -> None:
    whole = panel("NUDT15", {})
    failed = replace(whole, calls=tuple(replace(c, passed=c.rsid != "rs116855232") for c in whole.calls))
    assert "missing-positions" in str(examine(failed).reason)


@pytest.mark.parametrize("diplotype", ["*1/*999", "*1", "normal", "*1/*2/*3"])
def test_an_unknown_allele_is_not_translated(diplotype: str) -> None:
    found = examine(Variants(diplotypes={"CYP2C19": diplotype}))
    assert found.abstained
    assert "unknown-allele" in str(found.reason)


# CPIC 2017 (DPYD), 2018 (G6PD); PharmVar: suballeles (*4.013) share the function of their core allele
@pytest.mark.parametrize(
    ("name", "written", "in_tables"),
    [
        ("DPYD", "c.1905+1G>A/Reference", "Reference/c.1905+1G>A (*2A)"),
        ("DPYD", "*2A/reference", "Reference/c.1905+1G>A (*2A)"),
        ("DPYD", "Reference/HapB3", "Reference/c.1129-5923C>G, c.1236G>A (HapB3)"),
        ("G6PD", "Sassari/MALE", "Mediterranean, Dallas, Panama, Sassari, Cagliari, Birmingham/MALE"),
        ("CYP2D6", "*4.013/*1x2", "*4/*1x2"),
        ("CYP2C19", "CYP2C19*2|CYP2C19*1", "*1/*2"),
    ],
)
def test_an_allele_may_be_called_by_any_of_its_names(name: str, written: str, in_tables: str) -> None:
    assert gene(examine(Variants(diplotypes={name: written})), name).evidence["diplotype"] == in_tables


def test_a_gene_that_the_tables_lack_is_not_passed_over_in_silence() -> None:
    found = gene(examine(Variants(diplotypes={"HLA-B": "*57:01/*08:01", "CYP2C19": "*1/*1"})), "HLA-B")
    assert found.abstained
    assert str(found.reason).startswith("gene-not-in-tables")


def test_cyp2d6_is_not_read_off_small_variants() -> None:
    assert "structural-gene" in str(examine(panel("CYP2D6", {})).reason)


def test_a_drug_of_two_genes_is_left_open_when_one_could_not_be_called() -> None:
    both = replace(panel("TPMT", TPMT_3A), diplotypes={"NUDT15": "*1/*1"})
    told = drug(examine(both), "azathioprine")
    assert told.abstained
    assert str(told.reason).startswith("gene-not-called")


def test_the_assembly_is_told_from_known_positions_when_the_file_does_not_say() -> None:
    assert diplotypes(replace(panel("CYP2C9", {"10-94981296-A-C": (0, 1)}), assembly="")) == {
        "CYP2C9": "*1/*3"
    }


def test_other_inputs_abstain_alone() -> None:
    model = registry.load("pharmacogenomics", "cpu")
    first, second = model.examine([Note(text="no genes here"), example()])
    assert str(first.reason).startswith("not-variants")
    assert second.findings


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from([*tables().genes, "BRCA1", ""]), st.text(max_size=12), max_size=4))
def test_no_text_breaks_the_engine(given_diplotypes: dict[str, str]) -> None:
    examine(Variants(diplotypes=given_diplotypes))


def test_two_alleles_are_written_as_calls_without_phase() -> None:
    gene = tables().genes["CYP2C9"]
    made = evaluate.genotype(gene, ("*1", "*3"), "GRCh38")
    carried = [c for c in made.calls if c.alleles != (0, 0)]
    assert [(c.position, c.alternates, c.alleles) for c in carried] == [(94981296, ("C",), (0, 1))]
    assert not any(c.phased for c in made.calls)
    assert diplotypes(made) == {"CYP2C9": "*1/*3"}


def test_what_two_alleles_may_be_taken_for_is_asked_gene_by_gene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "PAIRS", 3)
    found = evaluate.curves(tmp_path)
    assert found["shares"]["CYP2C19"][2] == 3
    assert found["shares"]["CYP2D6"] == (0, 0, 0)  # told by deletions and hybrids
    assert "CYP2D6" in found["note"]
    assert all(right <= answered <= asked for answered, right, asked in found["shares"].values())
    assert sum(answered for answered, _, _ in found["shares"].values()) == sum(found["answered"])


@needs_data
def test_every_recommendation_of_cpic_is_given_again() -> None:
    model = registry.load("pharmacogenomics", "cpu")
    rows = list(evaluate._recommendation_rows(CPIC))
    missed = [
        what for variants, what, expected in rows
        if evaluate._said_recommendation(model.examine([variants])[0], what) != expected
    ]  # fmt: skip
    assert len(rows) > 700
    assert missed == []


@pytest.mark.parametrize("written", ["A/G", "G/A", "T/C", "C|T", "Reference/rs9923231"])
@pytest.mark.parametrize("name", ["VKORC1", "rs9923231"])
def test_a_gene_of_one_position_may_be_given_by_its_bases_on_either_strand(name: str, written: str) -> None:
    assert diplotypes(Variants(diplotypes={name: written}))["VKORC1"] == "Reference/rs9923231"


def test_bases_that_are_none_of_the_position_are_an_unknown_allele() -> None:
    assert "VKORC1" not in diplotypes(Variants(diplotypes={"VKORC1": "A/-"}))
