"""A model from elsewhere is taken into the home whole, or refused with what is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from console.imports import imported
from db.errors import Misconfigured
from models import registry

pytestmark = pytest.mark.usefixtures("own_models")
LIKE = Path(registry.__file__).parent / "note_diagnosis"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hospital's own version of a released model."""
    target = tmp_path / "trained"
    shutil.copytree(LIKE, target, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    card = (target / "card.toml").read_text("utf-8")
    (target / "card.toml").write_text(card.replace('version = "1.0.0"', 'version = "1.0.0+ours"'), "utf-8")
    return target


def test_an_imported_model_goes_before_the_released_one(folder: Path, tmp_path: Path) -> None:
    card = imported(folder, tmp_path / "home")
    registry.also_in(tmp_path / "home" / "models")
    assert registry.card("note-diagnosis") == card
    assert card.version == "1.0.0+ours"


def test_it_is_opened_by_the_released_code(folder: Path, tmp_path: Path) -> None:
    imported(folder, tmp_path / "home")
    registry.also_in(tmp_path / "home" / "models")
    assert registry.load("note-diagnosis", "cpu").card.version == "1.0.0+ours"


def test_under_a_name_of_its_own_it_stands_beside_the_released_one(folder: Path, tmp_path: Path) -> None:
    text = (folder / "card.toml").read_text("utf-8").replace('name = "note-diagnosis"', 'name = "ours"', 1)
    (folder / "card.toml").write_text('family = "note-diagnosis"\n' + text, "utf-8")
    imported(folder, tmp_path / "home")
    registry.also_in(tmp_path / "home" / "models")
    assert {"ours", "note-diagnosis"} <= {c.name for c in registry.cards()}


def changed(folder: Path) -> None:
    path = folder / "linear.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def with_code(folder: Path) -> None:
    (folder / "model.py").write_text("import os\n", "utf-8")


def of_nothing(folder: Path) -> None:
    path = folder / "card.toml"
    path.write_text('family = "no-such"\n' + path.read_text("utf-8"), "utf-8")


def unfinished(folder: Path) -> None:
    (folder / "card.toml").unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (changed, "sha256"),
        (with_code, "model.py"),
        (of_nothing, "no-such"),
        (unfinished, "training that was stopped leaves none"),
    ],
)
def test_a_spoilt_model_is_refused_and_nothing_is_left(
    spoil, says: str, folder: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    spoil(folder)
    with pytest.raises(Misconfigured, match=says):
        imported(folder, tmp_path / "home")
    assert not list((tmp_path / "home" / "models").glob("*")) or not any(
        (tmp_path / "home" / "models").iterdir()
    )
