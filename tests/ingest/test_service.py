"""From dropped file to owed job, in real folders: nothing lost, nothing twice, whatever stops it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import text

from db import inputs, ledger, services
from db.archive import Batch
from db.errors import Unavailable
from ingest import service
from ingest.intake import Intake
from tests.bench import Bench
from tests.builders import dicom_bytes, note_bytes, report_dicom, write_tree

NOTE = note_bytes("Cough since Monday.", patient_id="7", encounter="E-1")


def test_a_film_and_a_note_are_accepted_and_each_owes_its_model_a_job(bench: Bench) -> None:
    write_tree(bench.inbox, {"study/film": dicom_bytes(), "note.txt": NOTE})
    bench.settle()
    with bench.store.read() as connection:
        models = sorted(connection.scalars(text("SELECT model FROM jobs")))
    assert (bench.files(), models, len(bench.sent)) == ({"ready": 2}, ["film", "words"], 2)


def test_what_was_taken_is_no_longer_in_inbox_or_work(bench: Bench) -> None:
    write_tree(bench.inbox, {"film.dcm": dicom_bytes(), "note.txt": NOTE, "bad.dcm": b"text"})
    bench.settle()
    assert bench.left() == []


def test_the_accepted_bytes_are_in_the_archive(bench: Bench) -> None:
    film = dicom_bytes()
    write_tree(bench.inbox, {"film.dcm": film})
    bench.settle()
    with bench.store.read() as connection:
        digest = connection.scalar(text("SELECT digest FROM evidence"))
    assert bench.archive.get(str(digest)) == film


def test_an_image_that_no_model_reads_is_done_and_says_so(bench: Bench) -> None:
    write_tree(bench.inbox, {"ct.dcm": dicom_bytes(modality="CT")})
    bench.settle()
    with bench.store.read() as connection:
        reason = connection.scalar(text("SELECT reason FROM results"))
    assert (bench.files(), reason) == ({"done": 1}, "no-model: no installed model reads CT images")


def test_a_dicom_object_without_pixels_is_kept_as_a_document(bench: Bench) -> None:
    write_tree(bench.inbox, {"sr.dcm": report_dicom()})
    bench.settle()
    assert bench.files() == {"done": 1}


def test_the_same_bytes_twice_owe_one_job(bench: Bench) -> None:
    film = dicom_bytes()
    write_tree(bench.inbox, {"a.dcm": film, "b.dcm": film})
    bench.settle()
    write_tree(bench.inbox, {"a.dcm": film})
    bench.settle()
    assert (bench.files(), len(bench.sent)) == ({"ready": 1, "duplicate": 2}, 1)


def test_a_half_written_film_waits_and_is_taken_when_it_is_whole(bench: Bench) -> None:
    film = dicom_bytes(rows=64, columns=64)
    write_tree(bench.inbox, {"film.dcm": film[:-100]})
    bench.settle()
    assert bench.files() == {"pending": 1}
    write_tree(bench.inbox, {"film.dcm": film})
    bench.settle()
    assert bench.files() == {"ready": 1}


def test_a_film_that_stays_half_written_is_quarantined_as_truncated(bench: Bench) -> None:
    write_tree(bench.inbox, {"film.dcm": dicom_bytes(rows=64, columns=64)[:-100]})
    bench.turn()
    bench.turn(bench.settings.truncated_after_seconds - 1)
    assert bench.files() == {"pending": 1}
    for _ in range(3):
        bench.turn(3)
    assert (bench.files(), bench.refused()) == ({"quarantined": 1}, ["truncated"])


REFUSED = {
    "empty.dcm": (b"", "empty"),
    "letter.dcm": (b"Dear colleague, " * 20, "not-dicom"),
    "latin1.txt": (b"na\xefve patient", "undecodable-text"),
    "long.txt": (b"x" * 1_000_001, "too-large"),
    "movie.mp4": (b"\0\1" * 300, "unsupported-kind"),
    "no-pixels.dcm": (dicom_bytes(drop=["PixelData"]), "no-pixels"),
}


@pytest.mark.parametrize(("name", "data", "reason"), [(n, d, r) for n, (d, r) in REFUSED.items()])
def test_a_bad_file_is_quarantined_with_its_reason_and_the_others_go_on(
    bench: Bench, name: str, data: bytes, reason: str
) -> None:
    write_tree(bench.inbox, {name: data, "film.dcm": dicom_bytes()})
    for _ in range(10):
        bench.turn(10)  # an empty file may still be growing: it is judged after its wait
    assert (bench.files(), bench.refused()) == ({"quarantined": 1, "ready": 1}, [reason])
    assert bench.left() == []


def test_a_link_is_quarantined_and_what_it_points_at_is_untouched(bench: Bench, tmp_path: Path) -> None:
    (secret,) = write_tree(tmp_path, {"secret.txt": b"not for the inbox"})
    (bench.inbox / "link.txt").symlink_to(secret)
    bench.settle()
    assert (bench.refused(), secret.read_bytes()) == (["not-a-file"], b"not for the inbox")
    assert not any(b"not for" in p.read_bytes() for p in bench.settings.home.rglob("*") if _plain(p))


def _plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def test_a_fifo_is_quarantined_without_being_opened(bench: Bench) -> None:
    os.mkfifo(bench.inbox / "pipe.txt")
    bench.settle()  # to open it would block for ever
    assert (bench.refused(), bench.left()) == (["not-a-file"], [])


def test_the_same_uid_with_other_bytes_is_quarantined_as_a_conflict(bench: Bench) -> None:
    write_tree(bench.inbox, {"a.dcm": dicom_bytes(sop_uid="1.2.3")})
    bench.settle()
    write_tree(bench.inbox, {"b.dcm": dicom_bytes(sop_uid="1.2.3", rows=16)})
    bench.settle()
    assert (bench.files(), bench.refused()) == ({"ready": 1, "quarantined": 1}, ["conflict"])


def test_a_sidecar_and_its_note_become_one_reading(bench: Bench) -> None:
    write_tree(bench.inbox, {"a.txt": b"Cough.", "a.json": b'{"patient_id": "7"}'})
    bench.settle()
    with bench.store.read() as connection:
        patients = list(connection.scalars(text("SELECT patient FROM cases")))
    assert bench.files() == {"ready": 1, "ignored": 1}
    assert patients == [bench.store.keys.pseudonym("p", "number", "", "7")]


def test_a_sidecar_that_is_still_being_written_is_waited_for(bench: Bench) -> None:
    write_tree(bench.inbox, {"a.txt": b"Cough."})
    bench.turn()
    write_tree(bench.inbox, {"a.json": b'{"patient'})
    bench.ingest.tick([bench.inbox / "a.json"])
    assert bench.files() == {"pending": 2}
    bench.turn(0.1)
    assert bench.files() == {"pending": 2}
    write_tree(bench.inbox, {"a.json": b'{"patient_id": "7"}'})
    bench.settle()
    assert bench.files() == {"ready": 1, "ignored": 1}


def test_a_json_beside_a_film_is_not_swallowed_with_it(bench: Bench) -> None:
    write_tree(bench.inbox, {"a.dcm": dicom_bytes(), "a.json": b'{"patient_id": "7"}'})
    bench.settle()
    assert bench.files() == {"ready": 1, "pending": 1}


def test_a_json_alone_is_judged_after_its_wait(bench: Bench) -> None:
    write_tree(bench.inbox, {"a.json": b'{"patient_id": "7"}'})
    bench.settle()
    assert bench.files() == {"pending": 1}
    for _ in range(8):
        bench.turn(10)
    assert bench.refused() == ["unsupported-kind"]


def test_droppings_are_counted_and_never_read(bench: Bench) -> None:
    write_tree(bench.inbox, {"Thumbs.db": b"x", "film.dcm.part": b"x"})
    bench.settle()
    bench.settle(bench.again())
    assert bench.files() == {"ignored": 2}


def test_a_file_taken_back_by_its_sender_is_ignored_as_withdrawn(bench: Bench) -> None:
    (path,) = write_tree(bench.inbox, {"a.dcm": dicom_bytes()})
    bench.turn()
    path.unlink()
    bench.settle()
    assert bench.files() == {"ignored": 1}


def test_a_file_withdrawn_while_ingest_was_stopped_is_ignored(bench: Bench) -> None:
    (path,) = write_tree(bench.inbox, {"a.dcm": dicom_bytes()})
    bench.turn()
    path.unlink()
    bench.again()
    assert bench.files() == {"ignored": 1}


def test_a_file_that_goes_between_settling_and_claiming_is_withdrawn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_tree(bench.inbox, {"a.txt": b"Cough.", "a.json": b"{}"})
    bench.turn()
    rename = os.rename

    def late(source: Path, target: Path) -> None:
        paths[0].unlink(missing_ok=True)
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    bench.settle()
    assert bench.files() == {"ignored": 1, "pending": 1}
    assert bench.left() == ["a.json"]


def test_a_name_that_is_no_utf8_does_not_stop_the_service(bench: Bench) -> None:
    Path(os.fsdecode(bytes(bench.inbox) + b"/caf\xe9.t\xefxt")).write_bytes(b"Cough.")
    write_tree(bench.inbox, {"film.dcm": dicom_bytes()})
    bench.settle()
    assert bench.files() == {"ready": 1, "quarantined": 1}


def test_a_patient_s_name_after_a_dot_is_not_kept_in_plain(bench: Bench) -> None:
    write_tree(bench.inbox, {"report.clara": b"Cough."})
    bench.settle()
    with bench.store.read() as connection:
        (row,) = connection.execute(text("SELECT suffix, sentence FROM v_files")).all()
    assert "clara" not in f"{row.suffix} {row.sentence}"


def test_two_ingests_on_one_folder_take_each_file_once(bench: Bench) -> None:
    write_tree(bench.inbox, {f"{n}.dcm": dicom_bytes() for n in range(6)})
    other = bench.again()
    for _ in range(8):
        bench.turn()
        bench.turn(0.0, other)
    assert (bench.files(), len(bench.sent)) == ({"ready": 6}, 6)


class Usage(NamedTuple):
    """What shutil.disk_usage answers."""

    total: int
    used: int
    free: int


def away(*_: object) -> None:
    """An archive that cannot be written to."""
    raise Unavailable("archive: cannot write")


def test_an_archive_that_is_away_is_told_until_it_is_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> object:
        with bench.store.read() as connection:
            return services.alive(bench.store, connection, 60)["ingest"]["state"]

    write_tree(bench.inbox, {"film.dcm": dicom_bytes()})
    with monkeypatch.context() as broken:
        broken.setattr(Batch, "settle", away)
        with pytest.raises(Unavailable, match="cannot write"):
            bench.settle()
    assert told() == "waiting: fault"
    bench.settle()
    assert (told(), bench.files()) == ("ready", {"ready": 1})


def test_without_an_archive_what_is_owed_is_hinted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(bench.inbox, {"film.dcm": dicom_bytes()})
    relay = bench.ingest.dispatch.relay
    with monkeypatch.context() as silent:
        silent.setattr(bench.ingest.dispatch, "relay", lambda: 0)
        bench.settle()
    assert bench.sent == []
    monkeypatch.setattr(bench.ingest, "_take", away)
    with pytest.raises(Unavailable):
        bench.turn()
    assert (len(bench.sent), relay()) == (1, 0)


def test_a_low_disk_stops_claiming_and_room_resumes_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(bench.inbox, {"film.dcm": dicom_bytes()})
    with monkeypatch.context() as full:
        full.setattr(service.shutil, "disk_usage", lambda _: Usage(10, 10, 0))
        bench.settle()
        assert (bench.files(), bench.left(), bench.ingest.state) == (
            {"pending": 1}, ["film.dcm"], "waiting: disk",
        )  # fmt: skip
    bench.settle()
    assert (bench.files(), bench.ingest.state) == ({"ready": 1}, "ready")


class Stop(BaseException):
    """The process dies here."""


# where a stop may fall: the step that is entered, and at which of its calls
POINTS: list[tuple[object, str]] = [
    (ledger, "see"),
    (Intake, "claim"),
    (Intake, "begin"),
    (Intake, "finish"),
    (Intake, "_read"),
    (Intake, "_record"),
    (Intake, "_tidy"),
    (inputs, "accept"),
    (service.Dispatch, "relay"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("where", "step"), POINTS, ids=[step for _, step in POINTS])
def test_a_stop_at_any_step_loses_nothing_and_doubles_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, where: object, step: str, after: bool
) -> None:
    film = dicom_bytes()
    tree = {"a.dcm": film, "copy.dcm": film, "a.txt": NOTE, "a.json": b"{}", "bad.dcm": b"text" * 99}
    write_tree(bench.inbox, tree)
    real = getattr(where, step)

    def stopped(*args: object, **more: object) -> None:
        if after:
            real(*args, **more)
        raise Stop

    with monkeypatch.context() as broken:
        broken.setattr(where, step, stopped)
        with pytest.raises(Stop):
            bench.settle()
    bench.settle(bench.again())
    files = bench.files()
    assert {s: files.get(s) for s in ("ready", "duplicate", "quarantined", "ignored")} == {
        "ready": 2, "duplicate": 1, "quarantined": 1, "ignored": 1,
    }  # fmt: skip
    assert (len(bench.sent), len(set(bench.sent)), bench.left()) == (2, 2, [])
    assert bench.store.verify_audit().ok


def test_a_database_that_is_away_for_a_turn_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(bench.inbox, {"film.dcm": dicom_bytes()})
    bench.turn()

    def away(*_: object) -> None:
        raise Unavailable("database: away")

    with monkeypatch.context() as broken:
        broken.setattr(Intake, "_record", away)
        with pytest.raises(Unavailable):
            bench.turn()
        assert bench.files() == {"pending": 1}
    bench.settle()
    assert bench.files() == {"ready": 1}


def test_a_small_batch_takes_everything_all_the_same(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(intake_batch=2)
    write_tree(bench.inbox, {f"{n}.dcm": dicom_bytes() for n in range(5)})
    bench.settle()
    assert bench.files() == {"ready": 5}
