"""Every command, option and setting that the pages name is there, and every link leads somewhere."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from console import cli
from db.settings import Settings
from db.spelling import OTHERS
from models import registry

ROOT = Path(__file__).parents[2]
OLD = ("CHANGELOG.md",)  #: tells what was, too
PAGES = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "deploy" / "runbook.md"))
PAGES = [page for page in PAGES if page.name not in OLD]
CALL = re.compile(r"(?:`|^\$ |^|\| )(?:\.venv/bin/)?wetread ([a-z][^`\n]*)", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def calls(page: Path) -> Iterator[list[str]]:
    """The words of each call of `wetread` in a page's code; its prose begins a line as well."""
    text = page.read_text("utf-8")
    blocks = "".join(re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL))
    spans = "\n".join(f"`{span}`" for span in re.findall(r"`([^`\n]+)`", text))
    for found in CALL.findall(f"{blocks}\n{spans}"):
        yield re.split(r"\s+", found.split(" #")[0].strip())


@every_page
def test_a_call_s_command_and_options_are_there(page: Path) -> None:
    for words in calls(page):
        command: Any = typer.main.get_command(cli.app)
        while hasattr(command, "commands") and words and re.fullmatch("[a-z]+", words[0]):
            assert words[0] in command.commands, words
            command = command.commands[words.pop(0)]
        known = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        asked = {option for word in words for option in re.findall(r"--[a-z-]+", word)}
        assert asked <= known | {"--help"}, words


@every_page
def test_a_setting_is_one(page: Path) -> None:
    named = set(re.findall(r"WETREAD_([A-Z_]+[A-Z])\b", page.read_text("utf-8")))
    assert {name.lower() for name in named - OTHERS} <= set(Settings.model_fields)


@every_page
def test_a_link_leads_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```|`[^`\n]*`\n", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert [to for to in LINK.findall(prose) if not (page.parent / to).exists()] == []


def test_the_image_copies_each_package() -> None:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = {name.rstrip("*") for name in found["tool"]["setuptools"]["packages"]["find"]["include"]}
    recipe = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    assert set(re.findall(r"^COPY (\w+) \1$", recipe, re.MULTILINE)) == packages


ROW = re.compile(r"^\| \[`([a-z-]+)`\]\(docs/models/.*\| (.*) \|$", re.MULTILINE)
FIGURE = re.compile(r"(\d*\.\d+) \((\d*\.\d+) to (\d*\.\d+)\)")


def test_the_front_page_s_figures_are_the_cards() -> None:
    rows = dict(ROW.findall((ROOT / "README.md").read_text("utf-8")))
    assert len(rows) > 15
    for name, cell in rows.items():
        held = [(f.value, f.low, f.high) for f in registry.card(name).figures]
        for told in FIGURE.findall(cell):
            near = 0.6 * 10.0 ** -len(told[0].partition(".")[2])  # the card's own figures are rounded, too
            assert any(
                all(abs(float(t) - h) <= near for t, h in zip(told, figure, strict=True)) for figure in held
            ), (name, told)
