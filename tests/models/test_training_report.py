"""The page of all families: every card's figures, targets beside what was reached, plots that are right."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from models import registry
from models.card import Figure
from models.synthesis.likeness import Likeness
from models.training import curves, metrics, report, subgroups


def _figure(metric: str, value: float) -> Figure:
    return Figure(dataset="d", metric=metric, value=value, low=value, high=value, n=9)


@pytest.mark.parametrize(
    ("metric", "value", "told"),
    [
        ("auc", 0.85, "at least 0.85: reached"),
        ("auc", 0.8499, "at least 0.85: not reached"),
        ("rmse", 0.6, "at most 0.58: not reached"),
        ("slope", 1.1, "0.9 to 1.1: reached"),
        ("slope", 1.2, "0.9 to 1.1: not reached"),
        ("f1", 0.1, ""),
    ],
)
def test_a_figure_is_held_against_its_target(metric: str, value: float, told: str) -> None:
    target = {"least": {"auc": 0.85}, "most": {"rmse": 0.58}, "between": {"slope": [0.9, 1.1]}}
    assert report.against(_figure(metric, value), target) == told


def test_every_family_with_a_target_has_that_figure_on_its_card() -> None:
    aims = report.targets()
    for card in registry.cards():
        aim = aims.get(card.name, {})
        wanted = {m for kind in ("least", "most", "between") for m in aim.get(kind, {})}
        assert wanted <= {f.metric for f in card.figures}, card.name


def test_the_page_tells_of_every_family_and_fetches_nothing(tmp_path: Path) -> None:
    out = tmp_path / "docs" / "report.html"
    report.main(["--out", str(out)])
    page = out.read_text("utf-8")
    for card in registry.cards():
        assert f'id="{card.name}"' in page
        assert all(f"{f.value:.3f} ({f.low:.3f} to {f.high:.3f})" in page for f in card.figures)
    assert not re.search(r"<script|<link|src=\"(?!data:)", page)


def test_a_page_keeps_the_plots_of_the_same_weights_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = registry.cards()[:2]
    drawn = {first.name: "<p>first</p>", second.name: "<p>second</p>"}
    monkeypatch.setattr(
        report,
        "answered",
        lambda card, *_: (
            ({"answered": [True, False]}, [drawn[card.name]]) if card.name in drawn else ({}, [])
        ),
    )
    before = report.page(Path()).decode()
    drawn[second.name] = "<p>new</p>"
    stale = before.replace(
        f"plots of {first.name} {first.weights_sha256[:12]}", f"plots of {first.name} 0123"
    )
    for page, kept in ((before, True), (stale, False)):
        after = report.page(Path(), only=[second.name], before=page).decode()
        assert ("<p>first</p>" in after) == kept
        assert ("<p>new</p>" in after, "<p>second</p>" in after) == (True, False)
        assert report.earlier(after)[second.name, second.weights_sha256[:12]][0] == {"answered": [0.5]}


def test_a_data_folder_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        report.main(["--data", str(tmp_path / "none"), "--out", str(tmp_path / "r.html")])
    assert ended.value.code == 2


def _two_classes(n: int = 80) -> dict[str, object]:
    rng = np.random.default_rng(0)
    truth = np.arange(n) % 2
    p = np.clip(0.3 + 0.4 * truth + rng.normal(0, 0.2, n), 0.01, 0.99)
    return {"y": truth, "p": p, "groups": {"sex": ["f", "m", "m", "m"] * (n // 4), "age": np.arange(n) / 2}}


def test_classes_are_drawn_with_subgroups_and_what_was_answered() -> None:
    told = "".join(curves.drawn({**_two_classes(), "unseen": True, "answered": [True] * 60 + [False] * 20}))
    assert told.count("<svg") == 4
    assert "never saw it" in told
    assert "75.0%" in told
    assert "By sex" in told
    assert '<td>f</td><td class="n">20</td>' in told
    assert "0 to 9.875" in told  # the youngest quarter of 0, .5, ..., 39.5


def test_answers_of_weights_that_may_have_learnt_the_rows_are_said_to_flatter() -> None:
    assert curves.FLATTERY in "".join(curves.drawn(_two_classes()))
    assert curves.FLATTERY not in "".join(curves.drawn({**_two_classes(), "unseen": True}))


def test_several_classes_and_measured_values_are_drawn() -> None:
    p = np.full((60, 3), 0.2) + 0.4 * np.eye(3)[np.arange(60) % 3]
    assert (
        "".join(curves.drawn({"y": np.arange(60) % 3, "p": p, "classes": ["a", "b", "c"]})).count("<svg") == 4
    )
    assert "data:image/png" in "".join(curves.drawn({"y": [1.0, 2.0], "value": [1.5, 2.0], "unit": "mg"}))


def test_kaplan_meier_is_the_textbook_s() -> None:
    # deaths at 1 (of 4) and 3 (of 2), one lost at 2: 3/4, then 3/4 * 1/2
    times, survival = metrics.kaplan_meier(
        np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, False])
    )
    assert times.tolist() == [0, 1, 3]
    assert survival.tolist() == [1, 0.75, 0.375]


def test_survival_is_drawn_by_thirds_of_risk() -> None:
    rng = np.random.default_rng(0)
    told = "".join(
        curves.drawn({"time": rng.exponential(5, 90), "event": np.ones(90), "risk": rng.normal(size=90)})
    )
    assert "highest third" in told


def test_rules_are_drawn_as_their_confusion_with_the_share_answered() -> None:
    found = {
        "y": [0, 0, 1, 1],
        "guess": [0, 1, 1, 1],
        "classes": ("affirmed", "negated"),
        "answered": [1, 1, 1, 0],
    }
    told = "".join(curves.drawn({**found, "note": "These are rules."}))
    assert told.count("<svg") == 1
    assert "75.0%" in told
    assert "These are rules." in told
    cells = re.findall(r">(\d+)</text>", told)
    assert cells == ["1", "1", "0", "2"]  # truth affirmed: one right, one not; negated: both right


def test_coverage_is_told_name_by_name() -> None:
    told = "".join(curves.drawn({"shares": {"CYP2C9": (8, 6, 10), "CYP2D6": (0, 0, 0)}}))
    assert '<td>CYP2C9</td><td class="n">10</td><td>80.0%</td><td>75.0%</td>' in told
    assert "CYP2D6" not in told  # of what was never asked there is no share


def test_a_generator_is_drawn_without_one_real_sample_of_its_own() -> None:
    rng = np.random.default_rng(0)
    both = {"real": 0.0, "invented": 0.5}
    for side in ((1, 32), (8, 8)):
        told = Likeness(
            samples=rng.standard_normal((6, *side)).astype(np.float32),
            labels=np.arange(6) % 2,
            middle={n: np.full((2, *side), v, np.float32) for n, v in both.items()},
            spread={n: np.full((2, 2, *side), v, np.float32) for n, v in both.items()},
            near={n: rng.uniform(1, 2, 20) for n in both},
            features={n: rng.standard_normal((20, 4)) for n in both},
            truth=np.arange(20) % 2,
            taught={n: rng.dirichlet([1, 1], 20) for n in both},
        )
        page = "".join(curves.drawn({"likeness": told, "classes": ("a", "b")}))
        assert (page.count("data:image/png"), page.count("<svg")) == (2, 2)


def test_a_subgroup_s_interval_is_over_persons_where_they_are_known() -> None:
    # one of two persons always right, the other always wrong: drawn together, anything from 0 to 1 may come
    found = {
        "y": np.zeros(200, dtype=int),
        "p": np.repeat([[1.0, 0, 0], [0, 1.0, 0]], 100, axis=0),
        "groups": {"site": ["here"] * 200},
    }
    assert "0.500 (0.000 to 1.000)" not in "".join(subgroups.tables(found))
    told = "".join(subgroups.tables({**found, "persons": np.repeat([0, 1], 100)}))
    assert "0.500 (0.000 to 1.000)" in told
    assert "200 of 2 persons" in told


def test_curves_that_fit_no_kind_of_answer_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one of risk, value, p"):
        curves.drawn({"y": [0, 1]})
