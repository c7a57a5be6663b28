"""Every fast family trained on invented rows ends as a folder that is imported and answers its example."""

from __future__ import annotations

import csv
import importlib
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from console.imports import imported
from models import registry
from models.card import ModelCard
from models.evaluation import bootstrap
from models.payloads import Expression, Note, Sequences, Table

SEED = 5
IMAGES = {
    "classes": {"roc.png", "precision-recall.png", "reliability.png", "confusion.png"},
    "survival": {"survival.png"},
    "value": {"measured.png"},
    "rules": {"confusion.png"},
    "tables": set(),
}


def trained(name: str, data: Path, folder: Path, kind: str = "classes") -> ModelCard:
    """The card of a training that was imported, plots and metrics having lain beside its weights."""
    out = folder / "trained" / name
    out.mkdir(parents=True)
    importlib.import_module(f"models.{registry.code(name)}.train").train(data, out, seed=SEED, minutes=0)
    assert {path.name for path in out.glob("*.png")} == IMAGES[kind]
    assert json.loads((out / "metrics.json").read_text("utf-8"))
    return imported(out, folder / "home")


def serves(card: ModelCard) -> None:
    """The imported weights are new, and give the answers that their own example says."""
    released = registry.card(card.name)
    assert card.weights_sha256 != released.weights_sha256
    answers(card)


def is_the_user_s(card: ModelCard) -> None:
    """A version of its own, beside which nothing stands that is of the release's data."""
    assert card.version.startswith(f"{registry.card(card.name).version}+")
    assert not any(figure.published for figure in card.figures)
    assert "Choices:" not in card.notes


def answers(card: ModelCard) -> None:
    family = registry.family(card.name)
    (found,) = family.load(card, "cpu").examine([family.example()])
    told = json.loads((card.folder / "example" / "expected.json").read_text("utf-8"))
    assert told["version"] == card.version
    assert [f.code.value for f in found.findings] == [f["code"] for f in told["findings"]]
    for finding, expected in zip(found.findings, told["findings"], strict=True):
        assert finding.probability == pytest.approx(expected["probability"], abs=1e-5)


