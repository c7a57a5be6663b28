"""The assertion rules measured on, and trained by, data in the NegEx kit's layout."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from models import registry
from models.card import read as read_card
from models.note_assertion import HERE, evaluate, train

DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
KIT = DATA / "notes" / "negex" / "reports_1-60.tsv"

TSV = (
    "Report No.\tConcept\tSentence\tNegation\n"
    "1\tfever\tNo FEVER today.\tNegated\n"
    '1\tcough\t"She has COUGH, and rash."\tAffirmed\n'
    "2\tchest   pain\tDenies CHEST   PAIN.\tNegated\n"
    "2\trash\tThe RASH went.\tNegated\n"
    "3\tstroke\tNo STROKE unit was free.\tAffirmed\n"
)


def test_evaluate_counts_as_by_hand(tmp_path: Path) -> None:
    (tmp_path / "kit.tsv").write_text(TSV, "utf-8")
    figures = evaluate.evaluate(tmp_path / "kit.tsv")
    # negated truly: fever, chest pain, rash; called so: fever, chest pain, stroke
    assert figures["precision"]["value"] == figures["recall"]["value"] == figures["f1"]["value"] == 0.6667
    assert figures["n"] == 5


def test_curves_tell_which_concepts_service_would_have_found(tmp_path: Path) -> None:
    more = "4\tquux\tThe QUUX was absent.\tNegated\n"
    (tmp_path / "kit.tsv").write_text(TSV + more, "utf-8")
    found = evaluate.curves(tmp_path / "kit.tsv")
    assert found["y"] == [1, 0, 1, 1, 0, 1]
    assert found["guess"] == [1, 0, 1, 0, 1, 1]
    # a stroke unit is no stroke, and no problem is called quux
    assert found["answered"] == [True] * 4 + [False] * 2


def test_train_weighs_the_terms_that_occur(tmp_path: Path) -> None:
    (tmp_path / "kit.tsv").write_text(TSV, "utf-8")
    train.train(tmp_path / "kit.tsv", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "terms.json").read_text("utf-8"))
    gains = {t["term"]: t["f1_gain"] for t in report["terms"]}
    # without "denies": one hit of three, one false: F1 2/5 for 2/3
    assert gains["denies"] == pytest.approx(2 / 3 - 2 / 5, abs=1e-4)
    assert report["sha256"] == {w.file: w.sha256 for w in registry.card("note-assertion").weights}


def test_train_weighs_a_closing_term(tmp_path: Path) -> None:
    rows = "1\tfever\tFEVER denied, cough.\tNegated\n1\tcough\tShe has COUGH.\tAffirmed\n"
    (tmp_path / "kit.tsv").write_text(TSV.splitlines()[0] + "\n" + rows, "utf-8")
    train.train(tmp_path / "kit.tsv", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "terms.json").read_text("utf-8"))
    gains = {(t["kind"], t["term"]): t["f1_gain"] for t in report["terms"]}
    # without it the fever is missed, so that no hit is left
    assert report["f1"] == gains["closing", "denied"] == 1


@pytest.mark.skipif(not KIT.is_file(), reason="needs the data folder: set WETREAD_DATA")
def test_the_card_tells_at_how_many_of_the_kit_s_concepts_a_problem_is_found() -> None:
    found = evaluate.curves(KIT)["answered"]
    share = f"{100 * sum(found) / len(found):.1f} % of the NegEx kit's concepts"
    assert f"{share} ({sum(found)} of {len(found):,})" in " ".join(read_card(HERE).limits)


@pytest.mark.skipif(not KIT.is_file(), reason="needs the data folder: set WETREAD_DATA")
def test_negation_reaches_its_bar_on_the_kit() -> None:
    assert evaluate.evaluate(KIT)["f1"]["value"] >= 0.98
