"""Two ingests on one folder: whoever claimed a file concludes it, and neither stands in the other's way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from db import ledger
from db.records import FileState
from tests.bench import Bench
from tests.builders import note_bytes, write_tree

NOTE = note_bytes("Cough since Monday.", patient_id="7", encounter="E-1")


def test_a_file_that_another_took_for_withdrawn_is_concluded_by_its_claimer(bench: Bench) -> None:
    write_tree(bench.inbox, {"note.txt": NOTE})
    bench.turn()
    file_id = bench.ingest.ids["note.txt"]
    claimed = bench.ingest.intake.claim(file_id, "note.txt")
    assert claimed is not None
    with bench.store.write() as writer:  # as an ingest of another home does, which cannot see this work area
        ledger.conclude(writer, file_id, FileState.IGNORED, reason=ledger.WITHDRAWN)
    assert bench.ingest.intake.process([claimed]) == [FileState.READY]
    assert bench.files() == {"ready": 1}


def test_a_claimed_file_is_not_withdrawn_by_another_ingest(bench: Bench) -> None:
    write_tree(bench.inbox, {"note.txt": NOTE})
    other = bench.again()
    other.tick()
    bench.turn()
    assert bench.ingest.intake.claim(bench.ingest.ids["note.txt"], "note.txt") is not None
    bench.settle(other)
    assert bench.files() == {"pending": 1}


def test_a_file_that_another_ingest_finished_holds_nothing_up(bench: Bench) -> None:
    write_tree(bench.inbox, {"a.txt": NOTE, "b.txt": NOTE + b"And fever."})
    bench.turn()
    held = [bench.ingest.intake.claim(bench.ingest.ids[name], name) for name in ("a.txt", "b.txt")]
    first, second = (dataclasses.replace(claimed) for claimed in held if claimed is not None)
    bench.again().intake.process([first])
    assert not Path(first.work).exists()
    assert bench.ingest.intake.process([first, second]) == [FileState.READY]
    assert bench.files() == {"ready": 2}
