"""Migrations: what they build is what the code expects, on both databases, from several starts at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from db.keys import Keys
from db.store import Store, migrate, schema_version
from db.tables import Base

# promised to scripts and dashboards: names may be added, never taken away
PROMISED = {
    "v_results": {
        "result_id", "case_id", "kind", "model", "model_version", "weights_sha256", "code", "system",
        "meaning", "probability", "threshold", "positive", "value", "unit", "abstained", "reason", "evidence",
        "device", "created_at", "status", "study_uid", "note_id", "input_digest",
    },
    "v_cases": {"case_id", "patient", "created_at", "evidence", "jobs", "jobs_open", "jobs_failed"},
    "v_files": {"file_id", "state", "reason", "bytes", "digest", "evidence_id", "case_id", "first_seen"},
    "v_jobs": {"job_id", "case_id", "model", "model_version", "lane", "state", "attempts", "error"},
    "v_audit": {"seq", "at", "subject", "action", "detail", "hash"},
}  # fmt: skip
MIGRATE = """
import sys
from db.keys import Keys
from db.store import Store, migrate
migrate(Store(sys.argv[1], Keys(bytes(32))))
"""


def test_the_migrated_schema_is_the_one_the_code_declares(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_migrated_database_is_at_the_newest_version(store: Store) -> None:
    found, newest = schema_version(store)
    assert found == newest != ""


def test_migrating_again_changes_nothing(store: Store) -> None:
    migrate(store)
    assert store.verify_audit().ok


@pytest.mark.parametrize("view", PROMISED)
def test_a_promised_view_has_its_promised_columns(store: Store, view: str) -> None:
    with store.read() as connection:
        columns = connection.execute(text(f"SELECT * FROM {view}")).keys()
    assert PROMISED[view] <= set(columns)


def at_once(url: str) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", MIGRATE, url], stderr=subprocess.PIPE) for _ in range(3)
    ]
    said = [process.communicate(timeout=170)[1].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said


def test_processes_that_migrate_sqlite_at_once_wait_for_each_other(tmp_path: Path) -> None:
    at_once(f"sqlite:///{tmp_path / 'store.db'}")


def test_processes_that_migrate_postgresql_at_once_wait_for_each_other(postgresql_database: str) -> None:
    at_once(postgresql_database)


def test_a_database_without_schema_says_so(tmp_path: Path, key: Keys) -> None:
    store = Store(f"sqlite:///{tmp_path / 'empty.db'}", key)
    assert schema_version(store)[0] is None
    store.close()


def test_an_audit_log_from_before_it_was_copied_holds_and_stays_append_only(
    tmp_path: Path, key: Keys
) -> None:
    store = Store(f"sqlite:///{tmp_path / 'store.db'}", key, anchor=tmp_path / "audit.anchor")
    migrate(store, "0005")
    for number in range(3):
        with store.write() as writer:
            writer.audit(f"file:{number}", "file:seen")
    migrate(store)
    with store.write() as writer:
        writer.audit("file:3", "file:seen")
    assert (store.verify_audit().ok, store.verify_audit().entries) == (True, 4)
    with pytest.raises(IntegrityError, match="append-only"), store.engine.begin() as connection:
        connection.execute(text("DELETE FROM audit WHERE seq = 2"))
    store.close()
