"""Every family on real processes: its example dropped as a file of its kind, its findings in SQL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from console import samples
from console.cli import app
from models import registry
from models.card import ModelCard
from running import Running

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1200)]

READING = [card for card in registry.cards() if card.needs.kind != "none"]
families = pytest.mark.parametrize("card", READING, ids=lambda card: card.name)
SIGNATURES = {".png": b"\x89PNG\r\n\x1a\n", ".html": b"<!doctype html>", ".dcm": bytes(128) + b"DICM"}
IN_EXAMPLES = ("genes/", "ecg/", "molecules/", "records/visits.json")  #: samples of which there is an example
OF_TWO_FILES = {"pharmacogenomics"}  #: no one file holds both the star alleles and the calls of its example
Row = dict[str, Any]


@dataclass
class Read:
    """What an installation held once it had read everything."""

    home: Path
    results: list[Row]

    def of_example(self, card: ModelCard) -> list[Row]:
        """The results of the standing reading that gave what the card's example should give, in order."""
        expected = _expected(card)
        jobs: dict[str, list[Row]] = {}
        for row in self.results:
            if row["model"] == card.name and row["status"] == "preliminary":
                jobs.setdefault(row["job"], []).append(row)
        for rows in jobs.values():
            rows.sort(key=lambda row: int(row["result_id"].rpartition("-")[2]))
            if [(row["code"], row["positive"]) for row in rows] == expected:
                return rows
        if card.name in OF_TWO_FILES:
            return self._of_one_case(jobs.values(), {code for code, _ in expected})
        said = [[(row["code"], row["positive"], row["reason"]) for row in rows] for rows in jobs.values()]
        raise AssertionError(f"{card.name} should find {expected}; its readings: {said}")

    def _of_one_case(self, readings: Iterable[list[Row]], codes: set[str]) -> list[Row]:
        """The longer of a case's readings that together find these codes."""
        cases: dict[str, list[list[Row]]] = {}
        for rows in readings:
            cases.setdefault(rows[0]["case_id"], []).append(rows)
        told = {case: {row["code"] for rows in found for row in rows} for case, found in cases.items()}
        (case,) = [case for case, found in told.items() if found == codes]
        return max(cases[case], key=len)

    def call(self, *arguments: str) -> str:
        """What a command of this installation answers, once it ended well."""
        done = CliRunner().invoke(app, list(arguments), env={"WETREAD_HOME": str(self.home)})
        assert done.exit_code == 0, (arguments, done.output, done.exception)
        return done.output


def _expected(card: ModelCard) -> list[tuple[str, int | None]]:
    text = (card.folder / "example" / "expected.json").read_text("utf-8")
    return [
        (found["code"], None if found["positive"] is None else int(found["positive"]))
        for found in json.loads(text)["findings"]
    ]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """An installation that read every sample and every family's example, and was stopped."""
    running = Running(tmp_path_factory.mktemp("up") / "home", WETREAD_SERIES_QUIET_SECONDS="1").start()
    try:
        files = {n: data for n, data in samples.files().items() if not n.startswith(IN_EXAMPLES)}
        for card in READING:
            files |= samples.example(card)
        samples.put(running.home / "inbox", files)
        running.until(lambda: _all_read(running), 200, "read")
    finally:
        assert running.stop() == 0
    with sqlite3.connect(running.home / "wetread.db") as db:
        db.row_factory = sqlite3.Row
        query = "SELECT *, model_version AS version, substr(result_id, 1, 20) AS job FROM v_results"
        results = [dict(row) for row in db.execute(query)]
    return Read(running.home, results)


def _all_read(running: Running) -> bool:
    """Nothing lies in the inbox, no file is being read or waits for its series, and no job is open."""
    if _left(running.home):
        return False
    with sqlite3.connect(running.home / "wetread.db") as db:
        (files,) = db.execute("SELECT count(*) FROM v_files WHERE state IN ('pending', 'ready')").fetchone()
        (jobs,) = db.execute(
            "SELECT count(*) FROM v_jobs WHERE state IN ('owed', 'queued', 'running')"
        ).fetchone()
    return bool(files == jobs == 0)


def _left(home: Path) -> list[Path]:
    return [path for path in (home / "inbox").rglob("*") if path.is_file()]


def test_no_job_failed(read: Read) -> None:
    assert json.loads(read.call("status", "--json"))["jobs"]["failed"] == 0


def test_no_file_is_lost(read: Read) -> None:
    files = json.loads(read.call("status", "--json"))["files"]
    assert (files["pending"], files["ready"]) == (0, 0)
    assert _left(read.home) == []


def test_only_what_is_broken_is_refused(read: Read) -> None:
    listed = json.loads(read.call("quarantine", "list", "--json"))
    assert sorted(f["reason"] for f in listed) == ["not-dicom", "truncated"]


@families
def test_an_example_dropped_as_a_file_has_its_findings_in_sql(read: Read, card: ModelCard) -> None:
    for row in read.of_example(card):
        assert row["weights_sha256"] == card.weights_sha256
        assert row["version"] == card.version
        assert json.loads(row["evidence"])


@families
def test_a_result_is_explained_by_a_picture_or_a_page(read: Read, card: ModelCard, tmp_path: Path) -> None:
    result = next(row["result_id"] for row in read.of_example(card) if not row["abstained"])
    out = tmp_path / "explained"
    suffix = ".png" if "image/png" in read.call("explain", result, "--out", str(out)) else ".html"
    assert out.read_bytes().lower().startswith(SIGNATURES[suffix].lower())


@families
def test_a_result_read_again_is_the_same(read: Read, card: ModelCard) -> None:
    result = read.of_example(card)[0]["result_id"]
    assert json.loads(read.call("replay", result, "--json"))["same"] is True


def test_a_segmentation_is_written_as_dicom(read: Read, tmp_path: Path) -> None:
    result = read.of_example(registry.card("hippocampus-mr"))[0]["result_id"]
    read.call("explain", result, "--out", str(tmp_path / "mask.dcm"))
    assert (tmp_path / "mask.dcm").read_bytes().startswith(SIGNATURES[".dcm"])


def test_a_film_and_a_note_of_one_case_contradict_each_other(read: Read) -> None:
    cases = {row["case_id"] for row in read.results if row["model"] == "chest-xray"}
    found = [json.loads(read.call("case", case, "--json"))["summary"] for case in sorted(cases)]
    (told,) = [answer for summary in found for answer in summary if answer["contradiction"]]
    assert told["question"] == "pneumonia"
    assert {term["model"]: term["says"] for term in told["terms"]} == {
        "chest-xray": True, "note-assertion": False,
    }  # fmt: skip


def test_a_dose_read_with_the_genotype_of_its_case_supersedes_the_one_without(read: Read) -> None:
    doses = [row for row in read.results if row["model"] == "warfarin-dose"]
    old = {row["case_id"] for row in doses if row["status"] == "superseded"}
    assert len(old) == 1
    assert {row["status"] for row in doses if row["case_id"] in old} == {"superseded", "preliminary"}
