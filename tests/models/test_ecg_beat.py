"""Beats of an ECG: found, classed by AAMI, counted, shown; and when the model keeps silent."""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from db.records import Diagnosis, Finding
from models import registry
from models.ecg_beat import beats, detect, evaluate, invent, rhythm, signals, train, view, windows
from models.ecg_beat.judge import Blend, blend, called, segments
from models.ecg_beat.model import EcgBeat
from models.payloads import Note, Payload, Recording

DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
MITDB = DATA / "ecg" / "mitdb"
needs_data = pytest.mark.skipif(not MITDB.is_dir(), reason="needs the data folder: set WETREAD_DATA")
KINDS = tuple("N" * 8 + "V" + "N" * 6 + "S" + "N" * 8 + "V" + "N" * 8)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@functools.cache
def model() -> EcgBeat:
    opened = registry.load("ecg-beat", "cpu")
    assert isinstance(opened, EcgBeat)
    return opened


def examine(payload: Payload) -> Diagnosis:
    return model().examine([payload])[0]


def by_code(diagnosis: Diagnosis) -> dict[str, Finding]:
    return {f.code.value: f for f in diagnosis.findings}


def changed(recording: Recording, **new: object) -> Recording:
    held = {"signals": recording.signals, "rate_hz": recording.rate_hz, "leads": recording.leads}
    return Recording(**{**held, **new})  # type: ignore[arg-type]


def recalled(diagnosis: Diagnosis, code: str, at: list[float]) -> bool:
    """Whether exactly the beats at these seconds are listed under a finding."""
    listed = [b["seconds"] for b in by_code(diagnosis)[code].evidence["beats"]]  # type: ignore[attr-defined]
    return len(listed) == len(at) and np.allclose(listed, at, atol=0.06)


@pytest.mark.parametrize("rate_hz", [125.0, 250.0, 360.0, 500.0, 1000.0])
def test_the_ventricular_beats_are_the_invented_ones_at_any_sampling_rate(rate_hz: float) -> None:
    invented = invent.recording(KINDS, rate_hz=rate_hz, seed=3)
    truth = invent.times(KINDS, 60 / 68, np.random.default_rng(3))
    found = examine(invented)
    assert recalled(found, "17338001", [t for t, k in zip(truth, KINDS, strict=True) if k == "V"])
    listed = by_code(found)["17338001"].evidence["beats"]
    assert all(abs(b["sample"] / rate_hz - b["seconds"]) < 0.01 for b in listed)  # type: ignore[attr-defined]


def test_the_early_atrial_beat_is_found_and_told_from_the_ventricular_ones() -> None:
    truth = invent.times(KINDS, 60 / 68, np.random.default_rng(3))
    assert recalled(examine(invent.recording(KINDS, seed=3)), "63593006", [truth[15]])


def test_a_sinus_rhythm_has_no_early_beats() -> None:
    found = by_code(examine(invent.recording(["N"] * 30, seed=1)))
    assert [found[c].value for c in ("17338001", "63593006", "13640000")] == [0, 0, 0]
    assert not any(f.positive for f in found.values())


def test_the_heart_rate_is_that_of_the_rhythm() -> None:
    found = by_code(examine(invent.recording(["N"] * 40, beats_per_minute=75, seed=2)))
    assert found["8867-4"].value == pytest.approx(75, abs=1)
    assert found["8867-4"].unit == "/min"


def test_ventricular_beats_are_found_on_one_lead_alone() -> None:
    both = invent.recording(KINDS, seed=3)
    truth = invent.times(KINDS, 60 / 68, np.random.default_rng(3))
    single = changed(both, signals=both.signals[:1], leads=("II",))
    assert recalled(examine(single), "17338001", [truth[8], truth[24]])


def test_gain_and_order_of_leads_do_not_change_the_classes() -> None:
    both = invent.recording(KINDS, seed=3)
    turned = changed(both, signals=2 * both.signals[::-1], leads=both.leads[::-1])
    first, second = by_code(examine(both)), by_code(examine(turned))
    assert [f.value for f in first.values()] == [f.value for f in second.values()]


def noise(seconds: float = 30, size: float = 1.0) -> np.ndarray:
    return (size * np.random.default_rng(0).standard_normal((2, round(250 * seconds)))).astype(np.float32)


WELL = invent.recording(["N"] * 30, seed=1)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (Note(text="chest pain"), "not-a-recording"),
        (changed(WELL, rate_hz=40.0), "sampling-rate"),
        (changed(WELL, signals=WELL.signals[:, :2400]), "too-short"),
        (changed(WELL, leads=("PLETH", "RESP")), "no-lead"),
        (changed(WELL, leads=("AVR", "V1")), "no-lead"),
        (changed(WELL, signals=np.zeros_like(WELL.signals)), "flat"),
        (changed(WELL, signals=np.full_like(WELL.signals, np.nan)), "flat"),
        (changed(WELL, signals=np.where(np.arange(WELL.signals.shape[1]) % 3, WELL.signals, np.nan)), "gaps"),
        (changed(WELL, signals=WELL.signals * 1000), "amplitude"),
        (changed(WELL, signals=noise()), "noise"),
        (invent.recording(["N"] * 4, beats_per_minute=20, seed=1), "few-beats"),
        (invent.recording(["N"] * 9, beats_per_minute=18, seed=1), "heart-rate"),
    ],
)
def test_abstains_with_its_reason(payload: Payload, code: str) -> None:
    diagnosis = examine(payload)
    assert diagnosis.abstained
    assert str(diagnosis.reason).startswith(f"{code}: ")
    assert code in model().card.abstains


