"""What stands beside files to speak of them: done marks, manifests, a medium's index."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from sqlalchemy import text

from ingest import contents, media
from ingest.beside import Beside
from ingest.media import Manifest
from tests.bench import Bench
from tests.builders import dicom_bytes, note_bytes, write_tree, zipped

START = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def timed(bench: Bench) -> Bench:
    """A bench whose store tells its time."""
    bench.store.now = lambda: START + timedelta(seconds=bench.now)
    return bench


def slices(*numbers: int) -> dict[str, bytes]:
    return {f"s/{n}.dcm": dicom_bytes(modality="MR", InstanceNumber=n) for n in numbers}


def decided(bench: Bench, table: str = "v_series") -> list[tuple[str, str]]:
    with bench.store.read() as connection:
        found = connection.execute(text(f"SELECT state, reason FROM {table}")).all()
    return [(state, str(reason).partition(":")[0]) for state, reason in found]


def ignored(bench: Bench) -> list[str]:
    with bench.store.read() as connection:
        return sorted(connection.scalars(text("SELECT reason FROM v_files WHERE state = 'ignored'")))


def manifest(tree: dict[str, bytes], **wrong: str) -> bytes:
    """The manifest of folder s."""
    files = [
        {"name": name.removeprefix("s/"), "sha256": hashlib.sha256(data).hexdigest(), **wrong}
        for name, data in tree.items()
    ]
    return json.dumps({"files": files}).encode()


# ── done marks ────────────────────────────────────────────────────────────────────────────────────


def test_what_a_folder_s_mark_speaks_of_need_not_rest(timed: Bench) -> None:
    write_tree(timed.inbox, {"s/a.dcm": dicom_bytes(), "b.dcm": dicom_bytes(), "s/.done": b""})
    timed.turn(0.01)
    assert timed.files() == {"ready": 1, "pending": 2}
    timed.turn(0.01)
    assert (timed.files(), timed.left()) == ({"ready": 1, "pending": 1, "ignored": 1}, ["b.dcm", "s"])


@pytest.mark.parametrize("mark", ["film.done", "film.dcm.done"])
def test_a_file_s_mark_speaks_of_that_file_alone(timed: Bench, mark: str) -> None:
    write_tree(timed.inbox, {"film.dcm": dicom_bytes(), "other.dcm": dicom_bytes(), mark: b"ok\n"})
    timed.turn(0.01)
    timed.turn(0.01)
    assert (timed.files(), timed.left()) == ({"ready": 1, "pending": 1, "ignored": 1}, ["other.dcm"])


def test_a_folder_s_mark_makes_its_series_whole_at_once(timed: Bench) -> None:
    write_tree(timed.inbox, slices(1, 2, 3))
    timed.settle()
    assert decided(timed) == [("waiting", "settling")]
    write_tree(timed.inbox, {"s.done": b""})
    timed.settle()
    assert (decided(timed), decided(timed, "v_studies"), ignored(timed)) == (
        [("complete", "declared")], [("complete", "declared")], ["done-mark"],
    )  # fmt: skip


def test_a_mark_waits_until_all_it_speaks_of_is_whole(timed: Bench) -> None:
    film = dicom_bytes(rows=64, columns=64)
    write_tree(timed.inbox, {"s/a.dcm": film[:-100], "s/.done": b""})
    timed.settle()
    assert timed.files() == {"pending": 2}
    write_tree(timed.inbox, {"s/a.dcm": film})
    timed.settle()
    assert (timed.files(), ignored(timed)) == ({"ready": 1, "ignored": 1}, ["done-mark"])


def test_a_mark_that_holds_more_than_a_mark_would_is_a_file(timed: Bench) -> None:
    write_tree(timed.inbox, {"visit.done": b"Cough. " * 400})
    timed.settle()
    assert timed.refused() == ["unsupported-kind"]


def test_another_suffix_may_be_the_mark(bench_of: object) -> None:
    bench: Bench = bench_of(done_suffix=".ok")  # type: ignore[operator]
    write_tree(bench.inbox, {"s/a.dcm": dicom_bytes(), "s/.ok": b"", "s/.done": b""})
    bench.turn(0.01)
    bench.turn(0.01)
    assert (bench.files(), ignored(bench)) == ({"ready": 1, "ignored": 2}, ["done-mark", "dropping"])


# ── manifests ─────────────────────────────────────────────────────────────────────────────────────


def test_a_kept_manifest_makes_its_series_and_study_whole_at_once(timed: Bench) -> None:
    tree = slices(1, 2, 9)
    write_tree(timed.inbox, {**tree, "s/manifest.json": manifest(tree)})
    timed.settle()
    assert (decided(timed), decided(timed, "v_studies"), ignored(timed)) == (
        [("complete", "manifest")], [("complete", "manifest")], ["manifest"],
    )  # fmt: skip


def test_a_file_that_a_manifest_names_and_that_lacks_keeps_the_study_waiting(timed: Bench) -> None:
    tree = slices(1, 2, 3)
    last = tree.pop("s/3.dcm")
    write_tree(timed.inbox, {**tree, "s/manifest.json": manifest({**tree, "s/3.dcm": last})})
    timed.settle()
    timed.turn(100)
    timed.turn()
    assert (decided(timed), decided(timed, "v_studies")) == (
        [("waiting", "manifest-missing")], [("waiting", "manifest-missing")],
    )  # fmt: skip
    write_tree(timed.inbox, {"s/3.dcm": last})
    timed.settle()
    assert decided(timed) == [("complete", "manifest")]


def test_a_file_with_another_checksum_keeps_the_study_incomplete(timed: Bench) -> None:
    tree = slices(1, 2)
    write_tree(timed.inbox, {**tree, "s/manifest.json": manifest(tree, sha256="0" * 64)})
    timed.settle()
    assert decided(timed, "v_studies") == [("waiting", "manifest-differs")]


def test_a_manifest_may_give_a_count_alone(timed: Bench) -> None:
    write_tree(timed.inbox, {**slices(1, 2), "s/manifest.json": b'{"count": 3}'})
    timed.settle()
    assert decided(timed) == [("waiting", "manifest-missing")]
    write_tree(timed.inbox, slices(3))
    timed.settle()
    assert decided(timed) == [("complete", "manifest")]


def test_of_two_manifests_of_a_folder_the_newer_counts(timed: Bench) -> None:
    tree = slices(1, 2)
    write_tree(timed.inbox, {**tree, "s/manifest.json": b'{"count": 9}'})
    timed.settle()
    write_tree(timed.inbox, {"s/manifest.json": b'{"count": 2}'})
    timed.settle()
    assert decided(timed) == [("complete", "manifest")]


def test_a_manifest_in_an_archive_speaks_of_its_files(timed: Bench) -> None:
    tree = slices(1, 2, 9)
    write_tree(timed.inbox, {"cd.zip": zipped({**tree, "s/manifest.json": manifest(tree)})})
    timed.settle()
    assert (decided(timed), timed.left()) == ([("complete", "manifest")], [])


def test_a_json_of_that_name_that_is_no_manifest_is_judged_as_any(timed: Bench) -> None:
    write_tree(timed.inbox, {"manifest.json": b'{"greeting": "hello"}'})
    for _ in range(8):
        timed.turn(10)
    assert timed.refused() == ["unsupported-kind"]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b'{"files": ["a.dcm", {"name": "b\\\\c.dcm"}]}', {"a.dcm": None, "b/c.dcm": None}),
        (b'{"files": [{"name": "a", "sha256": "' + b"AB" * 32 + b'"}]}', {"a": "ab" * 32}),
        (b'{"count": 4}', {}),
    ],
)
def test_a_manifest_lists_files_or_counts_them(data: bytes, found: dict[str, str | None]) -> None:
    told = media.manifest(data)
    assert told is not None
    assert (told.files, told.count) == (found, len(found) or 4)


BAD = [b"[]", b"{}", b'{"files": []}', b'{"files": ["../a"]}', b'{"files": ["/a"]}', b'{"files": [1]}',
       b'{"files": [{"name": "a", "sha256": "x"}]}', b'{"count": true}', b'{"count": 0}', b"\xff",
       b"{" * 9999]  # fmt: skip


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_what_is_no_manifest_is_none(data: bytes) -> None:
    assert media.manifest(data) is None


@given(st.binary(max_size=200) | st.text(max_size=99).map(lambda s: json.dumps({"files": [s]}).encode()))
def test_any_bytes_are_a_manifest_or_none(data: bytes) -> None:
    assert isinstance(media.manifest(data), Manifest | None)


def test_what_becomes_no_input_is_not_expected_of_a_manifest() -> None:
    files = dict.fromkeys(["a.txt", "a.json", "DICOMDIR", "b/c.dcm", "b.json"])
    assert sorted(media.inputs(files)) == ["a.txt", "b.json", "b/c.dcm"]


# ── a medium's index ──────────────────────────────────────────────────────────────────────────────


def dicomdir(*names: str) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = "1.2.3", "1.2.840.10008.1.2.1"
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.FileSetID, ds.DirectoryRecordSequence = "CD", []
    ds.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    ds.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    ds.FileSetConsistencyFlag = 0
    for name in names:
        record = Dataset()
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", name.split("/")
        ds.DirectoryRecordSequence.append(record)
    out = BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def sentence(bench: Bench) -> str:
    with bench.store.read() as connection:
        query = text("SELECT sentence FROM v_files WHERE reason = 'dicomdir-index'")
        return str(connection.execute(query).scalar_one())


def test_a_dicomdir_is_an_index_and_the_files_it_names_are_taken_by_themselves(timed: Bench) -> None:
    tree = {"cd/DICOMDIR": dicomdir("IM/A", "IM/B"), "cd/IM/A": dicom_bytes(), "cd/im/b": dicom_bytes()}
    write_tree(timed.inbox, tree)
    timed.settle()
    assert timed.files() == {"ready": 2, "ignored": 1}
    assert sentence(timed) == "an index of 2 files, which are read by themselves"


def test_a_dicomdir_waits_for_its_files_and_then_counts_those_that_lack(timed: Bench) -> None:
    write_tree(timed.inbox, {"DICOMDIR": dicomdir("IM/A", "IM/B", "IM/C"), "IM/A": dicom_bytes()})
    timed.settle()
    assert timed.files() == {"ready": 1, "pending": 1}
    for _ in range(10):
        timed.turn(10)
    assert sentence(timed) == ("an index of 3 files, which are read by themselves; 2 of them are not here")


def test_a_dicomdir_in_an_archive_counts_the_archive_s_files(timed: Bench) -> None:
    tree = {"cd/DICOMDIR": dicomdir("IM/A", "IM/B"), "cd/IM/A": dicom_bytes()}
    write_tree(timed.inbox, {"x.zip": zipped(tree)})
    timed.settle()
    assert timed.files() == {"ready": 1, "ignored": 1, "done": 1}
    assert sentence(timed).endswith("1 of them are not here")


def test_a_dicomdir_that_leads_outside_names_nothing_there(timed: Bench) -> None:
    index = dicomdir("IM/A", "XX/XX/SECRET").replace(b"XX\\XX", b"..\\..")
    write_tree(timed.inbox, {"DICOMDIR": index, "IM/A": dicom_bytes()})
    timed.settle()
    assert sentence(timed) == "an index of 1 files, which are read by themselves"


def test_a_cut_dicomdir_is_quarantined(timed: Bench) -> None:
    write_tree(timed.inbox, {"DICOMDIR": dicomdir("IM/A")[:-20]})
    for _ in range(10):
        timed.turn(10)
    assert timed.refused() == ["truncated"]


@pytest.mark.parametrize("told", [b'{"count": 99999999999999999999}', b'{"files": ["\\ud800.dcm"]}'])
def test_a_manifest_that_no_store_can_hold_is_refused_and_stops_nothing(bench: Bench, told: bytes) -> None:
    write_tree(bench.inbox, {"manifest.json": told, "note.txt": note_bytes("Fever.")})
    bench.settle()
    bench.turn(100)
    assert bench.files() == {"ready": 1, "quarantined": 1}


def test_a_manifest_that_we_stumble_over_is_set_aside_and_stops_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(contents, "expect", stumble)
    write_tree(bench.inbox, {"manifest.json": b'{"count": 2}', "note.txt": note_bytes("Fever.")})
    bench.settle()
    bench.turn(100)
    bench.turn()
    assert bench.files() == {"ready": 1, "quarantined": 1}


def test_a_mark_that_may_not_be_removed_is_tried_again_after_a_while(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def denied(*_: object) -> None:
        nonlocal tries
        tries += 1
        raise PermissionError

    write_tree(bench.inbox, {"s/.done": b"", "note.txt": note_bytes("Fever.")})
    with monkeypatch.context() as locked:
        locked.setattr(Beside, "_done", denied)
        bench.settle()
        assert (bench.files(), tries) == ({"ready": 1, "pending": 1}, 1)
    bench.turn(bench.settings.truncated_after_seconds)
    assert ignored(bench) == ["done-mark"]
