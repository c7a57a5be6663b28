"""Data sets, preparation and figures that the families on tables share."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import card
from models.tabular import carding, design, ensemble, files, measure, recipe, rows
from models.tabular.recipe import Member, Recipe

HEART = recipe.read(Path(__file__).parents[2] / "models" / "heart_disease")


def toy(**more: object) -> Recipe:
    """Age and sex tell the answer."""
    return HEART.model_copy(
        update={"features": ("age", "sex", "cholesterol"), "members": MEMBERS, "derived": (), **more}
    )


MEMBERS = (
    Member(name="line", kind="logistic", view="curves"),
    Member(name="trees", kind="boosting", view="trees", parameters={"max_iter": 5}, seeds=2),
    Member(name="net", kind="shared", view="curves", parameters={"width": 8, "members": 2}),
    Member(name="vectors", kind="support", view="plain", parameters={"C": 1.0}),
)


def drawn(n: int = 80) -> rows.Data:
    rng = np.random.default_rng(0)
    table = np.stack([rng.uniform(30, 80, n), rng.integers(0, 2, n), rng.uniform(150, 300, n)], axis=1)
    labels = (table[:, 0] + 10 * table[:, 1] + rng.normal(0, 5, n) > 60).astype(np.int64)
    table[::7, 2] = np.nan
    return rows.Data(rows=table, labels=labels, helpers=labels[:, None] + rng.normal(0, 0.1, (n, 1)))


def test_arff_gives_its_columns_with_question_marks_as_not_known(tmp_path: Path) -> None:
    path = tmp_path / "a.arff"
    path.write_text(
        "% c\n@relation r\n@attribute 'a b' real\n@ATTRIBUTE k {'<50',x}\n@data\n1,'<50'\n\n?, x\n"
    )
    assert files.read(path) == {"a b": ["1", None], "k": ["<50", "x"]}


def test_a_short_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match="row 2 has 1 cells, the header 2"):
        files.read(path)


def test_a_cell_that_cannot_be_meant_is_named_without_being_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("age,sex,chol,num\n50,male,200,<50\n50,Zanzibarov,200,<50\n")
    with pytest.raises(ValueError, match="row 2: sex cannot be read") as told:
        rows.load(path, toy())
    assert "Zanzibarov" not in str(told.value)


@given(st.dictionaries(st.sampled_from(["age", "sex", "ca"]), st.one_of(st.floats(), st.text(max_size=4))))
def test_any_values_become_a_row_or_are_refused(values: dict[str, float | str]) -> None:
    try:
        row = rows.row(values, HEART)
    except ValueError:
        return
    assert row.shape == (len(HEART.features),)
    assert not np.isinf(row).any()


def test_the_column_ca_is_vessels_only_where_it_counts_them() -> None:
    place = HEART.features.index("vessels")
    assert rows.row({"ca": "2"}, HEART)[place] == 2
    assert math.isnan(rows.row({"ca": "metastatic"}, HEART)[place])


def test_what_is_stored_answers_as_what_was_fitted() -> None:
    data = drawn()
    fitted = ensemble.with_calibration(ensemble.fit(data, toy()), 1.3, 0.2)
    stored = ensemble.unpacked(ensemble.packed(fitted, "m."), "m.", toy())
    assert stored.probabilities(data.rows) == pytest.approx(fitted.probabilities(data.rows), abs=1e-6)


def test_out_of_fold_predictions_find_what_is_there_and_nothing_in_shuffled_labels() -> None:
    data = drawn(160)
    assert measure.auc(data.labels, measure.out_of_fold(data, toy(), 4).scores) > 0.9
    shuffled = replace(data, labels=np.random.default_rng(1).permutation(data.labels))
    assert 0.3 < measure.auc(shuffled.labels, measure.out_of_fold(shuffled, toy(), 4).scores) < 0.7


# .75 of four right in the first division, .25 in the second
def test_figures_of_several_divisions_are_their_mean() -> None:
    sure, labels = np.array([0.9, 0.9, 0.1, 0.1]), np.array([1, 1, 0, 1])
    other = np.array([0.1, 0.1, 0.1, 0.1])
    tables = np.stack([np.stack([1 - p, p], 1) for p in (sure, other)], axis=1)
    found = measure.figures(labels, tables, toy(), draws=10)
    assert found["accuracy"]["value"] == (0.75 + 0.25) / 2


def test_each_division_cuts_the_rows_otherwise() -> None:
    first, second = measure.divided(drawn(), toy(divisions=2, members=MEMBERS[:1]), 4)
    assert (first.fold != second.fold).any()


def told() -> dict[str, object]:
    """What `fitting` keeps of a training on sixty patients."""
    value = {"value": 0.8, "low": 0.7, "high": 0.9}
    line = {"model": "served", "accuracy": value, "log_loss": 0.4, "n": 60}
    return {"folds": 10, "divisions": 1, "comparison": [line], "subgroups": {"accuracy_sex_male": value}}


def test_a_card_s_notes_tell_the_comparison_and_keep_what_people_chose() -> None:
    notes = carding.notes(told(), "Old figures.\n\nChoices: two members.\n")
    assert notes.startswith("Compared out of fold, ten folds of the 60 patients")
    assert "accuracy_sex_male 0.800 (0.700-0.900)" in notes
    assert notes.endswith("Choices: two members.\n")
    assert "Old figures" not in notes


def test_nothing_published_is_held_against_a_user_s_own_data() -> None:
    served = card.read(HEART.folder)
    (own,), (release,) = (carding.figures(told(), served, HEART, own) for own in (True, False))
    how = "ten-fold cross-validation of the serving recipe, mean of five divisions"
    assert own["dataset"] == f"the user's own data, {how}"
    assert release["dataset"].startswith("Cleveland, ten-fold")
    assert (own["published"], bool(release["published"])) == ("", True)


def test_no_background_row_is_a_row_of_the_data() -> None:
    table = drawn().rows
    background = design.fit(table, toy()).background
    same = (np.nan_to_num(background)[:, None] == np.nan_to_num(table)[None]).all(2)
    assert not same.any()


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order() -> None:
    # positives .8 .4, negatives .4 .1: of four pairs three in order and one tied: 3.5 / 4
    p = np.array([0.8, 0.4, 0.4, 0.1])
    assert measure.auc(np.array([1, 1, 0, 0]), np.stack([1 - p, p], 1)) == 0.875


def test_f1_is_averaged_over_classes() -> None:
    # class 0: one right of one guessed and two there, 2/3; class 1: one right of two guessed, 2/3
    table = np.array([[0.9, 0.1], [0.2, 0.8], [0.2, 0.8]])
    assert measure.f1_macro(np.array([0, 0, 1]), table) == pytest.approx(2 / 3)


@settings(max_examples=5, deadline=None)
@given(st.sampled_from([0.5, 1.0, 2.0]))
def test_the_calibration_slope_is_what_the_log_odds_were_multiplied_by(factor: float) -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=60_000)
    labels = (rng.uniform(size=len(truth)) < 1 / (1 + np.exp(-truth))).astype(np.int64)
    p = 1 / (1 + np.exp(-truth * factor))
    assert measure.calibration_slope(labels, np.stack([1 - p, p], 1)) == pytest.approx(1 / factor, rel=0.04)
