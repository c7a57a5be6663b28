"""The blood-brain barrier and beta-secretase: the probabilities of known molecules, and their drawings."""

import functools

import pytest

from db.records import Finding
from models import registry
from models.drawing import percent
from models.payloads import Molecules

DIAZEPAM = "CN1c2ccc(Cl)cc2C(=NCC1=O)c1ccccc1"


@functools.cache
def opened(name: str) -> registry.Model:
    return registry.load(name, "cpu")


def told(name: str, *smiles: str) -> tuple[Finding, ...]:
    return opened(name).examine([Molecules(smiles=smiles)])[0].findings


def test_a_sedative_passes_and_a_sugar_does_not() -> None:
    sedative, sugar = told("bbb-permeability", DIAZEPAM, "OCC1OC(OC2(CO)OC(CO)C(O)C2O)C(O)C(O)C1O")
    assert sedative.positive
    assert not sugar.positive


def test_a_carboxylate_speaks_against_passage() -> None:
    # acids are ionised in blood and kept out: amphetamine passes, phenylalanine needs a carrier
    with_acid, without = told("bbb-permeability", "NC(Cc1ccccc1)C(=O)O", "NC(Cc1ccccc1)C")
    assert with_acid.probability is not None
    assert without.probability is not None
    assert with_acid.probability < without.probability


def test_a_mirror_image_gets_the_same_probability() -> None:
    left, right = told("bbb-permeability", "C[C@H](N)Cc1ccccc1", "C[C@@H](N)Cc1ccccc1")
    assert left.probability == pytest.approx(right.probability, abs=1e-12)


def test_what_is_unlike_the_inhibitors_is_left_open_beside_one_that_is_answered() -> None:
    known = "O1CC[C@@H](NC(=O)[C@@H](Cc2cc3cc(ccc3nc2N)-c2ccccc2C)C)CC1(C)C"
    first, second = told("bace-activity", known, DIAZEPAM)
    assert first.positive
    assert str(second.reason).startswith("unlike: ")
    assert second.probability is None


def test_the_drawing_has_the_molecule_its_probability_and_units() -> None:
    findings = told("bbb-permeability", DIAZEPAM)
    drawn = registry.family("bbb-permeability").render(Molecules(smiles=(DIAZEPAM,)), findings, {})
    page = drawn.content.decode()
    assert page.count("<svg") == 2  # the molecule, and its properties as bars
    assert f"probability {percent(findings[0].probability or 0)}" in page
    assert "<td>molecular weight</td>" in page
    assert "<td>g/mol</td>" in page
