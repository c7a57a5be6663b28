"""Training and evaluation of the chest radiograph family on small invented data, and the split by person."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from console.imports import SUFFIXES
from db.errors import Rejected
from models.card import read
from models.chest_xray import HERE
from models.chest_xray import films as source
from models.chest_xray.prepare import inside, prepare

KEYS = {"auc", "accuracy", "recall", "precision", "f1"}


def data_folder() -> Path:
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("WETREAD_DATA", beside)) / "xray"
    if not folder.is_dir():
        pytest.skip("no data folder: set WETREAD_DATA to run this test")
    return folder


def draw_film(rng: np.random.Generator, label: int) -> np.ndarray:
    """Two dark lungs on grey; sick ones have a bright patch, low (bacterial) or wide (viral)."""
    y, x = np.mgrid[-1:1:140j, -1:1:180j]
    film = 0.6 + 0.05 * rng.standard_normal(x.shape)
    film[((np.abs(x) - 0.45) / 0.3) ** 2 + (y / 0.7) ** 2 < 1] -= 0.4
    if label == 1:
        film[((x - 0.45) / 0.25) ** 2 + ((y - 0.4) / 0.25) ** 2 < 1] += 0.4
    if label == 2:
        film[np.abs(y) < 0.25] += 0.3
    return np.clip(film * 255, 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label, name in enumerate(source.CLASSES):
        target = tmp_path / "films" / "test" / name
        target.mkdir(parents=True)
        for i in range(10):
            word = {0: f"IM-{i:04d}-0001", 1: f"person{i}_bacteria_{i}", 2: f"person{i + 50}_virus_{i}"}[
                label
            ]
            PIL.Image.fromarray(draw_film(rng, label)).save(target / f"{word}.png")
    return tmp_path / "films"


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    arrays = {}
    for part, count in (("train", 96), ("val", 40)):
        labels = rng.integers(0, 2, (count, 1), dtype=np.uint8)
        small = [PIL.Image.fromarray(draw_film(rng, int(v))).resize((28, 28)) for v in labels[:, 0]]
        arrays |= {f"{part}_images": np.stack([np.asarray(s) for s in small]), f"{part}_labels": labels}
    path = tmp_path / "thumbnails.npz"
    np.savez(path, **arrays)
    return path


def check_intervals(figures: dict, keys: set[str]) -> None:
    assert keys <= set(figures)
    for key in keys:
        assert set(figures[key]) == {"value", "low", "high"}
        assert 0 <= figures[key]["value"] <= 1
    json.dumps(figures)


def check_folder(out: Path, trained: set[str]) -> None:
    """A card of the new weights beside the others' own, and no file that an import refuses."""
    card, released = read(out), read(HERE)
    card.verify()
    old = {w.file: w.sha256 for w in released.weights}
    assert {w.file for w in card.weights if w.sha256 != old[w.file]} == trained
    assert {p.finding for p in card.operating_points} == {p.finding for p in released.operating_points}
    assert {p.suffix for p in out.rglob("*") if p.is_file()} <= SUFFIXES
    assert {"roc.png", "reliability.png", "metrics.json", "example"} <= {p.name for p in out.iterdir()}
    assert json.loads((out / "example" / "expected.json").read_text("utf-8"))["version"] == card.version


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps a network: of minutes a busy machine makes fewer steps, and learns less."""
    from models.chest_xray import train, train_gate

    monkeypatch.setattr(train, "FILMS", replace(train.FILMS, epochs=3, batch=8))
    monkeypatch.setattr(train, "THUMBNAILS", replace(train.THUMBNAILS, epochs=6))
    monkeypatch.setattr(train_gate, "EPOCHS", 1)
    monkeypatch.setattr(train_gate, "BATCH", 16)


@pytest.mark.usefixtures("short")
def test_training_on_films_learns_and_goes_on_where_it_was_cut_off(folder: Path, tmp_path: Path) -> None:
    from models.chest_xray.train import train

    lines: list[str] = []
    out = tmp_path / "out"

    def told(line: str) -> None:
        lines.append(line)
        if line.startswith("gate 0"):  # every member is there, the gate is not
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(folder, out, progress=told)
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines if " loss " in line]
    steps = [line for line in lines if line.startswith("step")]
    assert steps
    assert min(losses) < losses[0]
    lines.clear()
    train(folder, out, progress=lines.append)
    assert not [line for line in lines if line.startswith("step")]  # every member was there already
    figures = json.loads((out / "films-figures.json").read_text("utf-8"))
    check_intervals(figures, KEYS | {"auc_bacterial_viral"})
    check_folder(out, {"films.safetensors", "gate.safetensors"})


@pytest.mark.usefixtures("short")
def test_training_on_thumbnails_tells_the_drawn_classes_apart(npz: Path, tmp_path: Path) -> None:
    from models.chest_xray.train import train

    train(npz, tmp_path / "out")
    figures = json.loads((tmp_path / "out" / "thumbnails-figures.json").read_text("utf-8"))
    check_intervals(figures, KEYS)
    assert figures["auc"]["value"] > 0.75
    check_folder(tmp_path / "out", {"thumbnails.safetensors"})


def test_evaluate_reads_a_folder_of_class_folders(folder: Path) -> None:
    from models.chest_xray.evaluate import evaluate

    figures = evaluate(folder)
    check_intervals(figures, KEYS | {"auc_bacterial_viral"})
    assert figures["n"] == 30
    assert source.films(folder) == source.films(folder / "test")  # the class folders themselves do too


def test_evaluate_reads_an_npz_and_prefers_its_test_part(npz: Path, tmp_path: Path) -> None:
    from models.chest_xray.evaluate import evaluate

    figures = evaluate(npz)
    check_intervals(figures, KEYS)
    assert figures["n"] == 40
    with np.load(npz) as arrays:
        only = {"test_images": arrays["val_images"][:30], "test_labels": arrays["val_labels"][:30]}
    np.savez(tmp_path / "only.npz", **only)
    assert evaluate(tmp_path / "only.npz")["n"] == 30


def test_two_classes_alone_give_no_bacterial_viral_figure(folder: Path) -> None:
    from models.chest_xray.evaluate import evaluate

    for path in (folder / "test" / "viral_pneumonia").iterdir():
        path.unlink()
    assert "auc_bacterial_viral" not in evaluate(folder)


def test_folder_without_classes_is_refused(tmp_path: Path) -> None:
    from models.chest_xray.evaluate import evaluate

    with pytest.raises(Rejected, match="no-class-folders"):
        evaluate(tmp_path)


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("person10_virus_35.jpg", "person-10"),
        ("person10_bacteria_43.jpeg", "person-10"),
        ("NORMAL2-IM-0115-0001.jpg", "im-115"),
        ("IM-0115-0001-0002.jpg", "im-115"),
        ("a.png", "a.png"),
    ],
)
def test_file_name_says_whose_film_it_is(name: str, person: str) -> None:
    assert source.person_of(name) == person


def test_no_person_is_in_two_folds() -> None:
    found = source.films(data_folder() / "kermany")
    fold = source.folds([f.label for f in found], [f.person for f in found], 5, 0)
    homes: dict[str, set[int]] = {}
    for film, place in zip(found, fold, strict=True):
        homes.setdefault(film.person, set()).add(int(place))
    assert len(found) == 720
    assert all(len(places) == 1 for places in homes.values())
    assert max(np.bincount(fold)) < 1.15 * min(np.bincount(fold))


def test_shared_person_between_bacterial_and_viral_stays_together() -> None:
    labels = [1, 2] * 30 + [0] * 30
    persons = [f"person-{i // 2}" for i in range(60)] + [f"im-{i}" for i in range(30)]
    fold = source.folds(labels, persons, 5, 0)
    assert (fold[0:60:2] == fold[1:60:2]).all()


def test_good_films_are_hardly_ever_refused_and_told_apart(tmp_path: Path) -> None:
    from models.chest_xray.evaluate import evaluate

    for film in source.films(data_folder() / "kermany")[::8]:
        link = tmp_path / source.CLASSES[film.label] / film.path.name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(film.path)
    figures = evaluate(tmp_path)
    assert figures["n"] == 90
    assert figures["refused"] <= 0.02
    assert figures["auc"]["value"] > 0.98  # the films it learnt from: a check of the weights, no figure


def test_black_border_is_cut_away() -> None:
    rng = np.random.default_rng(0)
    film = np.zeros((300, 400), dtype=np.float32)
    film[20:280, 50:390] = 0.4 + 0.5 * rng.random((260, 340))
    assert inside(film) == (20, 280, 50, 390)


def test_places_lead_back_to_source_pixels() -> None:
    rng = np.random.default_rng(0)
    film = np.zeros((300, 400), dtype=np.float32)
    film[20:280, 50:390] = 0.4 + 0.5 * rng.random((260, 340))
    found = prepare(film, 160)
    assert found.source(0, 0) == (20, 50)
    assert found.source(1, 1) == (279, 389)
    assert found.source(0.5, 0.5) == (150, 220)
