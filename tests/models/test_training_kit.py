"""The training kit: folds by patient, balance, search, figures, and a folder that serves."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from db.errors import Misconfigured
from models import card as cards
from models.training import figures, imbalance, metrics, package, splits
from models.training.search import Between, search

# --- splits


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), patients=st.integers(6, 40), k=st.integers(2, 5))
def test_no_patient_is_in_two_folds_and_no_row_in_none(seed: int, patients: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, patients, 120)
    if len(np.unique(owner)) < k:
        return
    fold = splits.folds(rng.integers(0, 2, 120), owner, k, seed)
    assert all(len(np.unique(fold[owner == p])) == 1 for p in np.unique(owner))
    assert sorted(np.concatenate([held for _, held in splits.pairs(fold)])) == list(range(120))


def test_classes_are_spread_evenly() -> None:
    labels = np.array(["rare"] * 10 + ["common"] * 90)
    fold = splits.folds(labels, None, 5, 1)
    assert [(labels[fold == i] == "rare").sum() for i in range(5)] == [2] * 5


def test_measured_values_are_spread_by_size() -> None:
    values = np.linspace(0.05, 99.9, 200)
    fold = splits.folds(values, None, 4, 0)
    means = [values[fold == i].mean() for i in range(4)]
    assert max(means) - min(means) < 6  # at random about 15


def test_the_same_seed_gives_the_same_folds_and_another_gives_others() -> None:
    labels = np.arange(60) % 2
    assert (splits.folds(labels, None, 3, 7) == splits.folds(labels, None, 3, 7)).all()
    assert (splits.folds(labels, None, 3, 7) != splits.folds(labels, None, 3, 8)).any()


def test_a_class_rarer_than_the_folds_is_borne() -> None:
    assert set(splits.folds([0] * 20 + [1, 1], None, 5, 0)) == set(range(5))


def test_fewer_patients_than_folds_are_refused() -> None:
    with pytest.raises(ValueError, match="there are 2"):
        splits.folds([0, 1, 0, 1], ["a", "a", "b", "b"], 3)


def test_a_fifth_is_held_out() -> None:
    learn, held = splits.held_out(np.arange(100) % 2, None, 0.2, 0)
    assert (len(learn), len(held)) == (80, 20)


def test_equal_sequences_share_a_group() -> None:
    first, second, third = splits.equal_rows(["ACGT", "TTTT", "ACGT"])
    assert first == third != second


# --- imbalance


def test_class_weights_are_inverse_to_frequency_and_one_on_the_mean() -> None:
    labels = ["a"] * 30 + ["b"] * 10
    weights = imbalance.class_weights(labels)
    assert weights.tolist() == pytest.approx([2 / 3, 2.0])
    assert (30 * weights[0] + 10 * weights[1]) / 40 == pytest.approx(1)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 99))
def test_oversampling_equals_the_commonest_and_leaves_no_row_out(labels: list[int], seed: int) -> None:
    rows = imbalance.oversample(labels, seed)
    counts = np.bincount(np.array(labels)[rows])
    assert set(counts[counts > 0]) == {max(np.bincount(labels))}
    assert set(rows) == set(range(len(labels)))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 99))
def test_undersampling_equals_the_rarest_and_repeats_no_row(labels: list[int], seed: int) -> None:
    rows = imbalance.undersample(labels, seed)
    counts = np.bincount(np.array(labels)[rows])
    assert set(counts[counts > 0]) == {min(c for c in np.bincount(labels) if c)}
    assert len(set(rows)) == len(rows)


def test_batches_draw_each_class_alike() -> None:
    labels = np.array([0] * 980 + [1] * 20)
    drawn = next(imbalance.batches(labels, 4000, np.random.default_rng(0)))
    assert labels[drawn].mean() == pytest.approx(0.5, abs=0.04)  # 5 standard errors of a fair coin


def test_smote_fills_the_rare_class_between_its_own_rows() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (40, 3)), rng.normal(10, 1, (4, 3))])
    made, labels = imbalance.smote(x, [0] * 40 + [1] * 4, seed=0)
    assert np.bincount(labels).tolist() == [40, 40]
    assert (made[44:] >= x[40:].min(0)).all()
    assert (made[44:] <= x[40:].max(0)).all()


def test_smote_of_a_single_row_is_refused() -> None:
    with pytest.raises(ValueError, match="two rows of every class"):
        imbalance.smote(np.zeros((3, 2)), [0, 0, 1])


def test_focal_loss_without_focus_is_cross_entropy() -> None:
    logits, shares = torch.randn(6, 4), torch.eye(4)[torch.tensor([0, 1, 2, 3, 1, 2])]
    told = imbalance.focal_loss(gamma=0.0)(logits, shares)
    assert told.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, shares).item(), rel=1e-5)


def test_focal_loss_is_as_its_paper_has_it() -> None:
    # p = .9 and gamma 2: -(1 - .9)^2 ln .9 = .01 * .10536; its class counts three times
    logits = torch.tensor([[math.log(9.0), 0.0]])
    told = imbalance.focal_loss(2.0, weights=[3.0, 1.0])(logits, torch.tensor([[1.0, 0.0]]))
    assert told.item() == pytest.approx(3 * 0.01 * 0.1053605, rel=1e-4)


# --- search


def test_a_search_finds_the_top_of_a_hill_and_tells_what_it_tried() -> None:
    said: list[str] = []
    found = search(
        lambda c: -((c["x"] - 3) ** 2) - (0 if c["kind"] == "good" else 5),
        {"x": Between(low=-10.0, high=10.0), "kind": ["bad", "good"]},
        trials=60, first=[{"x": 0.0, "kind": "good"}], progress=said.append,
    )  # fmt: skip
    assert found.best["kind"] == "good"
    assert found.best["x"] == pytest.approx(3, abs=0.7)
    assert found.tried[0] == ({"x": 0.0, "kind": "good"}, -9.0)
    assert len(found.tried) == len(said) == 60


def test_a_search_repeats_itself_with_its_seed() -> None:
    space: dict[str, Any] = {
        "n": Between(low=1, high=64, log=True),
        "r": Between(low=1e-4, high=1.0, log=True),
    }
    once, twice = (search(lambda c: c["n"] * c["r"], space, 8, 5, maximise=False) for _ in range(2))
    assert once.tried == twice.tried
    assert all(isinstance(choice["n"], int) for choice, _ in once.tried)


def test_a_trial_without_a_figure_counts_for_nothing() -> None:
    found = search(lambda c: float("nan") if c["a"] == 1 else 2.0, {"a": [1, 2]}, 8)
    assert found.best == {"a": 2}
    with pytest.raises(ValueError, match="none of 3 trials"):
        search(lambda c: float("nan"), {"a": [1]}, 3)


# --- metrics and figures


def test_figures_are_those_of_a_hand_reckoned_table() -> None:
    # called from .5: rows 1, 3 and 4; right: 1 and 4 of the positives 1, 2, 4; 5 of the negatives 3, 5
    found = metrics.binary([1, 1, 0, 1, 0], [0.9, 0.4, 0.6, 0.7, 0.1], draws=50)
    told = {
        name: found[name]["value"] for name in ("accuracy", "recall", "precision", "specificity", "f1", "auc")
    }
    assert told == {
        "accuracy": 0.6, "recall": 0.6667, "precision": 0.6667, "specificity": 0.5, "f1": 0.6667,
        "auc": 0.8333,  # five of the six pairs stand right
    }  # fmt: skip


def test_areas_and_macro_f1_are_scikit_learn_s() -> None:
    from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

    rng = np.random.default_rng(0)
    truth, p = rng.integers(0, 2, 200), rng.random(200).round(1)
    assert metrics.auc(truth.astype(float), p) == pytest.approx(roc_auc_score(truth, p))
    assert metrics.average_precision(truth.astype(float), p) == pytest.approx(
        average_precision_score(truth, p)
    )
    three, guess = rng.integers(0, 3, 200), rng.integers(0, 4, 200)
    assert metrics.f1_macro(three, guess) == pytest.approx(f1_score(three, guess, average="macro"))


def test_probabilities_twice_too_sure_have_slope_one_half() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=40_000)
    truth = (rng.random(len(z)) < 1 / (1 + np.exp(-z))).astype(float)
    assert metrics.calibration_slope(truth, 1 / (1 + np.exp(-2 * z))) == pytest.approx(0.5, abs=0.02)
    assert metrics.calibration_intercept(truth, 1 / (1 + np.exp(-z - 1))) == pytest.approx(-1, abs=0.04)


def test_a_figure_that_one_class_alone_does_not_have_is_left_out() -> None:
    found = metrics.binary([1, 1, 1], [0.2, 0.9, 0.8], draws=20)
    assert "auc" not in found
    assert found["accuracy"]["value"] == 0.6667


def test_small_groups_are_not_measured() -> None:
    found = metrics.by_group([0, 1] * 12, [0.2, 0.7] * 12, ["f"] * 20 + ["m"] * 4, draws=20)
    assert {name: one["n"] for name, one in found.items()} == {"f": 20}


def test_wilson_s_interval_is_the_textbook_s() -> None:
    # 8 of 10: centre (0.8 + 0.19207) / 1.38415, half-width 0.22662: .4902 to .9433 (Wilson 1927)
    assert figures.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_report_lies_beside_the_weights(tmp_path: Path, classes: int) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, 80)
    p = rng.dirichlet(np.ones(classes), 80) + 2 * np.eye(classes)[truth]
    p /= p.sum(1, keepdims=True)
    names = ["a", "b", "c"][:classes]
    figures.report(tmp_path, truth, p[:, 1] if classes == 2 else p, classes=names, more={"seed": 4})
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == ["confusion.png", "precision-recall.png", "reliability.png", "roc.png"]
    assert all((tmp_path / name).read_bytes()[:4] == b"\x89PNG" for name in pictures)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["accuracy"]["low"] <= written["accuracy"]["value"] <= written["accuracy"]["high"]
    assert (written["n"], written["seed"]) == (80, 4)


def test_measured_values_are_reported_with_their_error(tmp_path: Path) -> None:
    found = figures.report_values(tmp_path, [1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0], unit="mg")
    assert found["rmse"]["value"] == found["mae"]["value"] == 1.0
    assert (tmp_path / "measured.png").is_file()


# --- package

CARD = {
    "name": "a-family", "version": "1.0.0", "title": "t", "question": 'Is it "so"?',
    "intended_use": "not a medical device",
    "limits": ["one \\ two", "tab\there"], "abstains": [], "notes": 'Two\nlines, a """ and an é.\n',
    "needs": {"kind": "table", "scope": "instance", "features": ["age"]},
    "data": [{"name": "d", "licence": "CC0", "source": "s", "use": "training"}],
    "figures": [{"dataset": "d", "metric": "auc", "value": 0.8, "low": 0.7, "high": 0.9, "n": 12}],
}  # fmt: skip


