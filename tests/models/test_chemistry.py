"""Molecules: what is taken from a SMILES, the fragments and the kernel, what is answered, and when not."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.svm import SVC

from db.records import Diagnosis
from models import card, registry
from models.chemistry import (
    compare,
    dataset,
    family,
    features,
    fitting,
    forest,
    kernel,
    machine,
    measure,
    recipe,
    structure,
)
from models.chemistry.model import Chemist
from models.payloads import Molecules, Note
from models.solubility import HERE

DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
SET = DATA / "drug" / "delaney-processed.csv"
needs_data = pytest.mark.skipif(not SET.is_file(), reason="needs the data folder: set WETREAD_DATA")

CAFFEINE = "CN1C=NC2=C1C(=O)N(C(=O)N2C)C"
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


@functools.cache
def model() -> Chemist:
    opened = registry.load("solubility", "cpu")
    assert isinstance(opened, Chemist)
    return opened


def examine(*smiles: str) -> Diagnosis:
    return model().examine([Molecules(smiles=smiles)])[0]


def parsed(smiles: str) -> structure.Structure:
    found = structure.parse(smiles)
    assert found is not None
    return found


def alike(one: str, other: str) -> float:
    tables = [features.table([features.fragments(Chem.MolFromSmiles(s))[0].columns()]) for s in (one, other)]
    return float(kernel.tanimoto(*tables)[0, 0])


def test_a_salt_is_its_neutral_drug() -> None:
    assert parsed("[Na+].CC(=O)Oc1ccccc1C(=O)[O-]").key == parsed(ASPIRIN).key


def test_atoms_keep_their_places_behind_a_counter_ion() -> None:
    places = [a.GetIntProp(structure.PLACE) for a in parsed("[Na+].CC(=O)[O-]").mol.GetAtoms()]
    assert places == [1, 2, 3, 4]


def test_two_drugs_are_a_mixture_and_a_tartrate_is_none() -> None:
    assert parsed(f"{ASPIRIN}.{CAFFEINE}").mixture
    assert not parsed(f"{CAFFEINE}.OC(C(O)C(=O)O)C(=O)O").mixture


def test_similarity_is_rdkit_s_tanimoto_of_counts() -> None:
    counts = rdFingerprintGenerator.GetMorganGenerator(radius=3)
    told = [counts.GetSparseCountFingerprint(Chem.MolFromSmiles(s)) for s in (CAFFEINE, ASPIRIN)]
    assert alike(CAFFEINE, ASPIRIN) == pytest.approx(DataStructs.TanimotoSimilarity(*told), abs=0.01)
    assert alike(ASPIRIN, "OC(=O)c1ccccc1OC(C)=O") == 1


def test_an_atom_s_fragments_are_those_within_its_reach() -> None:
    exact, _ = features.fragments(Chem.MolFromSmiles("CCCCCCCO"))
    reached = exact.atoms[:, 7]  # the hydroxyl
    assert exact.atoms[reached][:, 0].sum() == 0  # none of them holds the far methyl
    assert len(exact.columns(7)) < len(exact.columns())


def test_ridge_on_the_kernel_is_that_of_scikit_learn() -> None:
    from sklearn.kernel_ridge import KernelRidge

    random = np.random.default_rng(0)
    x, y = random.random((20, 5)), random.random(20)
    gram = x @ x.T
    coefficients, offset = kernel.ridge(gram, y, 0.5)
    reference = KernelRidge(alpha=0.5, kernel="precomputed").fit(gram, y - y.mean())
    np.testing.assert_allclose(gram @ coefficients + offset, reference.predict(gram) + y.mean())


def test_a_molecule_counts_as_often_as_it_occurs() -> None:
    random = np.random.default_rng(1)
    x = random.random((4, 6))
    place, y = np.array([0, 1, 2, 2, 2, 3, 3]), np.array([0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    gram, copies = x @ x.T, np.bincount(place).astype(float)
    every = gram[np.ix_(place, place)]
    once, offset = kernel.ridge(gram, np.bincount(place, y) / copies, 0.5, copies)
    often, same = kernel.ridge(every, y, 0.5)
    np.testing.assert_allclose(gram @ once + offset, (every @ often + same)[[0, 1, 2, 5]])
    kept, bias = kernel.support(gram, place, y, 1.0, classify=True)
    reference = SVC(kernel="precomputed").fit(every, y).decision_function(every)
    np.testing.assert_allclose((gram @ kept + bias)[place], reference, atol=1e-3)


def test_mirror_images_share_one_place_of_the_library() -> None:
    mols = [parsed(s).mol for s in ("C[C@H](N)CO", "CCO", "C[C@@H](N)CO")]
    library, place = kernel.gathered(features.seen(mols, ("MolWt", "TPSA")))
    assert len(library.steps) == 2
    assert place[0] == place[2] != place[1]


def test_known_solubilities_are_met_within_their_intervals() -> None:
    # measured: naphthalene -3.6 (Delaney 2004), ethanol mixes with water in every proportion
    naphthalene, ethanol = examine("c1ccc2ccccc2c1", "CCO").findings
    low, high = naphthalene.evidence["interval_95"]  # type: ignore[misc]
    assert low < -3.6 < high
    assert ethanol.value is not None
    assert ethanol.value > 0


def test_a_hydroxyl_speaks_for_solubility_and_its_chain_against() -> None:
    atoms = examine("CCCCCCCCO").findings[0].evidence["atoms"]
    assert isinstance(atoms, list)
    assert atoms[-1] > 0 > min(atoms[:6])


def test_a_counter_ion_has_no_part_in_the_answer() -> None:
    bare, salt = examine("CC(=O)Nc1ccc(O)cc1", "[Na+].CC(=O)Nc1ccc(O)cc1.[Cl-]").findings
    assert salt.value == bare.value
    assert salt.evidence["atoms"] == [None, *bare.evidence["atoms"], None]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("smiles", "code"),
    [
        ((), "empty"),
        (("C" * 3,) * 1001, "too-many"),
        (("C(",), "unreadable"),
        (("O",), "inorganic"),
        ((f"{ASPIRIN}.{CAFFEINE}",), "mixture"),
        (("C[Hg]C",), "element"),
        (("C" * 61,), "too-large"),
        (("FB(F)C#CB(F)B(F)F",), "unlike"),
    ],
)
def test_abstains_with_its_reason(smiles: tuple[str, ...], code: str) -> None:
    diagnosis = examine(*smiles)
    assert diagnosis.abstained
    assert str(diagnosis.reason).startswith(f"{code}: ")
    assert code in model().card.abstains


def test_a_note_abstains_alone() -> None:
    first, second = model().examine([Note(text="CCO"), Molecules(smiles=("CCO",))])
    assert str(first.reason).startswith("not-a-molecule: ")
    assert second == examine("CCO")


def test_rdkit_s_complaints_stay_off_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    examine("C(", "c1cccc1", CAFFEINE)
    assert capfd.readouterr().err == ""


CHAINS = ["C" * n + end for n in range(1, 9) for end in ("O", "N", "C", "(=O)O", "Cl")]
GROWN = recipe.Forest(trees=20, leaf=2, columns=0.3)


@pytest.mark.parametrize("grown", [None, GROWN], ids=["three members", "four members"])
def test_saved_machines_answer_as_before(tmp_path: Path, grown: recipe.Forest | None) -> None:
    own = recipe.read(HERE).model_copy(update={"forest": grown})
    names = ("MolLogP", "TPSA", "MolWt")
    known = features.seen([parsed(s).mol for s in CHAINS], names)
    aims = -known.descriptors[:, 0]
    blend = machine.Blend(weights=np.array([0.4, 0.3, 0.2, 0.1])[: len(own.members)], offset=0.1)
    fitted = machine.fit(known, aims, aims, own, blend, names, 0)
    machine.save(fitted, tmp_path)
    again = machine.load(tmp_path, own).answer(known)
    np.testing.assert_allclose(again.raw, fitted.answer(known).raw, atol=1e-9)
    np.testing.assert_allclose(again.likeness, 1)


def test_the_fourth_member_is_scikit_learn_s_forest_on_counts_and_descriptors() -> None:
    names = ("MolLogP", "TPSA", "MolWt")
    known = features.seen([parsed(s).mol for s in CHAINS], names)
    aims = -known.descriptors[:, 0]
    own = recipe.read(HERE).model_copy(update={"forest": GROWN})
    fitted = machine.fit(known, aims, aims, own, machine.Blend(weights=np.ones(4), offset=0.0), names, 5)
    steps = kernel.scale(known.descriptors)(known.descriptors)
    counts = np.zeros((len(CHAINS), forest.FOLDED))
    for row, column in zip(*known.exact.nonzero(), strict=True):
        counts[row, column % forest.FOLDED] += 1
    reference = ExtraTreesRegressor(20, min_samples_leaf=2, max_features=0.3, random_state=5)
    table = np.concatenate([counts, steps], axis=1)
    np.testing.assert_allclose(
        fitted.scores(known)[0][:, 3], reference.fit(table, aims).predict(table), atol=1e-6
    )


def test_molecules_of_one_scaffold_share_a_group() -> None:
    told = dataset.groups(
        [parsed(s) for s in ("Cc1ccccc1", "OCc1ccccc1", "C1CCCCC1", "CC", "CCO")], "scaffold"
    )
    assert told[0] == told[1] != told[2]
    assert told[3] == told[4]


def test_a_blend_gives_no_member_a_weight_below_zero() -> None:
    truth = np.array([0.0, 1.0] * 50)
    scores = np.stack([truth + np.linspace(0, 0.9, 100), -truth, np.cos(np.arange(100.0))], axis=1)
    own = recipe.read(registry.HERE / "bace_activity")
    assert (measure.blended(scores, truth, own).weights >= 0).all()


def test_a_column_that_lacks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text("smiles,other\nCCO,1\n", "utf-8")
    with pytest.raises(ValueError, match="measured log solubility"):
        dataset.read(path, recipe.read(HERE).columns)


def test_a_round_of_draws_holds_every_molecule_once() -> None:
    drawn = compare.batches(np.arange(200) % 7, np.random.default_rng(2))
    assert sorted(np.concatenate([next(drawn) for _ in range(3)])) == list(range(200))


def test_one_molecule_is_written_in_many_ways() -> None:
    mol = Chem.MolFromSmiles(CAFFEINE)
    told = {compare.written(mol, seed) for seed in range(9)}
    assert len(told) > 1
    assert {parsed(smiles).key for smiles in told} == {parsed(CAFFEINE).key}


def test_the_network_on_smiles_learns_what_letters_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "EPOCHS", 1)
    monkeypatch.setattr(compare, "STEPS", 60)
    chains = ["C" * n + end for n in range(2, 12) for end in ("O", "N", "F", "C")]
    mols = tuple(Chem.MolFromSmiles(smiles) for smiles in chains)
    aims = np.array([float(len(smiles)) for smiles in chains])
    none = np.zeros((40, 0))
    part = measure.Set(
        seen=features.Seen(exact=features.table([]), roles=features.table([]), descriptors=none),
        names=(), answers=aims, aims=aims, groups=np.arange(40), mols=mols,
    )  # fmt: skip
    places = np.random.default_rng(3).permutation(40)
    said = compare.recurrent(part, recipe.read(HERE), places[:30], places[30:], 0)
    assert np.corrcoef(said, aims[places[30:]])[0, 1] > 0.8


def test_a_training_tells_its_folds_and_ends_as_a_folder_that_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains = ["C" * n + end for n in range(1, 11) for end in ("O", "N", "C", "(=O)O", "Cl", "Br")]
    rows = [f"{smiles},{1.0 - 0.6 * len(smiles)}" for smiles in chains]
    heading = "smiles,measured log solubility in mols per litre"
    (tmp_path / "set.csv").write_text("\n".join([heading, *rows]) + "\n", "utf-8")
    own = recipe.read(HERE)
    few = own.model_copy(update={"trees": own.trees.model_copy(update={"rounds": 5})})
    monkeypatch.setattr("models.chemistry.fitting.recipe.read", lambda _: few)
    out = tmp_path / "solubility"
    said: list[str] = []
    fitting.train(HERE, tmp_path / "set.csv", out, minutes=0, progress=said.append)
    assert [line[:8] for line in said if line.startswith("fold")] == [f"fold {n}/5" for n in range(1, 6)]
    written = card.read(out)
    assert written.weights_sha256 != registry.card("solubility").weights_sha256
    assert "(5, by structure; 60 molecules)" in written.notes  # this training's, not the release's
    (found,) = registry.family("solubility").load(written, "cpu").examine([Molecules(smiles=("CCCCCO",))])
    assert found.findings[0].value == pytest.approx(1.0 - 0.6 * 6, abs=1)


@pytest.mark.parametrize(
    ("logarithm", "told"), [(0.3, "2 mol/L"), (-3, "1 mmol/L"), (-4.6, "25 µmol/L"), (-9.7, "0.2 nmol/L")]
)
def test_a_solubility_is_told_as_people_weigh_it(logarithm: float, told: str) -> None:
    assert family.concentration(logarithm) == told


@needs_data
def test_kernel_ridge_left_out_folds_stay_below_the_bar() -> None:
    own = recipe.read(HERE)
    rows = dataset.read(SET, own.columns)
    part = measure.prepared(rows, own)
    scores, _ = measure.out_of_fold(part, own, part.splits(5)[:1])
    held = part.splits(5)[0][1]
    assert np.sqrt(((scores[held, 0] - part.answers[held]) ** 2).mean()) < 0.65
