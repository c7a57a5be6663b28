"""The likely disease of a description of symptoms, its words, and when the model keeps silent."""

import functools
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from db.records import Diagnosis
from models import registry
from models.card import read as read_card
from models.note_diagnosis import HERE, evaluate, features, gate, labels, linear, train
from models.note_diagnosis.model import NoteDiagnosis
from models.payloads import Note

DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
SET = DATA / "notes" / "symptom2disease_train.csv"
needs_data = pytest.mark.skipif(not SET.is_file(), reason="needs the data folder: set WETREAD_DATA")

PSORIASIS = "Itchy silvery scaly patches on my elbows and knees for three months, my nails have small dents."
URINARY = (
    "Burning when I urinate, frequent urination, lower belly pain. My urine is cloudy and foul smelling."
)


@functools.cache
def model() -> NoteDiagnosis:
    opened = registry.load("note-diagnosis", "cpu")
    assert isinstance(opened, NoteDiagnosis)
    return opened


def examine(note: str) -> Diagnosis:
    return model().examine([Note(text=note)])[0]


@pytest.mark.parametrize(
    ("note", "code"),
    [
        (PSORIASIS, "L40.9"),
        (URINARY, "N39.0"),
        ("Increased thirst, frequent urination, constant hunger, fatigue and blurred vision.", "E11.9"),
        ("A throbbing headache on one side, blurred vision and acid reflux, I am always hungry.", "G43.909"),
        ("Heartburn after meals and acid reflux, a sour taste in my mouth, worse lying down.", "K21.9"),
    ],
)
def test_plain_descriptions_get_their_disease(note: str, code: str) -> None:
    (finding,) = examine(note).findings
    assert finding.code.value == code
    assert finding.positive
    assert finding.probability >= finding.threshold == model().card.threshold("likely disease")  # type: ignore[operator]


def test_alternatives_are_less_likely_and_all_add_up_to_at_most_one() -> None:
    (finding,) = examine(URINARY).findings
    others = [a["probability"] for a in finding.evidence["alternatives"]]  # type: ignore[attr-defined]
    assert others == sorted(others, reverse=True)
    assert finding.probability > others[0]  # type: ignore[operator]
    assert finding.probability + sum(others) <= 1 + 1e-6  # type: ignore[operator]


def test_evidence_words_stand_in_the_note_and_in_the_vocabulary() -> None:
    note = f"Zanzibarov from Quuxville: {URINARY}"
    (finding,) = examine(note).findings
    told: list[dict] = list(finding.evidence["words"])  # type: ignore[call-overload]
    assert {"urine", "cloudy"} <= {w["word"] for w in told}
    assert all(note[w["start"] : w["end"]].lower() == w["word"] and w["weight"] > 0 for w in told)
    assert not {"zanzibarov", "quuxville"} & {w["word"] for w in told}


@pytest.mark.parametrize(
    ("note", "code"),
    [
        ("", "empty"),
        ("12 %", "empty"),
        ("Tengo mucha sed y no sé por qué me duele la cabeza, pero el médico no lo ve.", "not-english"),
        ("milk, eggs, two loaves of bread, butter, apples, washing powder", "nothing-known"),
        ("No rash. No fever. No cough. Denies headache or vomiting.", "mostly-denied"),
        ("rash", "nothing-known"),
        ("I feel a bit of pain and I am tired and weak", "nothing-known"),
        ("Runny nose, sneezing, sore throat and a cough, my sinuses feel swollen.", "not-confident"),
        ("cough " * 40_000, "too-long"),
    ],
)
def test_abstains_with_its_reason(note: str, code: str) -> None:
    diagnosis = examine(note)
    assert diagnosis.abstained
    assert str(diagnosis.reason).startswith(f"{code}: ")
    assert code in model().card.abstains


@pytest.mark.parametrize("kind", sorted(labels.strangers()))
def test_strangers_are_met_with_silence(kind: str) -> None:
    assert all(examine(t).abstained for t in labels.strangers()[kind])