def test_a_written_card_reads_back_and_its_weights_verify(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "checkpoints").mkdir()
    package.write(tmp_path, CARD, ["model.safetensors"], {"row.json": "{}"})
    found = cards.read(tmp_path)
    found.verify()
    assert found.notes == CARD["notes"]
    assert found.limits == tuple(CARD["limits"])
    assert (tmp_path / "example" / "row.json").read_text() == "{}"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["card.toml", "example", "model.safetensors"]
    (tmp_path / "model.safetensors").write_bytes(b"swapped")
    with pytest.raises(Misconfigured, match=r"model\.safetensors has sha256"):
        found.verify()


def test_what_is_no_card_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    package.write(tmp_path, CARD, ["model.safetensors"])
    with pytest.raises(Misconfigured, match="title"):
        package.write(tmp_path, {k: v for k, v in CARD.items() if k != "title"}, ["model.safetensors"])
    assert cards.read(tmp_path).title == "t"


def test_weights_that_could_run_code_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.pkl"):
        package.write(tmp_path, CARD, ["model.pkl"])


def test_a_family_trained_anew_serves_from_its_folder(tmp_path: Path) -> None:
    from models import registry

    served = registry.card("note-diagnosis")
    figure = {"dataset": "mine", "metric": "accuracy", "value": 0.9, "low": 0.8, "high": 0.95, "n": 40}
    written = package.again(tmp_path, served, version="1.1.0", figures=[figure])
    told = json.loads((tmp_path / "example" / "expected.json").read_text())
    assert (told["version"], told["findings"][0]["code"]) == ("1.1.0", "K27.9")
    assert written.weights == tuple(sorted(served.weights, key=lambda w: w.file))
    assert written.limits == served.limits


