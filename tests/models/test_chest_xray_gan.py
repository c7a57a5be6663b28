"""Invented chest films: DICOM files marked synthetic, told apart by class, and measured against real ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch

from db.errors import Rejected
from models.card import read
from models.chest_xray_gan import CLASSES, HERE, films, synthesise, train
from models.synthesis import wgan


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def test_a_written_film_reads_back_marked_synthetic(tmp_path: Path) -> None:
    paths = synthesise.synthesise(3, tmp_path, seed=5)
    assert [p.name for p in paths] == [f"synthetic-5-000{k}.dcm" for k in (1, 2, 3)]
    read_back = [pydicom.dcmread(p) for p in paths]
    for file in read_back:
        assert str(file.PatientID).startswith("SYNTHETIC-5-")
        assert file.QualityControlImage == "YES"
        assert "SYNTHETIC" in file.ImageType
        assert "SYNTHETIC" in file.ImageComments
        assert file.pixel_array.shape == (448, 448)
        assert np.ptp(file.pixel_array) > 60
    assert len({f.SOPInstanceUID for f in read_back}) == len({f.StudyInstanceUID for f in read_back}) == 3
    assert all(pydicom.uid.UID(f.SOPInstanceUID).is_valid for f in read_back)


def test_the_same_seed_writes_the_same_films_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (
        synthesise.synthesise(1, tmp_path / part, seed=seed)[0].read_bytes()
        for part, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again
    assert first != other


def test_none_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        synthesise.synthesise(0, tmp_path)


def test_invented_films_differ_from_each_other_and_by_class() -> None:
    generator, facts = wgan.load(HERE)
    assert facts["classes"] == list(CLASSES)
    normal, sick = (wgan.invent(generator, np.full(64, c), 0) for c in (0, 1))
    assert normal.std(0).mean() > 0.05
    # pneumonia whitens the lungs: the middle of the film is brighter
    assert sick[:, 8:20, 6:22].mean() > normal[:, 8:20, 6:22].mean()


def test_the_weights_are_within_their_bound() -> None:
    assert sum((HERE / w.file).stat().st_size for w in read(HERE).weights) <= 3_000_000


def npz(path: Path, **parts: int) -> Path:
    rng = np.random.default_rng(0)
    held: dict[str, Any] = {}
    for name, count in parts.items():
        held[f"{name}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        held[f"{name}_labels"] = (np.arange(count) % 2).reshape(-1, 1)
    np.savez(path, **held)
    return path


def test_train_is_learnt_from_and_val_measures(tmp_path: Path) -> None:
    roles = films.real(npz(tmp_path / "a.npz", train=6, val=4))
    assert (len(roles.learn), len(roles.held), len(roles.test)) == (6, 4, 4)
    assert np.abs(roles.learn).max() <= 1


def test_a_lone_part_is_halved(tmp_path: Path) -> None:
    roles = films.real(npz(tmp_path / "a.npz", test=10))
    assert (len(roles.learn), len(roles.test)) == (5, 5)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(Rejected, match="unknown-layout"):
        films.real(tmp_path / "a.npz")


def test_training_writes_a_generator_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(train, "PLAN", replace(train.PLAN, steps=2, batch=8))
    measured = {"frechet_distance": {"value": 2.0, "low": 1.0, "high": 3.0}, "n": 9}
    monkeypatch.setattr("models.synthesis.family.measure", lambda *_, **__: measured)
    train.train(npz(tmp_path / "a.npz", train=40, val=10), tmp_path / "out")
    card = read(tmp_path / "out")
    card.verify()
    assert [(f.metric, f.value, f.n) for f in card.figures] == [("frechet_distance", 2.0, 9)]
    generator, _ = wgan.load(tmp_path / "out")
    assert wgan.invent(generator, np.array([0, 1]), 0).shape == (2, 28, 28)
