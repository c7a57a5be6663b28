"""What exists keeps its promises: every family, reader, command, setting, metric and module."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client import REGISTRY
from redis import Redis

from console import cli, past
from console.web.collect import RecordCollector
from db import metrics
from db.records import Diagnosis
from db.settings import Settings
from db.store import Store
from ingest import identify
from models import registry
from models.card import read
from models.registry import Model
from tests import models_page, settings_page

ROOT = Path(__file__).parent.parent
ROOMS = ("db", "models", "ingest", "worker", "console")
FAMILIES = sorted(p.parent.name for p in (ROOT / "models").glob("*/card.toml"))
READERS = sorted(p.stem for p in (ROOT / "ingest" / "readers").glob("[!_]*.py"))
SOURCES = sorted(p for room in (*ROOMS, "tests") for p in (ROOT / room).rglob("*.py"))
TOTAL_BYTES = 60_000_000
DATA_FILES = {".safetensors", ".toml", ".json", ".txt", ".png", ".py", ".tsv"}
UNITS = ("seconds", "bytes", "port", "files", "tries", "jobs", "threads", "times", "processes")


def module(family: str, part: str = "") -> Any:
    return importlib.import_module(f"models.{family}{part and '.' + part}")


@cache
def opened(family: str) -> tuple[Model, Diagnosis]:
    """A family's model on the CPU, and its answer to its own example."""
    model = registry.load(read(ROOT / "models" / family).name, "cpu")
    (diagnosis,) = model.examine([module(family).example()])
    return model, diagnosis


families = pytest.mark.parametrize("family", FAMILIES)
READING = [f for f in FAMILIES if read(ROOT / "models" / f).needs.kind != "none"]
MANY_CODES = {"note_assertion", "note_diagnosis", "pharmacogenomics"}  #: more than a page can list
reading = pytest.mark.parametrize("family", READING)
making = pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(READING)))


def test_there_are_families() -> None:
    assert {"chest_xray", "note_assertion"} <= set(FAMILIES)


@families
def test_a_card_reads_and_its_weights_are_the_ones_it_names(family: str) -> None:
    card = read(ROOT / "models" / family)
    card.verify()
    assert card.name == family.replace("_", "-")
    assert card.weights


@families
def test_a_card_says_what_it_is_for_its_limits_and_how_good_it_is(family: str) -> None:
    card = read(ROOT / "models" / family)
    assert "not a medical device" in card.intended_use.lower()
    assert card.limits
    assert card.figures
    assert all(f.low <= f.value <= f.high and f.n > 0 for f in card.figures)
    assert all(d.name and d.licence and d.source and d.use for d in card.data)


@making
def test_what_reads_nothing_makes_files_that_say_so(family: str, tmp_path: Path) -> None:
    made = module(family, "synthesise").synthesise(2, tmp_path, seed=1)
    assert made
    assert all(path.is_file() and path.parent == tmp_path for path in made)
    assert any(b"ynthetic" in path.read_bytes() or b"SYNTHETIC" in path.read_bytes() for path in made)


@reading
def test_an_example_is_answered_as_published(family: str) -> None:
    expected = json.loads((ROOT / "models" / family / "example" / "expected.json").read_text("utf-8"))
    model, diagnosis = opened(family)
    assert (expected["model"], expected["version"]) == (model.card.name, model.card.version)
    assert len(diagnosis.findings) == len(expected["findings"]) > 0
    for finding, told in zip(diagnosis.findings, expected["findings"], strict=True):
        assert (finding.code.value, finding.positive) == (told["code"], told["positive"])
        assert finding.qualifier == told.get("qualifier")
        assert finding.probability == pytest.approx(told["probability"], abs=1e-4)


@reading
def test_an_example_s_findings_are_coded_and_json_able(family: str) -> None:
    _, diagnosis = opened(family)
    for finding in diagnosis.findings:
        assert finding.code.value
        assert finding.code.system.startswith("http")
        assert finding.code.meaning
        assert json.loads(json.dumps(dict(finding.evidence))) == dict(finding.evidence)
        assert finding.evidence["kind"]


@reading
def test_an_example_s_measurement_is_neither_positive_nor_negative(family: str) -> None:
    _, diagnosis = opened(family)
    for finding in diagnosis.findings:
        bare = finding.value is not None and finding.probability is None and finding.threshold is None
        asked = "phenotype" in finding.evidence  # has an activity score beside its answer
        genotype = finding.evidence.get("kind") == "genotype" and not asked and not finding.abstained
        assert (finding.positive is None) == ((bare and not asked) or genotype)