def trained(folder: Path, data: Path) -> cards.ModelCard:
    """The card above after a training on the data, as the train command leaves it."""
    (folder / "model.safetensors").write_bytes(b"weights")
    package.write(folder, CARD, ["model.safetensors"])
    return package.credited(folder, "a-family", data)


def test_a_user_s_data_are_named_as_the_user_s_and_never_by_their_file_s_name(tmp_path: Path) -> None:
    data = tmp_path / "Zanzibarov.csv"
    data.write_text("age\n70\n")
    found = trained(tmp_path, data)
    (learnt,) = found.data
    assert learnt.name == f"the user's own data, SHA-256 {package.sha256(data)}"
    assert found.limits == (package.OWN_LIMIT, *CARD["limits"])
    assert "Zanzibarov" not in (tmp_path / "card.toml").read_text()
    assert package.credited(tmp_path, "a-family", data).limits == found.limits


def test_weights_of_a_user_s_data_have_a_version_of_their_own(tmp_path: Path) -> None:
    data = tmp_path / "own.csv"
    data.write_text("age\n70\n")
    (tmp_path / "example").mkdir()
    (tmp_path / "example" / "expected.json").write_text('{"version": "0", "findings": []}')
    found = trained(tmp_path, data)
    assert found.version == f"{CARD['version']}+{found.weights_sha256[:8]}"
    told = json.loads((tmp_path / "example" / "expected.json").read_text("utf-8"))
    assert told == {"version": found.version, "findings": []}
    assert package.credited(tmp_path, "a-family", data).version == found.version


