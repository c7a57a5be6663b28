"""Which problems a note asserts, negates, doubts, recalls or tells of relatives."""

import functools
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.records import Diagnosis
from models import registry, text
from models.card import read as read_card
from models.note_assertion import HERE, terms
from models.payloads import Note


@functools.cache
def model() -> registry.Model:
    return registry.load("note-assertion", "cpu")


def examine(note: str) -> Diagnosis:
    return model().examine([Note(text=note)])[0]


def said(note: str) -> dict[str, str | None]:
    """What is said of each problem, by its canonical term."""
    return {str(f.evidence["term"]): f.qualifier for f in examine(note).findings}


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("No fever, chills or cough.", {"fever": "negated", "chills": "negated", "cough": "negated"}),
        ("Denies chest pain but reports palpitations.", {"chest pain": "negated", "palpitations": None}),
        ("Pneumothorax was ruled out.", {"pneumothorax": "negated"}),
        ("Ruled out for MI; chest pain persists.", {"myocardial infarction": "negated"}),
        ("There was no increase in wheezing.", {"wheezing": None}),
        ("Gram negative sepsis.", {"sepsis": None}),
        ("Not only cough, fever too.", {"cough": None, "fever": None}),
        ("She is afebrile.", {"fever": "negated"}),
        (
            "Negative for pneumonia and pleural\neffusion.",
            {"pneumonia": "negated", "pleural effusion": "negated"},
        ),
        ("He complained of chest pain, denied dyspnea.", {"chest pain": None, "dyspnea": "negated"}),
        ("Denies that he has had any syncope.", {"syncope": "negated"}),
        ("Fever, negative blood cultures.", {"fever": None}),
        (
            "No pneumonia on the film; pleural effusion is seen.",
            {"pneumonia": "negated", "pleural effusion": None},
        ),
        ("No nausea, and the cough has improved.", {"nausea": "negated", "cough": None}),
        ("Cough likely due to pneumonia.", {"cough": None, "pneumonia": "uncertain"}),
        ("Previously healthy man with asthma.", {"asthma": None}),
        ("Former smoker.", {"nicotine dependence": "historical"}),
        ("Possible pneumonia.", {"pneumonia": "uncertain"}),
        ("Pulmonary embolism cannot be excluded.", {"pulmonary embolism": "uncertain"}),
        ("Return if you develop fever.", {"fever": "uncertain"}),
        ("History of stroke, presents with seizures.", {"stroke": "historical", "seizure": None}),
        ("Three day history of cough.", {"cough": None}),
        (
            "PAST MEDICAL HISTORY:\n- COPD\n- HTN\n\nHeadache today.",
            {"headache": None, "hypertension": "historical"},
        ),
        ("Her mother had breast cancer.", {"breast cancer": "family"}),
        ("Her mother reports fever.", {"fever": None}),
        (
            "Family history:\n- diabetes\n\nPatient has asthma.",
            {"type 2 diabetes mellitus": "family", "asthma": None},
        ),
        ("No family history of stroke.", {"stroke": "family"}),
    ],
)
def test_what_is_said_of_a_problem(note: str, expected: dict[str, str | None]) -> None:
    found = said(note)
    assert {term: found.get(term, "absent") for term in expected} == expected


