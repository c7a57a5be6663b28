"""What is owed to a model's earlier version is read by the one that is served now, once."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from db import claims, inputs, jobs, ledger, upgrades
from db.jobs import Owed
from db.ledger import Sighting
from db.records import Evidence, Kind
from db.store import Store

OLD = Owed(model="film", version="1", weights_sha256="a" * 64, lane="stat")
NEW = Owed(model="film", version="2", weights_sha256="b" * 64)


@pytest.fixture
def owing(store: Store) -> Store:
    """A store with one job for the old version."""
    with store.write() as writer:
        file_id = ledger.see(writer, [Sighting(name="a.dcm", suffix=".dcm", bytes=1)])["a.dcm"]
        inputs.accept(
            writer, file_id, Evidence(kind=Kind.IMAGE, uid="1.2"), digest="d" * 64, size=1, owed=[OLD]
        )
    return store


def found(store: Store) -> list[tuple[str, str, str]]:
    query = "SELECT model_version, state, lane FROM jobs ORDER BY model_version"
    with store.read() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_a_waiting_job_moves_on_in_its_lane(owing: Store) -> None:
    assert upgrades.move_on(owing, [NEW]) == 1
    assert found(owing) == [("1", "abstained", "stat"), ("2", "owed", "stat")]


def test_its_result_says_which_version_reads_it(owing: Store) -> None:
    upgrades.move_on(owing, [NEW])
    with owing.read() as connection:
        reasons = list(connection.scalars(text("SELECT reason FROM v_results")))
    assert reasons == ["superseded-version: version 2 reads it instead"]


def test_moving_on_again_moves_nothing(owing: Store) -> None:
    upgrades.move_on(owing, [NEW])
    assert upgrades.move_on(owing, [NEW]) == 0


def test_what_the_served_version_is_owed_stays(owing: Store) -> None:
    assert upgrades.move_on(owing, [OLD]) == 0
    assert found(owing) == [("1", "owed", "stat")]


def test_a_worker_leaves_what_is_owed_to_another_version_of_its_model(owing: Store) -> None:
    ((job_id, _),) = jobs.take_owed(owing)
    claim = {"worker": "w", "lease_seconds": 60.0, "lanes": ["stat"]}
    assert claims.claim(owing, job_id, held={"film": NEW.weights_sha256}, **claim) == []  # type: ignore[arg-type]
    assert len(claims.claim(owing, job_id, held={"film": OLD.weights_sha256}, **claim)) == 1  # type: ignore[arg-type]
