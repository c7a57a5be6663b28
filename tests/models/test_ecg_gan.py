"""Invented ECG beats: written as records marked synthetic, no copies, and measured against real ones."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from models.card import read
from models.ecg_beat.beats import Record
from models.ecg_beat.detect import complexes, matched
from models.ecg_beat.signals import clean
from models.ecg_gan import CLASSES, HERE, beats, synthesise, train
from models.synthesis import wgan

DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
MITDB = DATA / "ecg" / "mitdb"
needs_data = pytest.mark.skipif(not MITDB.is_dir(), reason="needs the data folder: set WETREAD_DATA")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def test_a_written_record_reads_back_and_says_that_it_is_synthetic(tmp_path: Path) -> None:
    import wfdb

    paths = synthesise.synthesise(2, tmp_path, seed=4)
    assert [p.name for p in paths] == ["synthetic-4-0001.hea", "synthetic-4-0002.hea"]
    for path in paths:
        record = wfdb.rdrecord(str(path.with_suffix("")))
        notes = wfdb.rdann(str(path.with_suffix("")), "atr")
        assert "synthetic" in record.comments[0]
        assert (record.fs, record.sig_name, record.units) == (360, ["MLII"], ["mV"])
        assert record.p_signal.shape == (30 * 360, 1)
        assert set(notes.symbol) <= {"N", "A", "V"}
        assert 20 <= len(notes.sample) <= 60


def test_the_detector_finds_the_invented_beats_where_they_are_annotated(tmp_path: Path) -> None:
    import wfdb

    right = found = true = 0
    for path in synthesise.synthesise(4, tmp_path, seed=1):
        stem = str(path.with_suffix(""))
        places = complexes(clean(wfdb.rdrecord(stem).p_signal.T.astype(np.float32), 360))
        annotated = np.asarray(wfdb.rdann(stem, "atr").sample)
        right += int((matched(places, annotated) >= 0).sum())
        found, true = found + len(places), true + len(annotated)
    assert right / true > 0.9
    assert right / found > 0.9


def test_the_same_seed_writes_the_same_record_and_another_seed_another(tmp_path: Path) -> None:
    first, again, other = (
        synthesise.synthesise(1, tmp_path / part, seed=seed)[0].with_suffix(".dat").read_bytes()
        for part, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again
    assert first != other


def test_none_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        synthesise.synthesise(0, tmp_path)


def test_the_served_generator_tells_its_classes_apart() -> None:
    generator, facts = wgan.load(HERE)
    assert facts["classes"] == list(CLASSES)
    normal, ventricular = (wgan.invent(generator, np.full(64, c), 0)[:, 0] for c in (0, 2))
    # a ventricular complex is wide: about the middle of the window it stays away from the level longer
    high = [np.abs(x[:, 35:75]) > 0.5 * np.abs(x).max(1, keepdims=True) for x in (normal, ventricular)]
    assert np.median(high[1].sum(1)) > np.median(high[0].sum(1))


def test_the_weights_are_within_their_bound() -> None:
    assert sum((HERE / w.file).stat().st_size for w in read(HERE).weights) <= 3_000_000


def test_no_record_is_both_learnt_from_and_kept_away() -> None:
    rng = np.random.default_rng(0)
    records = [
        Record(
            name=str(i),
            signals=rng.standard_normal((2, 5000)).astype(np.float32),
            places=np.arange(400, 4600, 300),
            labels=rng.integers(0, 4, 14),
        )
        for i in range(9)
    ]
    ours, others = beats.split(records)
    assert not {r.name for r in ours} & {r.name for r in others}
    assert (len(ours), len(others)) == (6, 3)
    samples, labels, whose = beats.gather(others)
    assert samples.shape == (len(labels), 1, 128)
    assert np.abs(samples).max() <= 1
    assert set(labels) <= {0, 1, 2}
    assert len(np.unique(whose)) == 3


@needs_data
def test_training_writes_a_generator_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(train, "PLAN", replace(train.PLAN, steps=2))
    measured = {"frechet_distance": {"value": 2.0, "low": 1.0, "high": 3.0}, "n": 9}
    monkeypatch.setattr("models.synthesis.family.measure", lambda *_, **__: measured)
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("119", "220", "223"):
        for suffix in (".hea", ".dat", ".atr"):
            (folder / f"{name}{suffix}").symlink_to((MITDB / f"{name}{suffix}").resolve())
    train.train(folder, tmp_path / "out")
    card = read(tmp_path / "out")
    card.verify()
    assert [(f.metric, f.value, f.n) for f in card.figures] == [("frechet_distance", 2.0, 9)]
    generator, _ = wgan.load(tmp_path / "out")
    assert wgan.invent(generator, np.array([0, 1, 2]), 0).shape == (3, 1, 128)