def test_note_assertion(tmp_path: Path) -> None:
    lines = ["Report No.\tConcept\tSentence\tNegation"]
    lines += [f"{i}\tfever\tThe patient denies FEVER on day {i}.\tNegated" for i in range(4)]
    lines += [f"{i}\tfever\tThe patient had FEVER on day {i}.\tAffirmed" for i in range(4)]
    (tmp_path / "kit.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    answers(trained("note-assertion", tmp_path / "kit.tsv", tmp_path, "rules"))


def test_note_diagnosis(tmp_path: Path) -> None:
    from models.note_diagnosis import labels

    random = np.random.default_rng(SEED)
    example = registry.family("note-diagnosis").example()
    assert isinstance(example, Note)
    with (tmp_path / "set.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["label", "text"])
        for place, disease in enumerate(labels.diseases()):
            own = [f"{a}{disease.label.split()[0].lower()}{b}" for a in "abcd" for b in "xyz"]
            words = example.text.split() if place == 0 else own
            for _ in range(6):
                rows.writerow([disease.label, " ".join(random.choice(words, len(words) - 2, replace=False))])
    card = trained("note-diagnosis", tmp_path / "set.csv", tmp_path)
    serves(card)
    (found,) = registry.family(card.name).load(card, "cpu").examine([example])
    assert found.findings[0].code.value == labels.diseases()[0].code  # what these invented texts taught


def test_heart_disease(tmp_path: Path) -> None:
    from models.tabular import recipe

    random = np.random.default_rng(SEED)
    own = recipe.read(Path(importlib.import_module("models.heart_disease").__file__ or "").parent)
    example = registry.family("heart-disease").example()
    assert isinstance(example, Table)
    with (tmp_path / "set.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*(own.columns.get(name, name) for name in own.features), own.target])
        for number in range(60):
            cells = [invented(own.feature(name), example.values.get(name), random) for name in own.features]
            rows.writerow([*cells, own.classes[number % 2].labels[0]])
    card = trained("heart-disease", tmp_path / "set.csv", tmp_path)
    serves(card)
    is_the_user_s(card)


def invented(feature: object, value: object, random: np.random.Generator) -> object:
    """A value like the example's, within what the feature may be."""
    from models.features import Feature

    assert isinstance(feature, Feature)
    if feature.kind == "category":
        return random.choice(list(feature.categories))
    assert isinstance(value, int | float)
    low, high = feature.low or 0.0, feature.high if feature.high is not None else np.inf
    return round(float(np.clip(random.uniform(0.5 * value, 1.5 * value + 1), low, high)), 1)


def test_splice_site(tmp_path: Path) -> None:
    random = np.random.default_rng(SEED)
    lines = ["@data"]
    for number in range(90):
        bases = random.choice(list("ACGT"), 60)
        kind = ("EI", "IE", "N")[number % 3]
        middle = {
            "EI": "CAGT",
            "IE": "AGGC",
            "N": ("CCGT", "AGCC")[number % 2],
        }  # of "N", half a site's letters
        bases[28:32] = list(middle[kind])
        lines.append(f"X-{number},{','.join(bases)},{kind}")
    (tmp_path / "set.arff").write_text("\n".join(lines) + "\n", "utf-8")
    serves(trained("splice-site", tmp_path / "set.arff", tmp_path))


def test_peptide_amp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.peptide_amp.ensemble.TREES", 10)
    monkeypatch.setattr("models.peptide_amp.evaluate.bootstrap", partial(bootstrap, draws=20))
    random = np.random.default_rng(SEED)
    (tmp_path / "set").mkdir()
    example = registry.family("peptide-amp").example()
    assert isinstance(example, Sequences)
    for part, record in zip(("AMP", "DECOY"), example.records, strict=True):
        letters = list(record)
        own = ["".join(random.permutation(letters)) for _ in range(48)]
        text = "".join(f">{part}{i}\n{peptide}\n" for i, peptide in enumerate(own))
        (tmp_path / "set" / f"{part}.tr.fa").write_text(text, "utf-8")
    serves(trained("peptide-amp", tmp_path / "set", tmp_path))


def test_tumour_expression(tmp_path: Path) -> None:
    from models.tumour_expression.data import GENES

    random = np.random.default_rng(SEED)
    example = registry.family("tumour-expression").example()
    assert isinstance(example, Expression)
    labels = np.arange(40) % 4
    table = example.values + random.normal(0, 0.3, (40, len(GENES)))
    for label in range(1, 4):  # the example is of the first class
        table[np.ix_(labels == label, range(20 * label, 20 * label + 20))] += 3
    (tmp_path / "set").mkdir()
    rows = [",".join(GENES), *(",".join(f"{v:.3f}" for v in row) for row in table)]
    (tmp_path / "set" / "Set_x.csv").write_text("\n".join(rows) + "\n", "utf-8")
    (tmp_path / "set" / "Set_y.csv").write_text("x\n" + "\n".join(map(str, labels + 1)) + "\n", "utf-8")
    serves(trained("tumour-expression", tmp_path / "set", tmp_path))


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # torchsurv compiles at import
def test_prognosis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.survival import study, training

    few = {"networks": 1, "epochs": 3, "boosts": 5, "trees": 5, "boost_depth": 2}
    full = study.read

    def smaller(folder: Path) -> study.Study:
        found = full(folder)
        return found.model_copy(update={"blend": found.blend.model_copy(update=few)})

    monkeypatch.setattr(training.studies, "read", smaller)
    random = np.random.default_rng(SEED)
    columns = full(Path(importlib.import_module("models.prognosis_gbsg").__file__ or "").parent).columns
    x = np.stack(
        [
            random.integers(0, len(c.categories), 200) if c.categories else random.uniform(c.low, c.high, 200)
            for c in columns
        ],
        axis=1,
    )
    np.savez(tmp_path / "set.npz", x=x, t=random.exponential(40, 200), e=random.integers(0, 2, 200))
    card = trained("prognosis-gbsg", tmp_path / "set.npz", tmp_path, "survival")
    serves(card)
    is_the_user_s(card)


def test_pharmacogenomics(data: Path, tmp_path: Path) -> None:
    answers(trained("pharmacogenomics", data / "treatment" / "cpic", tmp_path, "tables"))
