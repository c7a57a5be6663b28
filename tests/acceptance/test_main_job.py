"""The main job on real processes: files dropped, findings in SQL, everything accounted for."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from builders import dicom_bytes
from console import samples
from deploy_queries import expressions, metrics_in, query_all_with_prometheus
from running import Running
from telling import tells

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1200)]

NUMBER, NAME, BORN = "MRN-7731-CANARY", "Zyxwv^Quillon", "19610417"
SENTENCE = "She keeps a parrot called Marmaduke"
NOTE = f"""Patient-ID: {NUMBER}
Patient-Name: Quillon Zyxwv
Birth-Date: {BORN}
Encounter: ENC-55-CANARY

{SENTENCE}. Fever and cough for three days, chest pain. Denies vomiting. No evidence of pneumothorax.
"""
FILMS = sorted(samples.FILMS.glob("*.png"))


def _film(path: Path, patient: str = "A-1") -> bytes:
    return samples.film(samples._grey(path), patient)


def _canary_film() -> bytes:
    return dicom_bytes(rows=64, columns=64, modality="DX", patient_id=NUMBER, name=NAME, birth_date=BORN)


@pytest.fixture(scope="module")
def running(running: Running) -> Running:
    """Has read films and a note."""
    for path in FILMS:
        running.drop(f"films/{path.stem}", _film(path, path.stem))  # any name: DICOM is known by content
    running.drop(f"{NAME}/note-{NUMBER}.txt", NOTE.encode())
    running.drop(f"{NAME}/film-{NUMBER}.dcm", _canary_film())
    running.until(lambda: running.concluded(len(FILMS) + 2), 60, "read")
    return running


def test_a_film_and_a_note_get_their_findings(running: Running) -> None:
    results = running.json("results")
    by_model = {r["model"] for r in results}
    assert {"chest-xray", "note-assertion", "note-diagnosis"} <= by_model
    pneumonia = [r for r in results if r["finding"] and r["finding"]["code"] == "233604007"]
    assert {r["positive"] for r in pneumonia} == {True, False}
    negated = [r["finding"]["code"] for r in results if r.get("qualifier") == "negated"]
    assert "J93.9" in negated


def test_every_result_has_the_promised_fields(running: Running) -> None:
    promised = {
        "result_id", "case_id", "kind", "model", "model_version", "weights_sha256", "finding", "probability",
        "threshold", "positive", "value", "unit", "abstained", "reason", "evidence", "device", "created_at",
        "status", "study_uid", "note_id", "input_digest",
    }  # fmt: skip
    for result in running.json("results"):
        assert promised <= set(result)
        assert result["status"] == "preliminary"
        assert (result["finding"] is None) <= result["abstained"]


def test_the_same_file_again_changes_nothing_but_the_audit(running: Running) -> None:
    before = running.json("results")
    entries = running.json("audit", "verify")["entries"]
    running.drop("again/anything.bin", _film(FILMS[0], FILMS[0].stem))
    running.until(lambda: running.json("status")["files"]["duplicate"] == 1, 30, "recognised")
    assert running.json("results") == before
    assert running.json("audit", "verify")["entries"] > entries


BAD = {
    "empty": b"",
    "not-dicom": b"this is no DICOM object",
    "truncated": dicom_bytes(rows=64, columns=64)[:-500],
    "no-pixels": dicom_bytes(drop=("PixelData",)),
    "undecodable-text": b"caf\xe9 au lait and fever\n" * 3,
    "too-large": b"fever and cough. " * 3_100_000,  # 50 MB
    "unsupported-kind": b"%PDF-1.7\n",
}
BAD_NAMES = {"not-dicom": "x.dcm", "undecodable-text": "x.txt", "too-large": "x.txt", "empty": "x.txt"}


def test_bad_input_is_quarantined_with_its_reason_and_stops_nobody(running: Running) -> None:
    for reason, content in BAD.items():
        running.drop(f"bad/{reason}/{BAD_NAMES.get(reason, 'x')}", content)
    running.drop("bad/good.txt", b"Cough and fever for two days. No chest pain was reported today by him.\n")
    running.until(lambda: running.json("status")["files"]["quarantined"] == len(BAD), 40, "quarantined")
    listed = running.json("quarantine", "list")
    assert {f["reason"] for f in listed} == set(BAD)
    shown = running.json("quarantine", "show", listed[0]["file_id"])
    assert shown["code"] == listed[0]["reason"]
    assert shown["what_to_do"]
    running.until(lambda: running.json("status")["files"]["pending"] == 0, 20, "calm")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads whatever the mode says")
def test_a_file_without_permission_is_quarantined(running: Running) -> None:
    target = running.home / "inbox" / "locked.txt"
    target.write_text("fever")
    target.chmod(0)
    running.until(
        lambda: bool(running.json("quarantine", "list", "--reason", "unreadable")), 30, "quarantined"
    )


def test_no_word_of_the_patient_is_anywhere_in_plain(running: Running) -> None:
    words = (NUMBER, "Zyxwv", "Quillon", BORN, "Marmaduke", "parrot", "ENC-55")
    places = [p for p in running.home.rglob("*") if p.is_file()]
    texts = {str(p): p.read_bytes().decode("latin-1") for p in places}
    texts["supervisor"] = running.output.read_text()
    texts["metrics"] = running.get("/metrics")
    texts["page"] = running.get("/")
    texts["audit"] = running.call("audit", "list", "--limit", "100000").stdout
    texts["results"] = running.call("results", "--json").stdout
    leaks = [
        (where, word)
        for where, text in texts.items()
        for word in words
        if tells(text, word) or tells(where, word)
    ]
    assert leaks == []


def test_metrics_equal_what_sql_counts(running: Running) -> None:
    samples_ = [s for f in text_string_to_metric_families(running.get("/metrics")) for s in f.samples]
    status = running.json("status")
    files = {s.labels["state"]: s.value for s in samples_ if s.name == "wetread_files"}
    assert files == status["files"]
    ends = [s for s in samples_ if s.name == "wetread_job_attempts_total"]
    attempts = sum(s.value for s in ends if s.labels["outcome"] in ("done", "abstained"))
    by_models = [r for r in running.json("results") if r["model"] != "none"]
    assert attempts == len({r["result_id"].split("-")[0] for r in by_models})


def test_every_dashboard_and_alert_expression_runs_on_a_real_prometheus(
    running: Running, tmp_path: Path
) -> None:
    answers = query_all_with_prometheus(running.url.removeprefix("http://"), tmp_path)
    assert {expression for _, expression in expressions()} <= set(answers)
    assert [e for e, a in answers.items() if a.startswith("error")] == []
    assert {a for e, a in answers.items() if e.startswith("rule ")} == {"ok"}


def test_every_metric_that_dashboard_and_alerts_name_is_exported(running: Running) -> None:
    exported = {s.name for f in text_string_to_metric_families(running.get("/metrics")) for s in f.samples}
    named = {name for _, expression in expressions() for name in metrics_in(expression)}
    assert named - exported == {"up", "ALERTS"}  # Prometheus' own


def test_explain_draws_the_film_and_the_note(running: Running, tmp_path: Path) -> None:
    results = running.json("results")
    film = next(r for r in results if r["model"] == "chest-xray" and r["positive"])
    note = next(r for r in results if r["model"] == "note-assertion" and r["positive"])
    assert running.call("explain", film["result_id"], "--out", str(tmp_path / "a.png")).returncode == 0
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert running.call("explain", note["result_id"], "--out", str(tmp_path / "b.html")).returncode == 0
    assert b"<html" in (tmp_path / "b.html").read_bytes()


def test_replay_gives_the_same_numbers(running: Running) -> None:
    for model in ("chest-xray", "note-assertion", "note-diagnosis"):
        result = running.json("results", "--model", model)[0]
        assert running.json("replay", result["result_id"])["same"] is True


def test_a_case_shows_its_timeline(running: Running) -> None:
    result = running.json("results", "--model", "chest-xray")[0]
    case = running.json("case", result["case_id"])
    steps = [t["action"] for t in case["timeline"]]
    assert steps.index("file:seen") < steps.index("evidence:received") < steps.index("job:claimed")
    assert all(t["seconds"] >= 0 for t in case["timeline"])


def test_doctor_finds_everything_well(running: Running) -> None:
    assert [c for c in running.json("doctor") if not c["ok"]] == []


def test_the_log_names_an_edited_entry(running: Running, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with sqlite3.connect(running.home / "wetread.db") as source, sqlite3.connect(copy) as target:
        source.backup(target)
        target.execute("DROP TRIGGER audit_no_update")
        target.execute("UPDATE audit SET detail = '{\"edited\":1}' WHERE seq = 7")
    edited = running.env | {"WETREAD_DATABASE_URL": f"sqlite:///{copy}"}
    held, running.env = running.env, edited
    done = running.call("audit", "verify")
    running.env = held
    assert done.returncode == 1
    assert "entry 7 was changed" in done.stdout


def test_a_killed_worker_leaves_one_result_for_each_input(running: Running) -> None:
    before, seen = running.json("status")["jobs"]["done"], running.seen()
    pid = running.json("status")["services"]["worker-1"]["pid"]
    for number in range(30):
        running.drop(
            f"many/{number}.txt",
            f"Fever and cough since day {number}. He denies chest pain today.\n".encode(),
        )
    running.until(lambda: running.json("status")["jobs"]["done"] > before, 30, "begun")
    os.kill(pid, signal.SIGKILL)
    running.until(lambda: running.concluded(seen + 30), 90, "read")
    running.until(lambda: running.json("status")["services"]["worker-1"]["pid"] != pid, 40, "back")
    status = running.json("status")
    assert status["jobs"]["failed"] == 0
    assert status["files"]["ready"] == 0
    with sqlite3.connect(running.home / "wetread.db") as db:
        twice = db.execute(
            "SELECT count(*) FROM (SELECT input_digest, model FROM jobs WHERE model != 'none' "
            "GROUP BY 1, 2, model_version, weights_sha256 HAVING count(*) > 1)"
        ).fetchone()
    assert twice == (0,)


def test_hints_lost_by_redis_are_sent_again(running: Running) -> None:
    from db import queue
    from db.settings import load

    done = running.json("status")["jobs"]["done"]
    client = queue.connect(load(running.home).redis)
    running.drop("flushed.txt", b"Fever and wheezing since Monday, and he has asthma. No chest pain.\n")
    running.until(lambda: running.json("status")["jobs"]["done"] >= done, 10, "seen")
    client.flushall()
    running.until(lambda: running.json("status")["jobs"]["done"] > done, 40, "read")
    running.until(lambda: running.concluded(1), 40, "calm")


def test_it_stops_cleanly_and_resumes_where_it_was(running: Running) -> None:
    before = running.json("results")
    assert running.stop() == 0
    running.drop(
        "while-down.txt", b"Chest pain and dyspnea on exertion. He has no fever and no cough at all.\n"
    )
    running.start()
    running.until(lambda: len(running.json("results")) > len(before), 60, "resumed")
    assert running.json("audit", "verify")["ok"] is True
    assert re.search(r"wetread is ready", running.output.read_text())
