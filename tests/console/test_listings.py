"""Lists that are empty, narrowed to nothing or cut short say so; times name their zone."""

from __future__ import annotations

import json
import re
import time

import pytest

from console import findings
from db import services
from db.settings import Settings
from tests.asking import Home, Wetread

LISTS = [["results"], ["quarantine", "list"], ["audit", "list"]]


@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_a_list_of_nothing_is_a_sentence(empty: Settings, wetread: Wetread, words: list[str]) -> None:
    said = wetread(*words)
    assert (said.code, said.err) == (0, "")
    assert len(said.out.split()) > 4
    assert "┃" not in said.out


def test_no_results_say_where_to_drop_files(empty: Settings, wetread: Wetread) -> None:
    assert str(empty.folder("inbox")) in wetread("results").out


@pytest.mark.parametrize(
    "words",
    [["results", "--model", "gone"], ["quarantine", "list", "--reason", "gone"],
     ["audit", "list", "--subject", "job:gone"]],
    ids=" ".join,
)  # fmt: skip
def test_a_filter_that_leaves_nothing_says_so(home: Home, wetread: Wetread, words: list[str]) -> None:
    assert re.match("no |quarantine holds no ", wetread(*words).out)


@pytest.mark.parametrize("verb", ["release", "purge"])
def test_a_reason_that_no_file_has_is_named(home: Home, wetread: Wetread, verb: str) -> None:
    assert "quarantine holds no file as gone" in wetread("quarantine", verb, "--reason", "gone").err


def test_nothing_failed_is_nothing_to_requeue(empty: Settings, wetread: Wetread) -> None:
    assert "no job has failed" in wetread("requeue", "--failed").err


def test_a_csv_of_nothing_has_the_columns_of_a_full_one(home: Home, wetread: Wetread) -> None:
    full = wetread("results", "--format", "csv").out.splitlines()[0]
    assert wetread("results", "--format", "csv", "--model", "gone").out.splitlines() == [full]


def test_a_list_that_is_cut_short_says_so(
    home: Home, wetread: Wetread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "LIMIT", 1)
    said = wetread("results", "--json")
    assert (len(json.loads(said.out)), "--limit" in said.err) == (1, True)


def test_status_says_when_in_named_zones_and_how_long_ago(
    home: Home, wetread: Wetread, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as tokyo:
        tokyo.setenv("TZ", "JST-9")  # needs no list of zones on the machine
        time.tzset()
        said = wetread("status").out
    time.tzset()
    assert re.search(r"last success: \S+ \S+ JST \(\S+ \S+ UTC\), \d+\.\d s ago", said)


def test_status_says_what_calls_for_somebody(home: Home, wetread: Wetread) -> None:
    assert "no worker runs" in wetread("status").out
    services.gone(home.store, "ingest")
    said = wetread("status").out
    assert "no service runs: start them" in said
    assert "`wetread requeue --failed`" in said


def test_status_says_why_files_wait(home: Home, wetread: Wetread) -> None:
    services.beat(home.store, "ingest", "waiting: disk")
    assert "free space where the home lies" in wetread("status").out