def test_one_bad_note_abstains_alone_and_the_batch_changes_nothing() -> None:
    notes = [Note(text=t) for t in (PSORIASIS, "", URINARY)]
    together = model().examine(notes)
    assert together == [model().examine([n])[0] for n in notes]
    assert [d.abstained for d in together] == [False, True, False]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(st.sampled_from(["rash ", "itchy ", "\x00", "İ", "ﬁ", "’", "-", "\n"]), st.text(max_size=9))
    )
)
def test_any_text_is_answered_or_refused_and_its_words_have_their_places(parts: list[str]) -> None:
    note = "".join(parts)
    diagnosis = examine(note)
    assert diagnosis.abstained == (not diagnosis.findings)
    for finding in diagnosis.findings:
        assert 0 <= finding.probability <= 1  # type: ignore[operator]
        for word in finding.evidence["words"]:  # type: ignore[attr-defined]
            assert features.content(note[word["start"] : word["end"]])[0].form == word["word"]


def test_words_contributions_and_intercept_sum_to_the_logit() -> None:
    for label in (0, 15, 23):
        total = model().linear.contributions(URINARY, label).sum() + model().linear.intercepts[label]
        assert total == pytest.approx(model().linear.logits(URINARY)[label], abs=1e-9)


@pytest.fixture(scope="module")
def small_set() -> tuple[list[str], np.ndarray]:
    texts = [
        *("itchy scaly rash on elbows", "scaly rash and itchy scalp", "rash, scaly and itchy skin"),
        *("burning urine and pain", "cloudy urine, burning pain", "pain and burning of urine"),
    ]
    return texts, np.array([0, 0, 0, 1, 1, 1])


def test_transform_and_logits_are_scikit_learns(small_set: tuple[list[str], np.ndarray]) -> None:
    from scipy.sparse import hstack
    from sklearn.linear_model import LogisticRegression

    texts, truth = small_set
    truth = truth + (np.arange(6) % 3 == 0)  # three classes, so that the regression is multinomial
    words, letters = linear.vectorizers()
    table = hstack([words.fit_transform(texts), letters.fit_transform(texts)]).tocsr()
    reference = LogisticRegression(C=linear.STRENGTH, max_iter=1000).fit(table, truth)
    ours = linear.fit(texts, truth)
    for note in [*texts, "itchy urine rash rash unheard-of", "nothing of it", ""]:
        row = np.zeros(table.shape[1])
        found = features.content(note)
        for column, value in ours.transform(
            features.word_features(found), features.letter_features(found)
        ).items():
            row[column] = value
        expected = hstack([words.transform([note]), letters.transform([note])]).toarray()[0]
        np.testing.assert_allclose(row, expected, atol=1e-9)
        np.testing.assert_allclose(
            softmax(ours.logits(note)), reference.predict_proba(expected[None])[0], atol=1e-9
        )


def test_saved_regression_answers_as_before(small_set: tuple[list[str], np.ndarray], tmp_path: Path) -> None:
    fitted = linear.fit(*small_set)
    fitted.save(tmp_path)
    again = linear.load(tmp_path)
    assert again.words == fitted.words
    # the coefficients are stored in single precision
    np.testing.assert_allclose(again.logits("itchy rash"), fitted.logits("itchy rash"), rtol=1e-5)


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("No rash. Cough.", {"rash"}),
        ("Denies cough or fever but has rash", {"cough", "or", "fever"}),
        ("No fever at noon. Fever at night.", {"noon"}),
    ],
)
def test_denied_words_end_with_their_clause(note: str, expected: set[str]) -> None:
    assert gate.denied(note) - {"at"} == expected


def test_operating_point_leaves_98_percent_answered() -> None:
    highest = np.array([0.31] + [0.52] * 2 + [0.9] * 97)
    table = np.stack([highest, *[(1 - highest) / 4] * 4], axis=1)
    # 99 of 100 reach .50, 97 of 100 reach .55
    assert train.operating_point(table) == 0.5


def test_example_gives_the_expected_finding() -> None:
    expected = json.loads((HERE / "example" / "expected.json").read_text("utf-8"))
    (finding,) = model().examine([registry.family("note-diagnosis").example()])[0].findings
    (wanted,) = expected["findings"]
    assert expected["version"] == model().card.version
    assert (finding.code.value, finding.positive, finding.qualifier) == (
        wanted["code"],
        wanted["positive"],
        wanted["qualifier"],
    )
    assert finding.probability == pytest.approx(wanted["probability"], abs=1e-4)


