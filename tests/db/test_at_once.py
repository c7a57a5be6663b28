"""Two workers conclude readings of the same input in the same moment: neither overlooks the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from sqlalchemy import text

from db import claims, conclusions, inputs, jobs, joins, ledger
from db.jobs import Claimed, Conclusion, Owed
from db.ledger import Sighting
from db.records import Code, Diagnosis, Evidence, Finding, Kind
from db.store import Store

ONE = Owed(model="one", version="1", weights_sha256="a" * 64)
TWO = Owed(model="two", version="1", weights_sha256="b" * 64)
YES = Diagnosis(findings=(Finding(code=Code(value="1", system="s", meaning="m"), positive=True),))


def accept(store: Store, number: int, kind: Kind, *owed: Owed) -> str:
    """A file of the one case; the id of its evidence."""
    with store.write() as writer:
        name = f"{number}.txt"
        file_id = ledger.see(writer, [Sighting(name=name, suffix=".txt", bytes=1)])[name]
        evidence = Evidence(kind=kind, case_key="A")
        inputs.accept(writer, file_id, evidence, digest=f"{number:064d}", size=1, owed=owed)
    return value(store, f"SELECT id FROM evidence WHERE digest = '{number:064d}'")


def value(store: Store, query: str) -> str:
    with store.read() as connection:
        return str(connection.execute(text(query)).scalar_one())


def claim(store: Store) -> list[Claimed]:
    """Every job that waits, each by a claim of its own."""
    taken = [job_id for job_id, _ in jobs.take_owed(store)]
    return [claims.claim(store, job_id, worker="w", lease_seconds=60)[0] for job_id in taken]


def conclude_at_once(store: Store, mine: Claimed, others: Claimed) -> None:
    """One worker has written all but its commit when the other begins."""

    def conclude() -> None:
        conclusions.conclude(store, [Conclusion(job=others, diagnosis=YES, device="cpu")])

    other = threading.Thread(target=conclude)
    with store.write() as writer:
        conclusions._conclude(writer, [Conclusion(job=mine, diagnosis=YES, device="cpu")])
        other.start()
        time.sleep(0.5)
    other.join()


def by_model(found: Sequence[Claimed]) -> list[Claimed]:
    return sorted(found, key=lambda job: job.model)


def test_a_file_whose_last_two_readings_conclude_at_once_is_done(store: Store) -> None:
    accept(store, 1, Kind.NOTE, ONE, TWO)
    one, two = by_model(claim(store))
    conclude_at_once(store, one, two)
    assert value(store, "SELECT state FROM files") == "done"


def test_of_a_table_read_alone_and_with_variants_at_once_one_reading_stands(store: Store) -> None:
    table = accept(store, 1, Kind.TABLE, ONE)
    variants = accept(store, 2, Kind.VARIANTS)
    with store.write() as writer:
        case = value(store, "SELECT id FROM cases")
        jobs.owe(writer, case, [table, variants], "c" * 64, [ONE])
    alone, joined = sorted(claim(store), key=lambda job: len(job.inputs))
    conclude_at_once(store, alone, joined)
    assert value(store, f"SELECT status FROM results WHERE job_id = '{alone.id}'") == "superseded"
    assert value(store, f"SELECT status FROM results WHERE job_id = '{joined.id}'") == "preliminary"


def test_of_two_partners_recorded_at_once_the_second_writer_sees_the_first(store: Store) -> None:
    accept(store, 1, Kind.NOTE)  # the case is there
    met: list[int] = []

    def record(number: int, kind: Kind, partner: Kind) -> None:
        with store.write() as writer:
            name, digest = f"{number}.txt", f"{number:064d}"
            file_id = ledger.see(writer, [Sighting(name=name, suffix=".txt", bytes=1)])[name]
            inputs.accept(writer, file_id, Evidence(kind=kind, case_key="A"), digest=digest, size=1, owed=[])
            mine = joins.recorded(writer, digest)
            assert mine is not None
            met.append(len(joins.others(writer, mine, partner)))
            if number == 2:
                second.start()
                time.sleep(0.5)

    second = threading.Thread(target=record, args=(3, Kind.VARIANTS, Kind.TABLE))
    record(2, Kind.TABLE, Kind.VARIANTS)
    second.join()
    assert met == [0, 1]
