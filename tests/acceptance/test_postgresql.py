"""The main job with PostgreSQL as the record."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from running import Running

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1200)]
NOTE = b"Fever and cough for two days. He denies chest pain. No evidence of pneumothorax.\n"


def test_a_note_is_read_into_postgresql(tmp_path: Path, postgresql_database: str) -> None:
    running = Running(tmp_path / "home", WETREAD_DATABASE_URL=postgresql_database).start()
    try:
        running.drop("a.txt", NOTE)
        running.drop("copy-of-a.txt", NOTE)
        running.drop("b.dcm", b"not DICOM")
        running.until(lambda: running.concluded(3), 60, "read")
        files = running.json("status")["files"]
        assert (files["done"], files["duplicate"], files["quarantined"]) == (1, 1, 1)
        with psycopg.connect(postgresql_database.replace("+psycopg", "")) as connection:
            rows = connection.execute(
                "SELECT code, qualifier FROM v_results WHERE positive IS NOT NULL"
            ).fetchall()
        assert ("J93.9", "negated") in rows
        assert running.json("audit", "verify")["ok"] is True
        assert [c for c in running.json("doctor") if not c["ok"]] == []
    finally:
        assert running.stop() == 0