# simple-icd-10-cm 1.5.0 reads its own tables by importlib.resources.read_text, deprecated in Python 3.11
@pytest.mark.filterwarnings("ignore:(read_text|open_text) is deprecated:DeprecationWarning")
def test_every_disease_has_its_code_and_title() -> None:
    import simple_icd_10_cm as icd

    assert len(labels.diseases()) == 24
    assert [d.meaning for d in labels.diseases()] == [icd.get_description(d.code) for d in labels.diseases()]
    assert all(icd.is_leaf(d.code) for d in labels.diseases())


def test_the_card_hashes_every_file_the_answer_depends_on() -> None:
    files = {"linear.safetensors", "vocabulary.json", "calibration.json", "labels.toml"}
    assert {w.file for w in read_card(HERE).weights} == files


def test_render_escapes_the_note_and_marks_its_words() -> None:
    note = Note(text=f"<script>alert(1)</script> {URINARY}")
    page = (
        registry.family("note-diagnosis")
        .render(note, model().examine([note])[0].findings, {})
        .content.decode()
    )
    assert "<script>" not in page
    assert 'class="word">urine' in page
    assert "N39.0" in page


def test_evaluate_counts_abstained_texts_by_their_likeliest_disease(tmp_path: Path) -> None:
    rows = f'label,text\nPsoriasis,"{PSORIASIS}"\nMalaria,"{URINARY}"\nImpetigo,"milk, eggs and bread"\n'
    (tmp_path / "set.csv").write_text(rows, "utf-8")
    figures = evaluate.evaluate(tmp_path / "set.csv")
    guess = labels.diseases()[int(model().linear.logits("milk, eggs and bread").argmax())].label
    assert guess != "Impetigo"
    # one right of three; F1 is 1 for psoriasis and 0 for the four other diseases named or guessed
    assert figures["accuracy"]["value"] == 0.3333
    assert figures["f1_macro"]["value"] == pytest.approx(1 / 5, abs=1e-4)
    assert figures["abstained"] == 0.3333
    assert figures["n"] == 3


def test_an_unknown_label_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("label,text\nScurvy,bleeding gums\n", "utf-8")
    with pytest.raises(ValueError, match="none of the 24"):
        evaluate.evaluate(tmp_path / "set.csv")


def test_the_network_learns_and_repeats_itself() -> None:
    from models.note_diagnosis import network

    notes = ["itchy scaly rash. It burns."] * 15 + ["cloudy urine. Much pain."] * 15
    truth = np.array([0] * 15 + [1] * 15)
    recipe = network.Recipe(width=8, hidden=8, epochs=8)
    first, second = (
        network.fit(notes, truth, ["scaly rash", "cloudy urine"], classes=2, seed=3, recipe=recipe)
        for _ in range(2)
    )
    assert first.argmax(1).tolist() == [0, 1]
    np.testing.assert_array_equal(first, second)


def test_attention_of_a_note_sums_to_one_and_leaves_padding_out() -> None:
    import torch

    from models.note_diagnosis import network

    net = network.SelfAttention(10, 3, network.Recipe(width=4, hidden=4)).eval()
    _, attention = net(network.pad([[2, 3, 4], [5]]))
    torch.testing.assert_close(attention.sum(1), torch.ones(2))
    assert attention[1, 1:].max() == 0


def test_load_and_first_answer_take_under_two_seconds_of_processor() -> None:
    began = time.process_time()
    opened = registry.load("note-diagnosis", "cpu")
    opened.examine([registry.family("note-diagnosis").example()])
    assert time.process_time() - began < 2


@needs_data
def test_cross_validated_accuracy_is_above_its_floor() -> None:
    texts, truth = labels.read(SET)
    rows, other = evaluate.splits(truth, 5)[0]
    fitted = linear.fit([texts[i] for i in rows], truth[rows])
    table = evaluate.logits(fitted, [texts[i] for i in other])
    assert evaluate.accuracy(truth[other], table.argmax(1)) >= 0.95


@needs_data
def test_training_writes_the_weights_that_are_served(tmp_path: Path) -> None:
    train.train(SET, tmp_path, minutes=0)
    assert json.loads((tmp_path / "vocabulary.json").read_text()) == json.loads(
        (HERE / "vocabulary.json").read_text()
    )
    again = linear.load(tmp_path)
    np.testing.assert_allclose(again.coefficients, model().linear.coefficients, atol=1e-3)