def test_the_release_s_own_data_keep_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "set"
    (data / "inside").mkdir(parents=True)
    (data / "inside" / "a.csv").write_text("age\n70\n")
    known = tmp_path / "learnt.toml"
    known.write_text(f'a-family = "{package.digest(data)}"\n')
    monkeypatch.setattr(package, "LEARNT", known)
    assert trained(tmp_path, data).data[0].name == "d"
    (data / "inside" / "a.csv").write_text("age\n71\n")
    assert trained(tmp_path, data).data[0].name != "d"


def test_every_family_s_data_are_known_by_their_digest(data: Path) -> None:
    from models import registry
    from models.training import report

    learnt, targets = tomllib.loads(package.LEARNT.read_text()), report.targets()
    assert set(learnt) == {card.name for card in registry.cards()}
    files = {name: data / targets[name]["data"] for name in learnt if "." in targets[name]["data"]}
    assert {name: package.digest(path) for name, path in files.items()} == {n: learnt[n] for n in files}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain = st.one_of(
    texts,
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False),
    st.lists(texts, max_size=3),
)


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        texts,
        st.one_of(
            plain,
            st.dictionaries(texts, plain, max_size=3),
            st.lists(st.dictionaries(texts, plain, max_size=3), max_size=3),
        ),
        max_size=5,
    )
)
def test_whatever_is_written_as_toml_reads_back(table: dict[str, Any]) -> None:
    assert tomllib.loads(package.toml(table)) == table


def test_numpy_s_numbers_are_written_as_numbers() -> None:
    told = package.toml({"a": np.float64(0.25), "b": np.int64(3), "c": np.bool_(True)})
    assert tomllib.loads(told) == {"a": 0.25, "b": 3, "c": True}


def test_a_comparison_is_a_table_of_what_every_line_tells() -> None:
    lines: list[dict[str, Any]] = [
        {"model": "forest", "auc": {"value": 0.91, "low": 0.9, "high": 0.92}, "right": [62, 63], "f1": 0.8},
        {"model": "RNN", "auc": {"value": 0.8, "low": 0.78, "high": 0.8249}, "right": [60, 61]},
    ]
    assert package.comparison(lines).splitlines() == [
        "        auc                  right",
        "forest  0.910 (0.900-0.920)  62, 63",
        "RNN     0.800 (0.780-0.825)  60, 61",
    ]