@pytest.mark.parametrize(
    "behind",
    [
        " denied.",
        ": denied",
        " denied, asthma",
        " denied; asthma",
        " denied and asthma",
        " denied but asthma",
        " (denied), asthma",
        " denied\nasthma",
        " denied\n- asthma",
        " denied by his wife.",
        " denied at this time.",
        " was denied, asthma",
        " has been denied.",
        " absent, asthma",
        " - none",
        ": none; asthma",
        ": no",
        ": no, asthma",
        " negative.",
        " (-), asthma",
        " ruled out, asthma",
        " has been ruled out.",
        ": no evidence.",
        " - no evidence, asthma",
        " not present.",
        " not seen, asthma",
        " not found; asthma",
        " excluded, asthma",
    ],
)
def test_a_denial_that_ends_the_clause_denies_the_problem_before_it_alone(behind: str) -> None:
    asthma: dict[str, str | None] = {"asthma": None} if "asthma" in behind else {}
    assert said(f"Dementia{behind}") == {"dementia": "negated", **asthma}


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("Patient with dementia denied pain.", {"dementia": None, "pain": "negated"}),
        ("Patient with dementia denied\npain.", {"dementia": None, "pain": "negated"}),
        ("Patient with dementia denied any pain, fever.", {"dementia": None, "fever": "negated"}),
        ("Patient with dementia denied today any pain.", {"dementia": None, "pain": "negated"}),
        ("Patient with dementia denied today\nany pain.", {"dementia": None, "pain": "negated"}),
        ("Patient with dementia, denied pain.", {"dementia": None, "pain": "negated"}),
        ("Patient with dementia ruled out for MI.", {"dementia": None, "myocardial infarction": "negated"}),
        ("Dementia, no evidence of stroke.", {"dementia": None, "stroke": "negated"}),
        ("Dementia - no fever.", {"dementia": None, "fever": "negated"}),
        ("Diabetes with absent pulses.", {"type 2 diabetes mellitus": None}),
        ("Dementia not denied.", {"dementia": None}),
        ("Dementia cannot be denied.", {"dementia": None}),
        ("Patient with asthma, fever denied.", {"asthma": None, "fever": "negated"}),
        ("Type 2 diabetes mellitus; dementia denied.", {"type 2 diabetes mellitus": None}),
        ("Pneumonia to be ruled out.", {"pneumonia": "uncertain"}),
        ("Pneumonia has not yet been excluded.", {"pneumonia": "uncertain"}),
    ],
)
def test_a_denial_of_something_else_leaves_the_problem_before_it(
    note: str, expected: dict[str, str | None]
) -> None:
    found = said(note)
    assert {term: found.get(term, "absent") for term in expected} == expected


@pytest.mark.parametrize("note", ["Fever, chills and cough denied.", "Fever/chills or cough: absent, asthma"])
def test_a_denial_behind_a_list_denies_the_whole_list(note: str) -> None:
    found = said(note)
    assert [found[t] for t in ("fever", "chills", "cough")] == ["negated"] * 3
    assert found.get("asthma") is None


def test_a_closing_denial_says_where_it_stands() -> None:
    note = "Dementia was specifically denied."
    (finding,) = examine(note).findings
    (trigger,) = finding.evidence["triggers"]  # type: ignore[misc]
    assert note[trigger["start"] : trigger["end"]] == trigger["term"] == "denied"


def test_every_answer_is_kept_when_several_hold() -> None:
    (finding,) = examine("No family history of stroke.").findings
    assert finding.evidence["qualifiers"] == ["family", "negated"]
    assert not finding.positive


def test_longest_name_wins() -> None:
    assert said("Acute respiratory failure and aspiration pneumonia.") == {
        "acute respiratory failure": None,
        "aspiration pneumonia": None,
    }


def test_an_abbreviation_counts_only_in_capitals() -> None:
    assert "pulmonary embolism" in said("CT shows PE and atelectasis.")
    assert "pulmonary embolism" not in said("CT shows pe and atelectasis.")


def test_a_problem_word_within_another_phrase_is_no_problem() -> None:
    assert said("Referred to the pain clinic. Cough.") == {"cough": None}


def test_triggers_stand_where_they_are_said_to_stand() -> None:
    note = "Denies   any\nfever; no evidence  of pneumonia."
    spoken = {
        (t["term"], note[t["start"] : t["end"]])  # type: ignore[index]
        for f in examine(note).findings
        for t in f.evidence["triggers"]  # type: ignore[attr-defined]
    }
    assert ("denies", "Denies") in spoken
    assert ("no evidence of", "no evidence  of") in spoken


def test_rules_give_no_probability() -> None:
    assert all(
        f.probability is None
        for f in model().examine([registry.family("note-assertion").example()])[0].findings
    )


_PARTS = st.sampled_from(
    [
        "no ",
        "fever",
        " pneumonia",
        "\n",
        "Family history:",
        ". ",
        "\x00",
        "\u200b",
        "ﬁ",
        "İ",
        "𝒳",
        "\ud800",
        "COPD ",
        "’",
        "-",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(_PARTS, st.text(max_size=8)), max_size=25).map("".join))
def test_every_span_maps_to_a_spelling_of_its_term(note: str) -> None:
    spellings = {
        p.term: {_key(s) for s in (*p.spellings(), *p.capitals, *p.absent)}
        for p in terms.vocabulary(HERE).problems
    }
    diagnosis = examine(note)
    assert diagnosis.abstained == (not diagnosis.findings)
    for finding in diagnosis.findings:
        seen: dict = dict(finding.evidence)
        assert _key(text.printable(note)[seen["start"] : seen["end"]]) in spellings[seen["term"]]
        assert 0 <= seen["sentence_start"] <= seen["start"] < seen["end"] <= seen["sentence_end"] <= len(note)


