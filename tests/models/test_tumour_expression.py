"""Tumour class by gene expression: the centroids, their evidence, the gate, and evaluation."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest

from db.records import Diagnosis
from models import registry
from models.payloads import Expression, Note
from models.tumour_expression import centroids, data, evaluate, train
from models.tumour_expression.data import GENES
from models.tumour_expression.model import TumourExpression

DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
SET = DATA / "sequence" / "khan"
needs_data = pytest.mark.skipif(not SET.is_dir(), reason="needs the data folder: set WETREAD_DATA")


@functools.cache
def model() -> TumourExpression:
    opened = registry.load("tumour-expression", "cpu")
    assert isinstance(opened, TumourExpression)
    return opened


def sample() -> np.ndarray:
    payload = registry.family("tumour-expression").example()
    assert isinstance(payload, Expression)
    return payload.values


def examine(values: np.ndarray, genes: tuple[str, ...] = GENES) -> Diagnosis:
    return model().examine([Expression(genes=genes, values=values.astype(np.float32))])[0]


def test_the_order_of_columns_does_not_matter() -> None:
    order = np.random.default_rng(1).permutation(len(GENES))
    shuffled = examine(sample()[order], tuple(GENES[i] for i in order))
    assert shuffled == examine(sample())


def test_further_columns_do_not_matter() -> None:
    more = examine(np.append(sample(), 99.0), (*GENES, "batch"))
    assert more == examine(sample())


def test_gene_weights_are_the_log_odds_against_the_mean() -> None:
    row = sample().astype(np.float64)[None]
    scores = model().centroids.scores(row)[0] / model().temperature
    shown = model()._genes(row[0], 3)
    terms = data.centred(model().centroids.terms(row)[0])[:, 3] / model().temperature
    assert terms.sum() == pytest.approx(scores[3] - scores.mean())
    heaviest = terms[np.abs(terms).argmax()]
    assert shown[0]["weight"] == pytest.approx(heaviest, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (np.zeros_like, "out-of-range"),
        (np.exp, "out-of-range"),
        (lambda v: np.random.default_rng(2).permutation(v), "unlike-training"),
        (lambda v: np.where(np.arange(len(v)) == 7, np.nan, v), "values-missing"),
        (lambda v: model().mean, "not-confident"),
    ],
)
def test_abstains_with_its_reason(change: object, code: str) -> None:
    diagnosis = examine(change(sample()))  # type: ignore[operator]
    assert diagnosis.abstained
    assert str(diagnosis.reason).startswith(f"{code}: ")
    assert code in model().card.abstains


def test_columns_under_other_names_are_refused() -> None:
    names = tuple(f"GENE{i}" for i in range(len(GENES)))
    assert str(examine(sample(), names).reason).startswith("genes-unknown: ")
    assert str(examine(sample()[:-1], GENES[:-1]).reason).startswith("genes-unknown: ")


def test_a_note_abstains_alone() -> None:
    payloads = [Note(text="Ewing"), registry.family("tumour-expression").example()]
    first, second = model().examine(payloads)
    assert str(first.reason).startswith("not-an-expression: ")
    assert not second.abstained


def planted(seed: int, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Noise around -.5, in which each class has 20 genes of its own raised by 4."""
    labels = np.arange(count) % 4
    table = np.random.default_rng(seed).normal(-0.5, 1.0, (count, len(GENES)))
    for label in range(4):
        table[np.ix_(labels == label, range(20 * label, 20 * label + 20))] += 4
    return table, labels


def test_shrinking_keeps_the_genes_that_differ_and_few_others() -> None:
    table, labels = planted(3)
    kept = set(centroids.fit(table, labels, 3.5).genes.tolist())
    assert set(range(80)) <= kept
    assert len(kept) < 90


def test_without_shrinkage_a_centre_is_the_mean_of_its_class() -> None:
    table, labels = planted(3)
    fitted = centroids.fit(table, labels, 0.0)
    np.testing.assert_allclose(fitted.centres[:, 2], table[labels == 2].mean(0)[fitted.genes])


def test_shrunken_centres_are_scikit_learns() -> None:
    from sklearn.neighbors import NearestCentroid

    table, labels = planted(5)
    reference = NearestCentroid(shrink_threshold=2.0).fit(table, labels)
    ours = centroids.fit(table, labels, 2.0)
    np.testing.assert_allclose(ours.centres.T, reference.centroids_[:, ours.genes])


def test_all_right_does_not_make_probabilities_one() -> None:
    scores = np.eye(4)[np.arange(40) % 4] * 500.0
    labels = np.arange(40) % 4
    chances = centroids.probabilities(scores, centroids.temperature(scores, labels))
    # Platt's target for 40 samples
    np.testing.assert_allclose(chances.max(1), 41 / 42, atol=1e-3)


def write(folder: Path, part: str, table: np.ndarray, labels: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    head = ",".join(f'"{gene}"' for gene in GENES)
    rows = [",".join(f"{v:.3f}" for v in row) for row in table]
    (folder / f"Set_x{part}.csv").write_text("\n".join((head, *rows)) + "\n", "utf-8")
    (folder / f"Set_y{part}.csv").write_text('"x"\n' + "\n".join(map(str, labels + 1)) + "\n", "utf-8")


def test_training_writes_centroids_that_know_their_samples(tmp_path: Path) -> None:
    write(tmp_path / "set", "train", *planted(3))
    train.train(tmp_path / "set", tmp_path / "out", minutes=0)
    fitted, further = centroids.load(tmp_path / "out")
    table, labels = planted(8)
    assert (fitted.scores(table).argmax(1) == labels).all()
    assert further["temperature"] > 0


def test_classes_without_their_table_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "test", *planted(3))
    (tmp_path / "Set_ytest.csv").unlink()
    with pytest.raises(ValueError, match=r"Set_ytest.csv is missing"):
        data.read(tmp_path)


def test_evaluate_of_all_right_has_wilson_s_interval(tmp_path: Path) -> None:
    row = sample()
    write(tmp_path, "test", np.stack([row] * 20), np.full(20, 3))
    figures = evaluate.evaluate(tmp_path)
    # Wilson 1927: 20 of 20 reaches down to 20 / (20 + 1.96^2)
    assert figures["accuracy"] == {"value": 1.0, "low": pytest.approx(0.8389, abs=1e-4), "high": 1.0}
    assert figures["n"] == 20


def test_render_draws_the_genes() -> None:
    family = registry.family("tumour-expression")
    drawn = family.render(family.example(), examine(sample()).findings, {}).content.decode()
    assert "Rhabdomyosarcoma" in drawn
    assert drawn.count("<rect") == 20


@needs_data
def test_every_training_sample_is_right_out_of_fold() -> None:
    table, labels = data.read(SET)
    scores, _ = evaluate.out_of_fold(table, labels, 8)
    assert (scores.argmax(1) == labels).all()