def test_one_bad_recording_abstains_alone() -> None:
    found = model().examine([WELL, changed(WELL, leads=("RESP", "PLETH")), WELL])
    assert [d.abstained for d in found] == [False, True, False]
    assert found[0] == found[2]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([100.0, 257.0, 2000.0]),
    st.sampled_from([0.0, 0.01, 1.0, 50.0]),
    st.sampled_from([(), ("II",), ("V1", "II"), ("", "?"), ("MLII", "V5", "V5")]),
)
def test_any_signal_is_answered_or_refused(
    seed: int, rate_hz: float, size: float, leads: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(seed)
    signal = (size * rng.standard_normal((len(leads), round(12 * rate_hz)))).astype(np.float32)
    signal[rng.random(signal.shape) < 0.05] = np.nan
    diagnosis = examine(Recording(signals=signal, rate_hz=rate_hz, leads=leads))
    assert diagnosis.abstained == (not diagnosis.findings)
    assert all(f.probability is None or 0 <= f.probability <= 1 for f in diagnosis.findings)


def test_j_kappa_is_that_of_a_table_worked_by_hand() -> None:
    # right 80+6+8 of 100; kappa: chance = (82*86 + 8*6 + 10*8)/1e4 = .718, (.94-.718)/(1-.718) = .78723
    table = np.array([[[80, 0, 0, 0], [2, 6, 0, 0], [0, 0, 8, 0], [0, 0, 0, 0]]])
    table[0, 2, 0], table[0, 0, 0] = 2, 80
    total = table.sum()  # 98
    chance = (80 * 84 + 8 * 6 + 10 * 8) / total**2
    kappa = (94 / total - chance) / (1 - chance)
    assert evaluate.kappa(table) == pytest.approx(kappa)
    assert evaluate.j_kappa(table) == pytest.approx(kappa / 2 + (6 / 8 + 8 / 10 + 1 + 1) / 8)


def test_beats_that_are_not_scored_count_nowhere() -> None:
    table = evaluate.confusion(np.array([0, -1, 2]), np.array([0, 1, 0]))
    assert table.sum() == 2
    assert table[2, 0] == 1


def test_annotations_are_grouped_as_ec57_says() -> None:
    grouped = {s: beats.CLASSES[beats.label(s)] for s in "NLRejAaJSVEF"}
    assert "".join(grouped[s] for s in "NLRej") == "NNNNN"
    assert "".join(grouped[s] for s in "AaJS") == "SSSS"
    assert "".join(grouped[s] for s in "VEF") == "VVF"
    assert beats.label("/") == beats.label("Q") == -1


def test_no_record_is_in_two_folds_and_every_fold_has_early_beats() -> None:
    rng = np.random.default_rng(0)
    records = [
        beats.Record(
            name=str(i),
            signals=np.zeros((2, 10), np.float32),
            places=np.arange(200),
            labels=rng.choice(4, 200, p=[0.9, 0.04, 0.05, 0.01]),
        )
        for i in range(12)
    ]
    fold = train.folds(records, 4)
    assert len(fold) == 12
    assert sorted(np.unique(fold)) == [0, 1, 2, 3]


def test_fibrillation_is_irregular_without_return_and_bigeminy_is_not() -> None:
    rng = np.random.default_rng(0)
    chaos = np.cumsum(rng.uniform(0.4, 1.1, 200) * 360).astype(np.int64)
    pairs = np.cumsum(np.tile([0.5, 1.0], 100) * 360 * (1 + 0.01 * rng.standard_normal(200))).astype(np.int64)
    column = windows.NAMES.index("recurrence")
    assert np.median(windows.timing(chaos)[:, column]) < rhythm.RETURNING
    assert np.median(windows.timing(pairs)[:, column]) > 2 * rhythm.RETURNING


def test_s_is_held_back_in_fibrillation_alone() -> None:
    forest = np.array([[0.4, 0.6, 0.0, 0.0]] * 2)
    how = Blend(network=0.0, temperature=1.0, held_back=4.0)
    found = blend(forest, np.zeros((2, 4)), np.array([False, True]), how)
    assert found.argmax(1).tolist() == [1, 0]


def test_what_s_loses_in_fibrillation_makes_no_beat_ventricular() -> None:
    forest = np.array([[0.2, 0.45, 0.35, 0.0]] * 2)
    how = Blend(network=0.0, temperature=1.0, held_back=4.0)
    calm, fibrillating = blend(forest, np.zeros((2, 4)), np.array([False, True]), how)
    assert calm.argmax() == 1
    assert fibrillating.argmax() == 0
    assert fibrillating[2] == pytest.approx(calm[2])


def test_early_beats_are_called_from_their_operating_point_against_n_on() -> None:
    chances = np.array([[0.58, 0.0, 0.42, 0.0], [0.58, 0.42, 0.0, 0.0], [0.62, 0.0, 0.38, 0.0]])
    assert called(chances, 0.4).tolist() == [2, 1, 0]
    assert called(chances, 0.5).tolist() == [0, 0, 0]


def test_beats_are_called_from_the_card_s_operating_point_on() -> None:
    card = model().card
    assert card.threshold("S") == card.threshold("V") == model().judge.how.called_from


def test_a_long_recording_is_judged_in_half_hours() -> None:
    places = np.arange(0, 3 * 3600 * 360, 300)
    parts = segments(places)
    assert len(parts) == 6
    assert np.concatenate(parts).tolist() == places.tolist()


def test_a_half_hour_without_beats_is_no_part() -> None:
    places = np.concatenate([np.arange(0, 360 * 600, 300), np.arange(360 * 7000, 360 * 7200, 300)])
    parts = segments(places)
    assert all(len(part) for part in parts)
    assert np.concatenate(parts).tolist() == places.tolist()


def test_found_and_annotated_complexes_are_matched_one_to_one() -> None:
    found, true = np.array([100, 110, 500, 2000]), np.array([104, 520, 1000])
    assert detect.matched(found, true).tolist() == [0, -1, 1, -1]


def test_leads_are_known_by_their_names_whatever_their_spelling() -> None:
    alive = np.tile(np.sin(np.arange(1000.0)), (3, 1))
    assert signals.pick(("V1", "Lead ii", "V5"), alive) == (1, 0)
    assert signals.pick(("V5", "MLII"), alive[:2]) == (1, 0)
    assert signals.pick(("RESP",), alive[:1]) == ()


def test_the_strip_shows_the_beats_that_it_marks() -> None:
    payload = invent.recording(KINDS, seed=3)
    finding = by_code(examine(payload))["17338001"]
    strip: dict[str, Any] = finding.evidence["strip"]  # type: ignore[assignment]
    assert any(b["class"] == "V" for b in strip["beats"])
    assert all(strip["start_seconds"] <= b["seconds"] <= strip["stop_seconds"] for b in strip["beats"])
    plain = view.render(changed(payload, signals=payload.signals * 0 + 0.1), [finding])
    assert view.render(payload, [finding]).content != plain.content


def test_another_payload_is_not_drawn() -> None:
    with pytest.raises(TypeError, match="an ECG was expected"):
        registry.family("ecg-beat").render(Note(text=""), [], {})


def test_age_and_sex_are_the_header_s_or_unknown(tmp_path: Path) -> None:
    import wfdb

    for name, comments in (("a", ["69 M 1085 1629 x1", "Aldomet"]), ("b", ["synthetic"]), ("c", [])):
        wfdb.wrsamp(
            name, fs=360, units=["mV"], sig_name=["MLII"], p_signal=np.zeros((720, 1)), fmt=["16"],
            comments=comments, write_dir=str(tmp_path),
        )  # fmt: skip
    assert beats.person(tmp_path / "a.hea") == (69.0, "M")
    for name in ("b", "c"):
        age, sex = beats.person(tmp_path / f"{name}.hea")
        assert np.isnan(age)
        assert sex == ""
    assert beats.recording(tmp_path / "a.hea").leads == ("MLII",)


@needs_data
def test_curves_are_of_every_scored_beat_and_tell_whether_service_answers(tmp_path: Path) -> None:
    for suffix in (".hea", ".dat", ".atr"):
        (tmp_path / f"220{suffix}").symlink_to((MITDB / f"220{suffix}").resolve())
    found = evaluate.curves(tmp_path)
    assert found["p"].shape == (len(found["y"]), 4)
    assert np.mean(found["p"].argmax(1) == found["y"]) > 0.95
    assert found["answered"] == [True]
    assert set(found["groups"]["sex"]) == {"F"}  # of the header: 87 years, female
    assert not found["unseen"]


@needs_data
def test_complexes_are_found_and_beats_classed_on_a_real_record() -> None:
    record = beats.read(MITDB / "119.hea")
    found = detect.complexes(record.signals)
    right = (detect.matched(found, record.places) >= 0).sum()
    assert right / len(record.places) > 0.995
    assert right / len(found) > 0.995
    guess = model().judge.judge(record.signals, record.places).classes
    assert evaluate.accuracy(evaluate.confusion(record.labels, guess)[None]) > 0.95


@needs_data
def test_training_ends_with_a_folder_that_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "TREES", 5)
    data = tmp_path / "data"
    data.mkdir()
    for name in ("119", "220"):
        for suffix in (".hea", ".dat", ".atr"):
            (data / f"{name}{suffix}").symlink_to((MITDB / f"{name}{suffix}").resolve())
    train.train(data, tmp_path / "out", minutes=0.01)
    from models.card import read

    card = read(tmp_path / "out")
    card.verify()
    assert card.figures
    assert not EcgBeat(card, "cpu").examine([invent.example()])[0].abstained