def _key(phrase: str) -> tuple[str, ...]:
    return tuple(w.form for w in text.words(phrase))


@pytest.mark.parametrize(
    ("note", "code"),
    [
        ("", "empty"),
        (" \n\t12 %", "empty"),
        ("The committee met on Tuesday.", "nothing-recognised"),
        ("El paciente no tiene fiebre y la tos se ha ido con el tratamiento por la neumonia.", "not-english"),
        ("Пациент жалуется на кашель и температуру.", "not-english"),
        ("a" * 2_000_001, "too-long"),
        ("fever " * 20_001, "too-many-mentions"),
    ],
)
def test_abstains_with_its_reason(note: str, code: str) -> None:
    diagnosis = examine(note)
    assert diagnosis.abstained
    assert str(diagnosis.reason).startswith(f"{code}: ")
    assert code in model().card.abstains


def test_one_bad_note_abstains_alone_and_the_batch_changes_nothing() -> None:
    notes = [Note(text=t) for t in ("No fever. Asthma.", "", "Possible stroke.")]
    together = model().examine(notes)
    assert together == [model().examine([n])[0] for n in notes]
    assert [d.abstained for d in together] == [False, True, False]


def test_evidence_holds_none_of_the_notes_own_words() -> None:
    note = "Mr Zanzibarov of Quuxville denies feverr but has FEVERS after seeing Dr Blortsky."
    assert not {
        w for w in ("zanzibarov", "quuxville", "blortsky", "feverr") if w in repr(examine(note)).lower()
    }


def test_example_gives_the_expected_findings() -> None:
    expected = json.loads((HERE / "example" / "expected.json").read_text("utf-8"))
    found = model().examine([registry.family("note-assertion").example()])[0]
    assert expected["version"] == model().card.version
    assert expected["findings"] == [
        {
            "code": f.code.value,
            "term": f.evidence["term"],
            "positive": f.positive,
            "qualifier": f.qualifier,
            "probability": f.probability,
            "start": f.evidence["start"],
            "end": f.evidence["end"],
        }
        for f in found.findings
    ]


# simple-icd-10-cm 1.5.0 reads its own tables by importlib.resources.read_text, deprecated in Python 3.11
@pytest.mark.filterwarnings("ignore:(read_text|open_text) is deprecated:DeprecationWarning")
def test_every_code_and_title_is_in_icd_10_cm() -> None:
    import simple_icd_10_cm as icd

    wrong = [
        p.code
        for p in terms.vocabulary(HERE).problems
        if not icd.is_leaf(p.code) or icd.get_description(p.code).replace('"', "'") != p.meaning
    ]
    assert not wrong


def test_no_spelling_belongs_to_two_problems() -> None:
    owner: dict[str, str] = {}
    for problem in terms.vocabulary(HERE).problems:
        for name in (*problem.spellings(), *problem.absent):
            assert owner.setdefault(name, problem.term) == problem.term


def test_every_term_file_is_hashed_on_the_card() -> None:
    assert {w.file for w in read_card(HERE).weights} == set(terms.FILES)


def test_a_long_note_takes_time_in_proportion() -> None:
    part = "No fever, chills or cough today. "
    began = time.process_time()
    examine(part * 300)
    short = time.process_time() - began
    began = time.process_time()
    examine(part * 3000)
    assert time.process_time() - began < 10 * short * 4 + 1


def test_render_escapes_the_note_and_marks_by_qualifier() -> None:
    note = Note(text="<script>alert(1)</script> No fever. Asthma & cough.")
    page = (
        registry.family("note-assertion")
        .render(note, model().examine([note])[0].findings, {})
        .content.decode()
    )
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert 'class="negated">fever' in page
    assert 'class="asserted">Asthma' in page


def test_nothing_of_a_note_stays_in_memory_of_spacy() -> None:
    examine("No fever in Zanzibarov of Quuxville.")
    strings = model().assertions.nlp.vocab.strings  # type: ignore[attr-defined]
    assert "zanzibarov" not in strings
    assert "fever" in strings
