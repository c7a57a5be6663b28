"""Splice sites: the kernel, the windows that are looked at, the answers, and when the model keeps silent."""

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
from models.splice_site import data, evaluate, kernel, machine, scan, train
from models.splice_site.model import SpliceSite

DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
SET = DATA / "sequence" / "splice.arff"
needs_data = pytest.mark.skipif(not SET.is_file(), reason="needs the data folder: set WETREAD_DATA")

# the consensus of textbooks: MAG|GTRAGT behind an exon; pyrimidines and NCAG|G before one
DONOR = "GACCTGGAGCTGAAGCTGATCGACTTCCAG" + "GTAAGTCTGGGCTCCAGGGTGGGAAGCTGG"
ACCEPTOR = "CTGACCCTGATTTTCTCTTCCTTCCCACAG" + "GTGGACATCGAGAACCTGATGCGCTACCTG"
NEITHER = "ACGATCGTTACCAGTGATCCATTGCAAGCATTACGCTACATGATCGGATCCAATCGTCAT"


@functools.cache
def model() -> SpliceSite:
    opened = registry.load("splice-site", "cpu")
    assert isinstance(opened, SpliceSite)
    return opened


def examine(*records: str, alphabet: str = "dna") -> Diagnosis:
    return model().examine([Sequences(records=records, alphabet=alphabet)])[0]


def test_consensus_windows_get_their_site_and_the_others_none() -> None:
    told = [(f.code.value, f.positive) for f in examine(DONOR, ACCEPTOR, NEITHER).findings]
    assert told == [
        *(("SO:0000163", True), ("SO:0000164", False)),
        *(("SO:0000163", False), ("SO:0000164", True)),
        *(("SO:0000163", False), ("SO:0000164", False)),
    ]


def test_a_donor_s_heaviest_base_is_one_of_its_gt() -> None:
    weights = np.array(examine(DONOR).findings[0].evidence["weights"])
    assert weights.argmax() in (30, 31)
    assert weights[weights.argmax()] > 1


def test_a_scan_finds_the_sites_where_they_are() -> None:
    record = NEITHER[:45] + DONOR + NEITHER + ACCEPTOR + NEITHER[:45]
    sites = [(f.code.value, f.evidence["position"]) for f in examine(record).findings if f.positive]
    assert ("SO:0000163", 45 + 30) in sites
    assert ("SO:0000164", 45 + 60 + 60 + 30) in sites


def test_a_scanned_site_has_the_probability_of_its_window() -> None:
    record = NEITHER[:45] + DONOR + NEITHER
    scanned = next(f for f in examine(record).findings if f.positive)
    assert scanned.probability == pytest.approx(examine(DONOR).findings[0].probability, abs=1e-12)


def test_a_longer_record_without_a_site_says_so_of_both_kinds() -> None:
    found = examine("ACTC" * 5 + NEITHER.replace("GT", "GC").replace("AG", "AC")).findings
    assert [(f.code.value, f.positive, f.probability) for f in found] == [
        ("SO:0000163", False, 0.0),
        ("SO:0000164", False, 0.0),
    ]


@pytest.mark.parametrize(
    ("records", "alphabet", "code"),
    [
        ((), "dna", "empty"),
        ((DONOR,), "protein", "not-dna"),
        ((DONOR[:59],), "dna", "too-short"),
        ((DONOR[:56] + "NNNN",), "dna", "ambiguous"),
        (("ACT" * 20,), "dna", "low-complexity"),
        ((DONOR[:59] + "?",), "dna", "not-nucleotides"),
        ((DONOR,) * 1001, "dna", "too-many"),
        (("ACGT" * 26_000,), "dna", "too-long"),
    ],
)
def test_abstains_with_its_reason(records: tuple[str, ...], alphabet: str, code: str) -> None:
    diagnosis = examine(*records, alphabet=alphabet)
    assert diagnosis.abstained
    assert str(diagnosis.reason).startswith(f"{code}: ")
    assert code in model().card.abstains


def test_a_note_abstains_alone() -> None:
    first, second = model().examine([Note(text="GT"), Sequences(records=(DONOR,), alphabet="dna")])
    assert (first.reason or "").startswith("not-a-sequence")
    assert second == examine(DONOR)


def test_one_bad_record_is_left_open_and_the_others_are_answered() -> None:
    found = examine("ACGT", DONOR).findings
    assert [f.abstained for f in found] == [True, True, False, False]
    assert found[0].site == "record 1"
    assert examine(DONOR).findings[0].probability == found[2].probability


dna = st.text(alphabet="ACGTN", min_size=60, max_size=60)


