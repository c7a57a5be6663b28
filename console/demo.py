"""A first look: everything started in a folder of its own, samples read, findings printed, all stopped."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from console import samples, wording
from console.shared import table
from console.up import Up
from db import reports
from db.errors import Unavailable
from db.records import FileState
from db.settings import Settings, load
from db.store import Store, open_store
from models import fusion

Result = dict[str, Any]
SECONDS = 300  #: until all is read; the samples take a minute on one core
MANY = 5  #: negatives of one model in one case that are told one by one
OPEN = ("owed", "queued", "running")


def run(say: Callable[[str], None], answer: Callable[[str], None]) -> None:
    """Runs the demonstration. Raises Unavailable when the samples are not all read in time."""
    for name in [name for name in os.environ if name.startswith("WETREAD_")]:
        del os.environ[name]  # nothing of a real installation is touched: all is the demonstration's own
    os.environ["WETREAD_TRUNCATED_AFTER_SECONDS"] = "3"  # one sample is cut off for good
    os.environ["WETREAD_SERIES_QUIET_SECONDS"] = "2"  # all that there is comes at once
    with tempfile.TemporaryDirectory(prefix="wetread-demo-", ignore_cleanup_errors=True) as folder:
        settings = load(Path(folder)).model_copy(update={"http_port": 0})
        up = Up(settings, 1, say)
        up.handle_signals()
        try:
            up.start()
            up.wait_ready()
            if up.stopping:
                raise Unavailable("stopped before the services were ready")
            say(f"ready; page at {up.url}/ while this runs")
            count = samples.write(settings.folder("inbox"))
            say(f"dropped {count} sample files; reading them")
            _wait(settings, up, count)
            _show(settings, answer)
        finally:
            up.stop()


def _wait(settings: Settings, up: Up, count: int) -> None:
    store, _ = open_store(settings)
    deadline = time.monotonic() + SECONDS
    while not _read(store, count):
        up.tend()
        if up.stopping:
            raise Unavailable(f"stopped before all samples were read: {_state(store)}")
        if time.monotonic() > deadline:
            raise Unavailable(f"the samples were not all read: {_state(store)}; `make up` keeps its logs")
        time.sleep(0.2)
    store.close()


def _state(store: Store) -> str:
    """How far it came, as counts of files and of jobs."""
    with store.read() as connection:
        counts = [("files", reports.file_counts(connection)), ("jobs", reports.jobs_by_state(connection))]
    return "; ".join(
        f"{what} {', '.join(f'{n} {state}' for state, n in found.items() if n) or 'none'}"
        for what, found in counts
    )


def _read(store: Store, count: int) -> bool:
    """Everything was seen, no file or series waits, and no job is open."""
    with store.read() as connection:
        files, jobs = reports.file_counts(connection), reports.jobs_by_state(connection)
        series = reports.series_counts(connection)
    waiting = files["pending"] + files["ready"] + series["waiting"] + sum(jobs[state] for state in OPEN)
    return sum(files.values()) >= count and not waiting


def _show(settings: Settings, answer: Callable[[str], None]) -> None:
    store, _ = open_store(settings)
    with store.read() as connection:
        found = reports.results(connection)
        refused = reports.files(connection, FileState.QUARANTINED)
        files = reports.file_counts(connection)
    verdict = store.verify_audit()
    store.close()
    for case_id, results in _by_case(found).items():
        _case(case_id, results, answer)
    table("Quarantined", ["reason", "sentence"], [[f["reason"], f["sentence"]] for f in refused])
    answer("files: " + ", ".join(f"{n} {state}" for state, n in files.items() if n))
    answer(f"audit: {verdict.entries} entries, {'unbroken' if verdict.ok else verdict.problem}")


def _by_case(found: Sequence[Result]) -> dict[str, list[Result]]:
    """Results by case, those of many models first; within, by model, each model's in its own order."""
    cases: dict[str, list[Result]] = {}
    for result in sorted(found, key=lambda r: (r["model"], r["result_id"].split("-")[0], _place(r))):
        cases.setdefault(result["case_id"], []).append(result)
    return dict(sorted(cases.items(), key=lambda c: (c[1][0]["model"] == "none", -_models(c[1]), c[0])))


def _models(results: Sequence[Result]) -> int:
    return len({result["model"] for result in results})


def _place(result: Result) -> int:
    return int(result["result_id"].rpartition("-")[2])


def _case(case_id: str, results: Sequence[Result], answer: Callable[[str], None]) -> None:
    """One case: a line a finding, and what its models say together where several speak to one question."""
    rows: list[list[str]] = []
    for model, found in groupby(results, key=lambda r: str(r["model"])):
        told, quiet = _told(list(found))
        for result in told:
            rows.append([model, wording.named(result), _amount(result), wording.outcome(result)])
        if quiet:
            words = sorted({wording.outcome(result) for result in quiet})
            rows.append([model, f"and {len(quiet)} more", "", " or ".join(words)])
    table(f"case {case_id}", ["model", "finding", "value", "answer"], rows)
    for said in fusion.answers(results):
        if len({term.model for term in said.terms}) > 1:
            fused = "" if said.probability is None else f" {said.probability:.3f} (prior {said.prior:g})"
            mark = "   CONTRADICTION" if said.contradiction else ""
            answer(f"together, {said.meaning}:{fused}{mark}\n")


def _told(results: list[Result]) -> tuple[list[Result], list[Result]]:
    """What is told one by one, and the plain negatives of a long list, which are only counted."""
    negative = [r for r in results if wording.outcome(r) in wording.QUIET]
    if len(negative) <= MANY:
        return results, []
    return [r for r in results if r not in negative], negative


def _amount(result: Result) -> str:
    """The probability, or the value in its unit."""
    if result["probability"] is not None:
        return f"{result['probability']:.3f}"
    return wording.measured(result)