@reading
def test_an_example_s_finding_can_be_drawn(family: str) -> None:
    _, diagnosis = opened(family)
    found = module(family).render(module(family).example(), diagnosis.findings[:1], diagnosis.artifacts)
    begins = {"image/png": b"\x89PNG", "text/html": b"<!doctype html"}[found.media_type]
    assert found.content[: len(begins)].lower() == begins.lower()


@reading
def test_the_same_example_gives_the_same_numbers(family: str) -> None:
    model, first = opened(family)
    (again,) = model.examine([module(family).example()])
    assert [f.probability for f in again.findings] == [f.probability for f in first.findings]


@families
def test_each_reason_to_abstain_is_on_the_card_and_in_the_manual(family: str) -> None:
    card = read(ROOT / "models" / family)
    written = "".join(p.read_text("utf-8") for p in (ROOT / "models" / family).glob("*.py"))
    manual = (ROOT / "docs" / "models" / f"{card.name}.md").read_text("utf-8")
    raised = set(re.findall(r"(?:abstain|Abstained)\(\s*\"([a-z][a-z-]+)\"", written))
    assert raised <= set(card.abstains)
    assert [code for code in card.abstains if f"`{code}`" not in manual] == []


@families
def test_evaluate_and_train_are_called_as_agreed(family: str) -> None:
    wanted = {
        "evaluate": {
            "data": "POSITIONAL_OR_KEYWORD", "folds": "KEYWORD_ONLY", "device": "KEYWORD_ONLY",
            "name": "KEYWORD_ONLY",
        },
        "train": {
            "data": "POSITIONAL_OR_KEYWORD", "out": "POSITIONAL_OR_KEYWORD", "seed": "KEYWORD_ONLY",
            "minutes": "KEYWORD_ONLY", "progress": "KEYWORD_ONLY",
        },
    }  # fmt: skip
    for part, parameters in wanted.items():
        signature = inspect.signature(getattr(module(family, part), part))
        assert {name: p.kind.name for name, p in signature.parameters.items()} == parameters


