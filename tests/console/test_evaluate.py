"""`models evaluate` measures the model that serves, and says which that is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from console import cli
from models import registry
from tests.asking import Wetread

pytestmark = pytest.mark.usefixtures("own_models")
RELEASED = Path(registry.__file__).parent / "note_assertion"


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """Four denials and four affirmations, as the NegEx kit has them."""
    lines = ["Report No.\tConcept\tSentence\tNegation"]
    lines += [f"{i}\tfever\tThe patient denies FEVER on day {i}.\tNegated" for i in range(4)]
    lines += [f"{i}\tfever\tThe patient had FEVER on day {i}.\tAffirmed" for i in range(4)]
    (tmp_path / "kit.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    return tmp_path / "kit.tsv"


def placed(home: Path, name: str) -> None:
    """The released lists without "denies", as a home's own model."""
    folder = home / "models" / name
    shutil.copytree(RELEASED, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    terms = (folder / "negated.toml").read_bytes()
    (folder / "negated.toml").write_bytes(terms.replace(b'"denies", ', b"", 1))
    digest, changed = (hashlib.sha256(t).hexdigest() for t in (terms, (folder / "negated.toml").read_bytes()))
    card = (folder / "card.toml").read_text("utf-8").replace(digest, changed)
    card = card.replace('name = "note-assertion"', f'name = "{name}"', 1)
    family = "" if name == "note-assertion" else 'family = "note-assertion"\n'
    (folder / "card.toml").write_text(family + card.replace("1.0.", "7.0.", 1), "utf-8")


def evaluated(
    name: str, data: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    asked = ["models", "evaluate", name, "--data", str(data), "--home", str(home), "--json"]
    monkeypatch.setattr(sys, "argv", ["wetread", *asked])
    with contextlib.suppress(SystemExit):
        cli.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", ["note-assertion", "ours"])
def test_a_home_s_own_model_is_the_one_that_is_measured(
    name: str, kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    placed(tmp_path / "home", name)
    found = evaluated(name, kit, tmp_path / "home", monkeypatch, capsys)
    assert (found["model"], found["served_from"]) == (name, "home")
    assert found["model_version"].startswith("7.0.")
    assert found["recall"]["value"] == 0  # "denies" denies nothing here


def test_without_one_the_release_s_is_measured(
    kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluated("note-assertion", kit, tmp_path / "home", monkeypatch, capsys)
    assert (found["served_from"], found["recall"]["value"]) == ("release", 1)
    assert found["weights_sha256"] == registry.card("note-assertion").weights_sha256


def test_a_folder_in_the_place_of_a_file_ends_in_a_sentence(wetread: Wetread, tmp_path: Path) -> None:
    said = wetread("models", "evaluate", "splice-site", "--data", str(tmp_path))
    assert (said.code, said.out) == (1, "")
    assert f"{tmp_path.name} is a folder, splice-site reads a file" in said.err


@pytest.mark.parametrize("verb", ["evaluate", "train"])
def test_data_of_another_layout_end_in_a_sentence(wetread: Wetread, tmp_path: Path, verb: str) -> None:
    (tmp_path / "labs.csv").write_text("name,age\nCanary Clara,7\n")
    into = ["--out", str(tmp_path / "out")] if verb == "train" else []
    said = wetread("models", verb, "diabetes", "--data", str(tmp_path / "labs.csv"), *into)
    assert (said.code, said.out) == (1, "")
    assert "labs.csv is not a data set as diabetes reads them: columns are missing: preg" in said.err
    assert "Canary" not in said.err


def test_a_training_that_is_stopped_says_that_it_left_nothing_to_import(
    wetread: Wetread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("models.diabetes.train.train", stopped)
    (tmp_path / "labs.arff").write_text("")
    said = wetread(
        "models", "train", "diabetes", "--data", str(tmp_path / "labs.arff"), "--out", str(tmp_path)
    )
    assert said.code == 130
    assert "is unfinished and cannot be imported" in said.err
