"""The commands: JSON alone on standard output, sentences for people, exit codes for scripts."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import typer
from redis import Redis
from sqlalchemy import text

from console import cli, past
from db import keys, ledger
from db.records import Code, Diagnosis, FileState, Finding
from models.registry import Explanation
from tests.asking import Home, Wetread, checks, parsed

HEAVY = ("torch", "celery", "sqlalchemy", "spacy", "pydicom", "sklearn", "uvicorn", "fastapi")


def commands() -> Iterator[list[str]]:
    """Every command's words."""

    def below(group: Any, words: list[str]) -> Iterator[list[str]]:
        for name, command in group.commands.items():
            yield [*words, name]
            if hasattr(command, "commands"):
                yield from below(command, [*words, name])

    yield from below(typer.main.get_command(cli.app), [])


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_explains_itself(wetread: Wetread, words: list[str]) -> None:
    said = wetread(*words, "--help")
    assert (said.code, said.err) == (0, "")
    assert "Usage:" in said.out


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["results", "--nonsense"], ["case"], ["results", "--format", "xml"], ["requeue"],
     ["results", "--limit", "0"], ["up", "--workers", "0"], ["quarantine", "release"],
     ["results", "--since", "x"], ["quarantine", "purge"],
     ["results", "--json", "--format", "csv"], ["explain", "0-0", "--out", "."],
     ["requeue", "0a", "--failed"], ["models", "evaluate", "note-assertion", "--data", "/nowhere"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_exits_2_with_a_sentence(wetread: Wetread, words: list[str]) -> None:
    said = wetread(*words)
    assert (said.code, said.out) == (2, "")
    assert said.err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['wetread', '--help']\nfrom console.cli import main\ntry: main()\n"
        "except SystemExit: pass\nprint(sorted(set(sys.modules) & set(sys.argv[0:0] + HEAVY)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"HEAVY = {list(HEAVY)}\n{code}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_the_installed_one(wetread: Wetread) -> None:
    assert wetread("--version").out.startswith("wetread 0.")


JSON_COMMANDS = [
    ["results"], ["status"], ["settings"], ["quarantine", "list"], ["audit", "list"], ["audit", "verify"],
    ["models", "list"], ["models", "card", "note-assertion"],
]  # fmt: skip


@pytest.mark.parametrize("words", JSON_COMMANDS, ids=" ".join)
def test_with_json_standard_output_is_json_alone(home: Home, wetread: Wetread, words: list[str]) -> None:
    said = wetread(*words, "--json")
    assert (said.code, said.err) == (0, "")
    json.loads(said.out)


@pytest.mark.parametrize("words", [*JSON_COMMANDS, ["doctor"]], ids=" ".join)
def test_no_command_tells_the_patient(home: Home, wetread: Wetread, words: list[str]) -> None:
    for more in ((), ("--json",)):
        said = wetread(*words, *more)
        assert not any(word in said.out + said.err for word in ("Canary", "Clara", "7700123"))


def test_results_are_the_findings_in_the_record(home: Home, wetread: Wetread) -> None:
    found = {r["finding"]["code"]: r["qualifier"] for r in parsed(wetread("results", "--json"))}
    assert found == {"J45.909": None, "R50.9": "negated"}


def test_results_are_narrowed_by_each_option(home: Home, wetread: Wetread) -> None:
    case = parsed(wetread("results", "--json"))[0]["case_id"]
    for words, count in (
        (["--finding", "R50.9"], 1), (["--model", "gone"], 0), (["--case", case], 2), (["--limit", "1"], 1),
        (["--since", "2000-01-01"], 2), (["--since", "2999-01-01T00:00:00"], 0),
    ):  # fmt: skip
        assert len(parsed(wetread("results", "--json", *words))) == count, words


def test_a_time_that_names_its_zone_is_taken_in_it(home: Home, wetread: Wetread) -> None:
    now = home.store.now()
    for at, count in ((now + timedelta(minutes=1), 0), (now - timedelta(minutes=1), 2)):
        east = at.astimezone(timezone(timedelta(hours=5))).isoformat(timespec="seconds")
        assert len(parsed(wetread("results", "--json", "--since", east))) == count


def test_results_as_csv_are_one_line_a_finding(home: Home, wetread: Wetread) -> None:
    rows = list(csv.DictReader(io.StringIO(wetread("results", "--format", "csv").out)))
    assert {row["code"] for row in rows} == {"J45.909", "R50.9"}
    assert json.loads(rows[0]["evidence"])["kind"] == "mention"


def test_status_counts_every_file_and_job(home: Home, wetread: Wetread) -> None:
    found = parsed(wetread("status", "--json"))
    assert {k: n for k, n in found["files"].items() if n} == {"ready": 1, "done": 1, "quarantined": 1}
    assert {k: n for k, n in found["jobs"].items() if n} == {"done": 1, "failed": 1}
    assert found["services"]["valkey"]["state"] == "ready"
    assert {"oldest_pending_seconds", "lanes", "last_success"} <= set(found)


def test_a_case_tells_its_steps(home: Home, wetread: Wetread) -> None:
    case = parsed(wetread("results", "--json"))[0]["case_id"]
    actions = [step["action"] for step in parsed(wetread("case", case, "--json"))["timeline"]]
    for action in ("file:seen", "evidence:received", "job:owed", "job:queued", "job:claimed", "job:done"):
        assert action in actions


UNKNOWN = [
    ["case", "c-nobody"], ["quarantine", "show", "0" * 20], ["quarantine", "release", "0" * 20],
    ["quarantine", "purge", "0" * 20, "--yes"], ["requeue", "0" * 20], ["replay", "0-0"],
    ["explain", "0-0", "--out", "x"], ["models", "card", "nobody"],
]  # fmt: skip


@pytest.mark.parametrize("words", UNKNOWN, ids=" ".join)
def test_an_unknown_id_exits_1_with_a_sentence(
    home: Home, wetread: Wetread, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = wetread(*words)
    assert (said.code, said.out) == (1, "")
    assert len(said.err.split()) > 4


def test_a_home_that_is_not_there_exits_1_and_is_not_made(wetread: Wetread, tmp_path: Path) -> None:
    said = wetread("status", "--home", str(tmp_path / "typo"))
    assert (said.code, (tmp_path / "typo").exists()) == (1, False)
    assert "no such home" in said.err


def test_the_audit_verifies_and_names_the_entry_once_it_is_edited(home: Home, wetread: Wetread) -> None:
    assert parsed(wetread("audit", "verify", "--json"))["ok"]
    with home.store.engine.connect() as connection, connection.begin():
        connection.execute(text("DROP TRIGGER audit_no_UPDATE"))
        connection.execute(text("UPDATE audit SET subject = 'x' WHERE seq = 2"))
    said = wetread("audit", "verify", "--json")
    assert (said.code, json.loads(said.out)["broken_seq"]) == (1, 2)


def test_the_audit_export_holds_every_entry(home: Home, wetread: Wetread, tmp_path: Path) -> None:
    assert wetread("audit", "export", "--out", str(tmp_path / "audit.jsonl")).code == 0
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert len(lines) == parsed(wetread("audit", "verify", "--json"))["entries"]


def test_quarantine_is_listed_shown_and_released(home: Home, wetread: Wetread) -> None:
    (row,) = parsed(wetread("quarantine", "list", "--json"))
    assert (row["file_id"], parsed(wetread("quarantine", "show", home.quarantined, "--json"))["code"]) == (
        home.quarantined, row["reason"],
    )  # fmt: skip
    assert parsed(wetread("quarantine", "list", "--reason", "other", "--json")) == []
    assert wetread("quarantine", "release", home.quarantined).code == 0
    with home.store.read() as connection:
        assert ledger.state_of(connection, home.quarantined) is FileState.PENDING


def test_a_refused_file_s_name_is_shown_only_when_asked_for(home: Home, wetread: Wetread) -> None:
    assert "Canary" not in wetread("quarantine", "show", home.quarantined).out
    assert "Canary Clara.txt" in wetread("quarantine", "show", home.quarantined, "--name").out


def test_purge_asks_first(home: Home, wetread: Wetread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert wetread("quarantine", "purge", home.quarantined).code == 1
    assert (home.settings.folder("quarantine") / home.quarantined).exists()
    assert wetread("quarantine", "purge", home.quarantined, "--yes").code == 0
    assert not (home.settings.folder("quarantine") / home.quarantined).exists()


def test_what_was_purged_is_listed_as_such_and_no_longer_acted_on(home: Home, wetread: Wetread) -> None:
    wetread("quarantine", "purge", home.quarantined, "--yes")
    (row,) = parsed(wetread("quarantine", "list", "--json"))
    assert (row["purged"], "purged" in wetread("quarantine", "list").out) == (True, True)
    assert "it was purged" in wetread("quarantine", "show", home.quarantined).err
    said = wetread("quarantine", "release", "--reason", row["reason"])
    assert (said.code, "released 0" in said.err) == (0, True)


def test_one_file_that_cannot_be_released_keeps_no_other_from_it(home: Home, wetread: Wetread) -> None:
    said = wetread("quarantine", "release", "0" * 20, home.quarantined)
    assert (said.code, said.err.splitlines()[-1]) == (1, "released 1")


@pytest.mark.parametrize("all_of_them", [True, False])
def test_a_failed_job_is_requeued(home: Home, wetread: Wetread, all_of_them: bool) -> None:
    assert wetread("requeue", "--failed" if all_of_them else home.failed).code == 0
    assert parsed(wetread("status", "--json"))["jobs"]["owed"] == 1


def test_a_replay_gives_the_same_again(home: Home, wetread: Wetread) -> None:
    result = parsed(wetread("results", "--json"))[0]["result_id"]
    said = wetread("replay", result, "--json")
    assert (said.code, json.loads(said.out)["same"]) == (0, True)


def test_a_replay_without_the_same_weights_names_both(home: Home, wetread: Wetread) -> None:
    (result, *_) = parsed(wetread("results", "--json"))
    with home.store.engine.connect() as connection, connection.begin():
        connection.execute(text("UPDATE jobs SET weights_sha256 = :other"), {"other": "0123456789abcdef"})
    said = wetread("replay", result["result_id"])
    assert said.code == 1
    assert "weights 0123456789ab; here are" in said.err
    assert result["weights_sha256"][:12] in said.err


def test_an_explanation_is_for_its_owner_alone(home: Home, wetread: Wetread, tmp_path: Path) -> None:
    result = parsed(wetread("results", "--json"))[0]["result_id"]
    out = tmp_path / "why.html"
    assert wetread("explain", result, "--out", str(out)).code == 0
    assert ("asthma" in out.read_text(), out.stat().st_mode & 0o077) == (True, 0)


def test_wrong_settings_are_an_ailment_of_their_own(
    home: Home, wetread: Wetread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WETREAD_HTTP_PORT", "x")
    said = wetread("doctor", "--json")
    assert (said.code, checks(said)["settings"]["ok"]) == (1, False)
    assert "wetread settings" in checks(said)["settings"]["fix"]


def test_a_sound_installation_is_ok_in_every_check(home: Home, wetread: Wetread) -> None:
    said = wetread("doctor", "--json")
    found = checks(said)
    bad = {name for name, check in found.items() if not check["ok"]}
    assert bad <= {"chest-xray"}  # its card may be in the making; conformance holds it
    assert {"home", "folders", "key", "database", "audit", "redis", "disk", "clock", "device"} <= set(found)


def test_each_ailment_comes_with_its_fix_and_exit_1(
    home: Home, wetread: Wetread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WETREAD_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("WETREAD_DEVICE", "cuda:99")
    monkeypatch.setenv("WETREAD_DISK_LOW_BYTES", str(2**60))
    monkeypatch.setenv("WETREAD_DISK_RESUME_BYTES", str(2**60))
    home.settings.master_key.chmod(0o644)
    (home.settings.home / "work").rmdir()
    said = wetread("doctor", "--json")
    found = checks(said)
    for name in ("folders", "key", "redis", "disk", "device"):
        assert not found[name]["ok"], name
        assert found[name]["fix"], name
    assert said.code == 1


def test_a_doctor_without_a_home_says_so_and_makes_none(wetread: Wetread, tmp_path: Path) -> None:
    said = wetread("doctor", "--home", str(tmp_path / "none"), "--json")
    assert (said.code, checks(said)["home"]["ok"], (tmp_path / "none").exists()) == (1, False, False)


def test_a_key_that_was_replaced_is_noticed(home: Home, wetread: Wetread) -> None:
    home.settings.master_key.unlink()
    keys.create(home.settings.master_key)
    assert wetread("audit", "verify").code == 1


@pytest.fixture
def read_only(redis: Redis) -> Iterator[None]:
    """Valkey answers and refuses to write."""
    redis.replicaof("127.0.0.1", "1")
    yield
    redis.replicaof("NO", "ONE")


def test_a_redis_that_refuses_to_write_is_told_from_one_that_is_gone(
    home: Home, wetread: Wetread, read_only: None
) -> None:
    found = parsed(wetread("status", "--json"))["services"]["valkey"]
    assert (found["state"], found["reason"].split(";")[0]) == (
        "refusing", "answers, but is a replica, which takes no writes",
    )  # fmt: skip
    check = checks(wetread("doctor", "--json"))["redis"]
    assert (check["ok"], check["fix"]) == (False, "name the primary in WETREAD_REDIS_URL")


def test_without_its_key_the_rest_sends_to_the_key(home: Home, wetread: Wetread) -> None:
    home.settings.master_key.unlink()
    found = checks(wetread("doctor", "--json"))
    assert {found[name]["fix"] for name in ("database", "audit", "clock")} == {"mend `key` first"}


def test_status_without_redis_still_tells(
    home: Home, wetread: Wetread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WETREAD_REDIS_URL", "redis://127.0.0.1:1/0")
    assert parsed(wetread("status", "--json"))["services"]["valkey"]["state"] == "lost"


def test_a_positive_and_an_abstention_are_told_apart_in_the_table(home: Home, wetread: Wetread) -> None:
    out = wetread("results").out
    assert "positive" in out
    assert "negated" in out


def test_a_replay_that_measures_otherwise_differs() -> None:
    code = Code(value="x", system="s", meaning="m")
    row = {"finding": {"code": "x"}, "positive": None, "probability": None, "value": 2070.0}
    other = Diagnosis(findings=(Finding(code=code, positive=None, value=2071.0),))
    (compared,) = past._compare([row], other)
    assert (compared["then"], compared["now"], compared["same"]) == (2070.0, 2071.0, False)


def test_a_page_under_a_picture_s_name_says_what_opens_it(wetread: Wetread, tmp_path: Path) -> None:
    said = wetread("models", "explain", "note-assertion", "--out", str(tmp_path / "page.png"))
    assert "to open it, name it page.html" in said.out


def test_a_picture_under_a_page_s_name_is_put_on_a_page(tmp_path: Path) -> None:
    out = tmp_path / "film.html"
    said = past.handed_over(Explanation(media_type="image/png", content=b"\x89PNG"), out)
    assert said == f"{out} (text/html)"
    assert b'src="data:image/png;base64,iVBORw=="' in out.read_bytes()


def test_a_replay_without_numbers_says_the_answers() -> None:
    code = Code(value="x", system="s", meaning="m")
    row = {"finding": {"code": "x"}, "positive": True, "probability": None, "value": None}
    other = Diagnosis(findings=(Finding(code=code, positive=False, qualifier="negated"),))
    (compared,) = past._compare([row], other)
    assert (compared["then_positive"], compared["now_positive"], compared["same"]) == (True, False, False)


def test_a_model_explains_its_own_example(wetread: Wetread, tmp_path: Path) -> None:
    done = wetread("models", "explain", "note-assertion", "--out", str(tmp_path / "page.html"))
    assert done.code == 0
    assert b"<html" in (tmp_path / "page.html").read_bytes()


def test_a_model_explains_a_file_it_is_given(wetread: Wetread, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("He has a fever and a cough, and he denies any chest pain at all.")
    out = tmp_path / "page.html"
    done = wetread(
        "models", "explain", "note-assertion", "--input", str(tmp_path / "note.txt"), "--out", str(out)
    )
    assert "Fever, unspecified (R50.9): positive" in done.out
    assert "R07.9): negated" in done.out


def test_a_model_that_abstains_from_a_file_says_why_with_exit_1(wetread: Wetread, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("The meeting is on Tuesday, and there is coffee for all of us there.")
    out = tmp_path / "page.html"
    done = wetread(
        "models", "explain", "note-assertion", "--input", str(tmp_path / "note.txt"), "--out", str(out)
    )
    assert done.code == 1
    assert "nothing-recognised" in done.err