@settings(max_examples=50, deadline=None)
@given(dna, dna)
def test_shared_counts_runs_of_one_to_three_in_place(one: str, other: str) -> None:
    total = 0.0
    for size, weight in ((1, 3 / 6), (2, 2 / 6), (3, 1 / 6)):
        runs = [(one[i : i + size], other[i : i + size]) for i in range(60 - size + 1)]
        total += weight * sum(a == b and "N" not in a for a, b in runs)
    found = kernel.shared(kernel.encode([one])[0], kernel.encode([other]))
    assert found[0] == pytest.approx(total)


def test_an_equal_window_has_similarity_one() -> None:
    codes = kernel.encode([DONOR])
    assert kernel.similarity(codes, codes)[0, 0] == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(dna, st.integers(0, 59), st.integers(0, 3))
def test_a_mutation_s_similarity_is_that_of_the_mutated_window(window: str, place: int, base: int) -> None:
    others = kernel.encode([DONOR, ACCEPTOR, NEITHER])
    changed = window[:place] + "ACGT"[base] + window[place + 1 :]
    found = kernel.mutated(kernel.encode([window])[0], others)[place, base]
    np.testing.assert_allclose(found, kernel.similarity(kernel.encode([changed]), others)[0])


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet="ACGTNR-X", min_size=0, max_size=150))
def test_any_record_is_answered_or_refused(record: str) -> None:
    diagnosis = examine(record)
    assert diagnosis.abstained == (scan.refusal(record) is not None)
    assert all(0 <= f.probability <= 1 for f in diagnosis.findings if f.probability is not None)


def planted(rows: int) -> tuple[list[str], np.ndarray]:
    """Random windows with GT behind, or AG before, or GG at the middle."""
    random = np.random.default_rng(4)
    labels = np.arange(rows) % 3
    windows = []
    for label in labels:
        bases = "".join(random.choice(list("ACGT"), 60))
        middle = {0: bases[28:30] + "GT", 1: "AG" + bases[30:32], 2: "CCCC"}[label]
        windows.append(bases[:28] + middle + bases[32:])
    return windows, labels


def arff(path: Path, windows: list[str], labels: np.ndarray) -> Path:
    rows = [
        f"X-{i},{','.join(w)},{data.CLASSES[k]}" for i, (w, k) in enumerate(zip(windows, labels, strict=True))
    ]
    path.write_text("% set\n@relation s\n@data\n" + "\n".join(rows) + "\n%\n", "utf-8")
    return path


def test_decisions_are_those_of_scikit_learn() -> None:
    from sklearn.svm import SVC

    windows, labels = planted(60)
    codes = kernel.encode(windows)
    gram = kernel.similarity(codes, codes)
    fitted = machine.fit(windows, gram, labels, np.eye(3)[labels])
    reference = SVC(kernel="precomputed", C=machine.PENALTY).fit(gram, labels == 1)
    np.testing.assert_allclose(fitted.decisions(windows)[:, 1], reference.decision_function(gram), atol=1e-9)


def test_training_writes_machines_that_answer_alike(tmp_path: Path) -> None:
    windows, labels = planted(90)
    train.train(arff(tmp_path / "set.arff", windows, labels), tmp_path / "out", minutes=0)
    chances = machine.load(tmp_path / "out").probabilities(windows)
    assert (chances.argmax(1) == labels).mean() > 0.95
    np.testing.assert_allclose(chances.sum(1), 1)


def test_equal_windows_stay_in_one_fold() -> None:
    windows, labels = planted(60)
    for rows, other in data.splits(windows * 2, np.tile(labels, 2), 5):
        assert not set(rows % 60) & set(other % 60)


def test_a_row_of_another_length_is_refused_by_its_line(tmp_path: Path) -> None:
    path = arff(tmp_path / "set.arff", [DONOR, DONOR[:59]], np.array([0, 0]))
    with pytest.raises(ValueError, match="line 5"):
        data.read(path)


def test_render_draws_the_window_with_its_junction() -> None:
    payload = Sequences(records=(DONOR,), alphabet="dna")
    drawn = registry.family("splice-site").render(payload, examine(DONOR).findings[:1], {}).content.decode()
    assert "Donor site" in drawn
    assert "probability over 99 %" in drawn
    assert "|" in drawn
    assert drawn.count("<span") > 20


@needs_data
def test_accuracy_in_folds_is_above_its_bar() -> None:
    windows, labels = data.read(SET)
    chances = evaluate.probabilities(windows, labels, 4)
    assert evaluate.accuracy(labels, chances.argmax(1)) >= 0.96
