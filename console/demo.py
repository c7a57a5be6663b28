"""A first look: everything started in a folder of its own, samples read, findings printed, all stopped."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from console import look, samples
from console.shared import table
from console.up import Up
from db import reports
from db.errors import Unavailable
from db.records import FileState
from db.settings import Settings, load
from db.store import Store, open_store

SECONDS = 120
OPEN = ("owed", "queued", "running")


def run(say: Callable[[str], None], answer: Callable[[str], None]) -> None:
    """Runs the demonstration. Raises Unavailable when the samples are not all read in time."""
    for name in [name for name in os.environ if name.startswith("WETREAD_")]:
        del os.environ[name]  # nothing of a real installation is touched: all is the demonstration's own
    os.environ["WETREAD_TRUNCATED_AFTER_SECONDS"] = "3"  # one sample is cut off for good
    with tempfile.TemporaryDirectory(prefix="wetread-demo-", ignore_cleanup_errors=True) as folder:
        settings = load(Path(folder)).model_copy(update={"http_port": 0})
        up = Up(settings, 1, say)
        up.handle_signals()
        try:
            up.start()
            up.wait_ready()
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
        if up.stopping or time.monotonic() > deadline:
            raise Unavailable("the samples were not all read; see `make up` and the logs folder in its home")
        time.sleep(0.2)
    store.close()


def _read(store: Store, count: int) -> bool:
    with store.read() as connection:
        files, jobs = reports.file_counts(connection), reports.jobs_by_state(connection)
    settled = sum(files.values()) - files["pending"] - files["ready"]
    return settled >= count and not any(jobs[state] for state in OPEN)


def _show(settings: Settings, answer: Callable[[str], None]) -> None:
    store, _ = open_store(settings)
    with store.read() as connection:
        found = reports.results(connection)
        refused = reports.files(connection, FileState.QUARANTINED)
        files = reports.file_counts(connection)
    verdict = store.verify_audit()
    store.close()
    look.results_table(sorted(found, key=lambda r: (r["model"], r["result_id"])))
    table("Quarantined", ["reason", "sentence"], [[f["reason"], f["sentence"]] for f in refused])
    answer("files: " + ", ".join(f"{n} {state}" for state, n in files.items() if n))
    answer(f"audit: {verdict.entries} entries, {'unbroken' if verdict.ok else verdict.problem}")