@families
def test_a_family_s_files_are_ones_that_cannot_run_code(family: str) -> None:
    files = [p for p in (ROOT / "models" / family).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert {p.suffix for p in files} <= DATA_FILES
    assert {Path(w.file).suffix for w in read(ROOT / "models" / family).weights} <= {
        ".safetensors", ".toml", ".json",
    }  # fmt: skip


def test_all_families_weights_together_stay_small() -> None:
    sizes = [
        (ROOT / "models" / f / w.file).stat().st_size
        for f in FAMILIES
        for w in read(ROOT / "models" / f).weights
    ]
    assert sum(sizes) <= TOTAL_BYTES


def test_every_reader_is_asked() -> None:
    assert sorted(identify.ORDER) == READERS


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_offers_the_four_functions(reader: str) -> None:
    found = importlib.import_module(f"ingest.readers.{reader}")
    for name, first in (
        ("claims", ["head", "suffix"]),
        ("whole", ["path"]),
        ("read", ["path", "sidecar", "parts"]),
        ("payload", ["data", "kind"]),
    ):
        assert list(inspect.signature(getattr(found, name)).parameters)[: len(first)] == first
        assert getattr(found, name).__doc__
    assert all(s.startswith(".") and s == s.lower() for s in found.SUFFIXES)


def test_every_reason_to_refuse_is_in_the_manual() -> None:
    manual = (ROOT / "docs" / "readers.md").read_text("utf-8") + (ROOT / "docs" / "operating.md").read_text(
        "utf-8"
    )
    sources = [path.read_text("utf-8") for path in (ROOT / "ingest").rglob("*.py")]
    codes = {code for source in sources for code in re.findall(r"Rejected\(\s*\"([a-z-]+)\"", source)}
    assert len(codes) > 40
    assert [code for code in sorted(codes) if f"`{code}`" not in manual] == []


def leaves() -> list[str]:
    """Every command that does something, by its words."""
    found = []
    for name, command in typer.main.get_command(cli.app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        found += [f"{name} {leaf}" for leaf in below] if below else [name]
    return found


@pytest.mark.parametrize("command", leaves())
def test_a_command_is_in_the_operator_s_manual(command: str) -> None:
    assert f"wetread {command}" in (ROOT / "docs" / "operating.md").read_text("utf-8")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_says_what_it_means_and_a_number_its_unit(name: str) -> None:
    field = Settings.model_fields[name]
    assert field.description
    if field.annotation in (int, float):
        assert any(unit in f"{field.description.lower()} {name}" for unit in UNITS)


def test_the_page_of_settings_is_as_declared() -> None:
    written = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert written == settings_page.page(), "run: python -m tests.settings_page > docs/settings.md"


def test_the_page_of_models_is_as_the_cards_say() -> None:
    written = (ROOT / "docs" / "models" / "README.md").read_text("utf-8")
    assert written == models_page.page(), "run: python -m tests.models_page > docs/models/README.md"


@families
def test_a_model_s_page_has_the_headings_of_all(family: str) -> None:
    text = (models_page.PAGES / f"{read(ROOT / 'models' / family).name}.md").read_text("utf-8")
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == models_page.HEADINGS
    for heading, part in zip(models_page.HEADINGS, text.split("\n## ")[1:], strict=True):
        assert part.removeprefix(heading).strip(), heading


@families
def test_a_model_s_page_says_what_the_card_says(family: str) -> None:
    card = read(ROOT / "models" / family)
    written = (models_page.PAGES / f"{card.name}.md").read_text("utf-8")
    assert written.count("of the card -->") == 3
    assert written == models_page.filled(written, card), "run: python -m tests.models_page --pages"


@families
def test_a_model_s_page_names_its_commands_and_codes(family: str) -> None:
    card = read(ROOT / "models" / family)
    text = (models_page.PAGES / f"{card.name}.md").read_text("utf-8")
    for command in ("train", "evaluate"):
        assert f"wetread models {command} {card.name} --data" in text
    if card.needs.kind != "none" and family not in MANY_CODES:
        told = {f.code.value for f in opened(family)[1].findings}
        assert [code for code in sorted(told) if code not in text.split("\n## ")[2]] == []


@reading
def test_the_example_on_a_model_s_page_is_read_and_answered(family: str, tmp_path: Path) -> None:
    model, _ = opened(family)
    text = (models_page.PAGES / f"{model.card.name}.md").read_text("utf-8").split("\n## ")[1]
    shown = re.search(r"^```(\w*)\n(.+?)^```$", text, re.MULTILINE | re.DOTALL)
    assert shown
    suffix = {"json": ".json", "text": ".txt", "fasta": ".fasta", "smi": ".smi"}.get(shown[1])
    if suffix is None:  # a picture, a series, a recording or a wide table: the page says how to try one
        assert f"wetread models explain {model.card.name} --input" in shown[2]
        return
    path = tmp_path / f"example{suffix}"
    path.write_text(shown[2], "utf-8")
    (diagnosis,) = model.examine([past.read_inputs(path, model.card.needs)])
    assert [f.reason for f in diagnosis.findings if f.abstained] == []
    assert not diagnosis.abstained, diagnosis.reason


def documented() -> dict[str, tuple[str, set[str]]]:
    """Each metric of docs/metrics.md with its type and labels."""
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(wetread_\w+)` \| (\w+) \| ([^|]*) \|", page, re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def served(store: Store, redis: Redis, settings: Settings) -> dict[str, tuple[str, set[str]]]:
    """Each metric of the code with its type and labels."""
    found = {}
    for value in vars(metrics).values():
        if value in list(REGISTRY._collector_to_names):
            (family,) = value.describe()
            name = family.name + ("_total" if family.type == "counter" else "")
            found[name] = (family.type, set(value._labelnames))
    for family in RecordCollector(settings, store, redis).collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = (family.type, set(family._labelnames))  # type: ignore[attr-defined]
    return found


def test_metrics_and_their_page_agree(sqlite_store: Store, redis: Redis, settings: Settings) -> None:
    assert served(sqlite_store, redis, settings) == documented()


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_opens_by_saying_what_it_is(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text("utf-8")), clean=False)
    assert said
    first, *rest = said.splitlines()
    assert first.endswith((".", "?", ":", "`"))
    assert not rest or rest[0] == ""


def tracked() -> list[Path]:
    """The project's own text files."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    found = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [p for p in found if p.is_file() and b"\0" not in p.read_bytes()[:4096]]


def test_no_file_names_a_place_on_the_machine_it_was_written_on() -> None:
    places = ["/" + "work/"]
    if len(ROOT.parts) > 2:  # a short one, such as /app, may well be named in a container's recipe
        places.append(f"{ROOT}/")
    naming = [
        str(p.relative_to(ROOT))
        for p in tracked()
        if any(place in p.read_text("utf-8", "replace") for place in places)
    ]
    assert naming == []
