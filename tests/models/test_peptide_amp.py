"""Antimicrobial peptides: the features, the alignments, the answers, and when the model keeps silent."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.records import Diagnosis
from models import registry
from models.payloads import Note, Sequences
from models.peptide_amp import alignment, data, ensemble, evaluate, features
from models.peptide_amp.model import PeptideAmp, refused_file

DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
SET = DATA / "sequence" / "amp"
needs_data = pytest.mark.skipif(not SET.is_dir(), reason="needs the data folder: set WETREAD_DATA")

HELIX = "GLKKLLKGAIKVGKHLLGKIAKAL"
ACIDIC = "MSEDTLQNLEEAIRTDPDNAEAYYNLG"


@functools.cache
def model() -> PeptideAmp:
    opened = registry.load("peptide-amp", "cpu")
    assert isinstance(opened, PeptideAmp)
    return opened


@functools.cache
def examine(*records: str, alphabet: str = "protein") -> Diagnosis:
    return model().examine([Sequences(records=records, alphabet=alphabet)])[0]


def test_a_cationic_helix_is_antimicrobial_and_an_acidic_peptide_is_not() -> None:
    assert [(f.site, f.positive) for f in examine(HELIX, ACIDIC).findings] == [
        ("record 1", True),
        ("record 2", False),
    ]


def test_each_residue_has_a_weight_and_each_answer_its_relatives() -> None:
    for finding, peptide in zip(examine(HELIX, ACIDIC).findings, (HELIX, ACIDIC), strict=True):
        assert len(finding.evidence["weights"]) == len(peptide)  # type: ignore[arg-type]
        near = [r["likeness"] for r in finding.evidence["relatives"]]  # type: ignore[attr-defined]
        assert near == sorted(near, reverse=True)


def test_replacing_alanine_by_alanine_changes_nothing_and_lysines_speak_for_the_helix() -> None:
    weights = np.array(examine(HELIX, ACIDIC).findings[0].evidence["weights"])
    assert all(weights[i] == 0 for i, letter in enumerate(HELIX) if letter == "A")
    assert all(weights[i] > 0 for i, letter in enumerate(HELIX) if letter == "K")


def test_a_training_peptide_is_its_own_nearest_relative() -> None:
    known = next(r for r in model().ensemble.references if len(r) >= 12 and len(set(r)) > 8)
    scores = alignment.scores([known], model().ensemble.references)[0]
    first = model()._relatives(known, scores)[0]
    assert first["likeness"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("records", "alphabet", "code"),
    [
        ((), "protein", "empty"),
        ((HELIX,), "dna", "not-protein"),
        ((HELIX[:9],), "protein", "wrong-length"),
        ((HELIX * 8,), "protein", "wrong-length"),
        ((HELIX[:-1] + "X",), "protein", "not-amino-acids"),
        (("KLKKLLKKLLKKLLK",), "protein", "low-complexity"),
        ((HELIX,) * 1001, "protein", "too-many"),
    ],
)
def test_abstains_with_its_reason(records: tuple[str, ...], alphabet: str, code: str) -> None:
    diagnosis = examine(*records, alphabet=alphabet)
    assert diagnosis.abstained
    assert str(diagnosis.reason).startswith(f"{code}: ")
    assert code in model().card.abstains


def test_a_file_as_long_as_is_read_is_answered() -> None:
    assert refused_file(Sequences(records=(HELIX,) * 1000, alphabet="protein")) is None


def test_a_note_abstains_alone_and_a_short_record_is_left_open_alone() -> None:
    first, second = model().examine([Note(text=HELIX), Sequences(records=("GL", ACIDIC), alphabet="protein")])
    assert str(first.reason).startswith("not-a-sequence: ")
    assert [f.abstained for f in second.findings] == [True, False]
    assert second.findings[1].probability == examine(HELIX, ACIDIC).findings[1].probability


def test_an_answer_of_even_odds_is_none() -> None:
    assert model().unsure(0.5)
    assert not model().unsure(0.99)
    assert not model().unsure(0.01)


def test_local_scores_are_smith_waterman_s() -> None:
    # BLOSUM62: W-W 11, K-K 5, L-L 4; the gap of one costs 11, so the longer run alone counts
    assert alignment.scores(["WKL"], ["WKL", "AAWKLAA", "WK", "W"]).tolist() == [[20, 20, 16, 11]]


def test_clusters_are_linked_by_likeness() -> None:
    peptides = [HELIX, HELIX[:-1] + "V", ACIDIC]
    groups = data.clusters(alignment.among(peptides))
    assert groups[0] == groups[1] != groups[2]


def test_alike_peptides_stay_in_one_fold() -> None:
    groups = np.repeat(np.arange(20), 3)
    for rows, other in data.splits(np.arange(60) % 2, groups, 5):
        assert not set(groups[rows]) & set(groups[other])


def test_features_of_a_peptide_are_as_counted_by_hand() -> None:
    row = dict(zip(features.names(), features.table(["KKDAWGGC"])[0], strict=True))
    assert row["length"] == 8
    assert row["net charge"] == 1
    assert row["share of K"] == 2 / 8
    assert row["pair KK"] == row["pair GG"] == 1 / 7
    assert row["[RK] and [DE] 2 apart"] == 1 / 6
    assert row["start 1: charge"] == 1
    assert row["end 1: cysteine"] == 1
    # (-3.9 -3.9 -3.5 +1.8 -0.9 -0.4 -0.4 +2.5) / 8 (Kyte and Doolittle)
    assert row["hydropathy"] == pytest.approx(-8.7 / 8)


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=data.LETTERS + "X", min_size=6, max_size=180))
def test_features_are_finite_and_as_many_as_their_names(peptide: str) -> None:
    table = features.table([peptide])
    assert table.shape == (1, len(features.names()))
    assert np.isfinite(table).all()


@settings(max_examples=20, deadline=None)
@given(st.text(alphabet="ACDEFGHIKLMNPQRSTVWYXB*", max_size=30))
def test_any_record_is_answered_or_refused(record: str) -> None:
    diagnosis = examine(record)
    assert diagnosis.abstained or len(diagnosis.findings) == 1
    assert all(0 <= f.probability <= 1 for f in diagnosis.findings if f.probability is not None)


def planted(count: int) -> tuple[list[str], np.ndarray]:
    """Random peptides, every other one rich in lysine."""
    random = np.random.default_rng(6)
    labels = np.arange(count) % 2
    rich, poor = list("KKKKLLIAG"), list("DESTNQLAGP")
    return ["".join(random.choice(rich if k else poor, 20)) for k in labels], labels


def test_a_saved_ensemble_answers_as_scikit_learn_s_parts(tmp_path: Path) -> None:
    peptides, labels = planted(80)
    scores, table = alignment.among(peptides), features.table(peptides)
    stack = np.array([1.0, 0.5, 0.1])
    ensemble.save(ensemble.fit(peptides, scores, table, labels, stack, 0), tmp_path)
    found = ensemble.load(tmp_path).log_odds(peptides[:9])[0]
    machine = ensemble.new_machine().fit(alignment.profile(scores), labels)
    forest = ensemble.new_forest(0).fit(table, labels)
    odds = ensemble.forest_odds(forest.predict_proba(table[:9])[:, 1])
    wanted = machine.decision_function(alignment.profile(scores[:9])) + 0.5 * odds + 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_evaluate_reads_every_part_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "AMP.te.fa").write_text(f">a\n{HELIX}\n", "utf-8")
    (tmp_path / "DECOY.te.fa").write_text(f">b\n{ACIDIC[:10]}\n{ACIDIC[10:]}\n", "utf-8")
    figures = evaluate.evaluate(tmp_path)
    assert [figures[k]["value"] for k in ("accuracy", "mcc", "auc")] == [1, 1, 1]
    assert figures["n"] == 2


def test_a_letter_that_is_no_amino_acid_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "AMP.te.fa").write_text(">a\nGLX\n", "utf-8")
    with pytest.raises(ValueError, match=r"AMP\.te\.fa"):
        data.read(tmp_path)


def test_render_shades_residues_and_lists_relatives() -> None:
    payload = Sequences(records=(HELIX, ACIDIC), alphabet="protein")
    drawn = (
        registry.family("peptide-amp").render(payload, examine(HELIX, ACIDIC).findings, {}).content.decode()
    )
    assert drawn.count("<span") > 25
    assert str(examine(HELIX, ACIDIC).findings[0].evidence["relatives"][0]["peptide"]) in drawn  # type: ignore[index]


@needs_data
def test_the_references_are_the_training_peptides() -> None:
    peptides, labels = data.read(SET)
    assert model().ensemble.references == tuple(peptides)
    assert model().ensemble.labels.tolist() == labels.tolist()
