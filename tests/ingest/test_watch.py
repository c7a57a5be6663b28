"""The inbox: a file counts once it rests; the scan finds all, an event is a hint, no link is followed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ingest.watch import Events, Inbox, is_dropping
from tests.builders import write_tree

LONG = 60.0  #: seconds in which an event comes on the busiest machine


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    """An empty inbox in which a file settles after 2 s."""
    (tmp_path / "inbox").mkdir()
    return Inbox(tmp_path / "inbox", 2.0)


def names(inbox: Inbox, now: float) -> list[str]:
    return [item.name for item in inbox.settled(now)[0]]


def test_a_file_settles_after_its_quiet_time_and_not_before(inbox: Inbox) -> None:
    write_tree(inbox.root, {"a.dcm": b"x"})
    assert inbox.scan(0.0) == (["a.dcm"], [])
    assert names(inbox, 1.9) == []
    assert names(inbox, 2.0) == ["a.dcm"]


def test_growth_begins_the_quiet_time_anew(inbox: Inbox) -> None:
    write_tree(inbox.root, {"a.dcm": b"x"})
    inbox.scan(0.0)
    write_tree(inbox.root, {"a.dcm": b"xy"})
    assert names(inbox, 2.0) == []  # settled() itself sees the growth
    assert names(inbox, 4.0) == ["a.dcm"]


def test_a_change_of_time_alone_begins_the_quiet_time_anew(inbox: Inbox) -> None:
    write_tree(inbox.root, {"a.dcm": b"x"})
    inbox.scan(0.0)
    os.utime(inbox.root / "a.dcm", ns=(1, 1))
    inbox.scan(1.5)
    assert names(inbox, 3.4) == []
    assert names(inbox, 3.5) == ["a.dcm"]


def test_a_settled_file_is_offered_until_it_is_forgotten(inbox: Inbox) -> None:
    write_tree(inbox.root, {"a.dcm": b"x"})
    inbox.scan(0.0)
    assert names(inbox, 2.0) == names(inbox, 3.0) == ["a.dcm"]
    inbox.forget("a.dcm")
    assert names(inbox, 4.0) == []


def test_a_postponed_file_waits_unless_it_changes(inbox: Inbox) -> None:
    write_tree(inbox.root, {"a.dcm": b"x"})
    inbox.scan(0.0)
    inbox.postpone("a.dcm", 100.0)
    assert names(inbox, 50.0) == []
    write_tree(inbox.root, {"a.dcm": b"xy"})
    inbox.scan(50.0)
    assert names(inbox, 52.0) == ["a.dcm"]


def test_a_file_that_vanishes_before_it_is_read_is_told(inbox: Inbox) -> None:
    (path,) = write_tree(inbox.root, {"a.dcm": b"x"})
    inbox.scan(0.0)
    path.unlink()
    assert inbox.settled(2.0) == ([], ["a.dcm"])
    assert inbox.settled(3.0) == ([], [])


@pytest.mark.parametrize(
    "name",
    [".hidden", ".DS_Store", "a.tmp", "a.dcm.part", "a.partial", "a.filepart", "a.crdownload", ".a.swp", "a~",
     "Thumbs.db", "desktop.ini", "@eaDir/a.dcm", "deep/.git/a.dcm"],
)  # fmt: skip
def test_droppings_are_known(name: str) -> None:
    assert is_dropping(name)


@pytest.mark.parametrize("name", ["a.dcm", "IM0001", "part/a.txt", "tmp/a.dcm", "thumbs.dbx"])
def test_what_is_no_dropping_is_read(name: str) -> None:
    assert not is_dropping(name)


def test_a_dropping_is_counted_once_and_never_settles(inbox: Inbox) -> None:
    write_tree(inbox.root, {"Thumbs.db": b"x"})
    assert inbox.scan(0.0) == ([], ["Thumbs.db"])
    assert inbox.scan(1.0) == ([], [])
    assert names(inbox, 9.0) == []


def test_files_in_nested_folders_are_found(inbox: Inbox) -> None:
    tree = {f"a/b{n}/c/{n}.dcm": b"x" for n in range(5)}
    write_tree(inbox.root, tree)
    assert sorted(inbox.scan(0.0)[0]) == sorted(tree)


def test_a_folder_renamed_in_is_found_by_its_hint_and_by_the_scan(inbox: Inbox, tmp_path: Path) -> None:
    write_tree(tmp_path / "aside", {"study/1.dcm": b"x", "study/s/2.dcm": b"x"})
    (tmp_path / "aside" / "study").rename(inbox.root / "study")
    assert sorted(inbox.hint(inbox.root / "study", 0.0)[0]) == ["study/1.dcm", "study/s/2.dcm"]
    assert inbox.scan(0.0) == ([], [])


def test_a_hint_of_the_root_is_a_scan(inbox: Inbox) -> None:
    write_tree(inbox.root, {"a.dcm": b"x"})
    assert inbox.hint(inbox.root, 0.0)[0] == ["a.dcm"]


def test_a_hint_of_what_is_gone_finds_nothing(inbox: Inbox) -> None:
    assert inbox.hint(inbox.root / "gone.dcm", 0.0) == ([], [])


@pytest.fixture
def linked(inbox: Inbox, tmp_path: Path) -> Inbox:
    """An inbox with a link to a folder outside."""
    write_tree(tmp_path / "outside", {"secret.txt": b"x"})
    (inbox.root / "link").symlink_to(tmp_path / "outside")
    return inbox


def test_a_scan_sees_a_link_and_does_not_follow_it(linked: Inbox) -> None:
    assert linked.scan(0.0)[0] == ["link"]
    (item,) = linked.settled(2.0)[0]
    assert not item.regular


def test_a_hint_through_a_link_is_not_followed(linked: Inbox) -> None:
    assert linked.hint(linked.root / "link" / "secret.txt", 0.0) == ([], [])


def test_a_hint_outside_the_inbox_is_passed_over(inbox: Inbox, tmp_path: Path) -> None:
    write_tree(tmp_path, {"secret.txt": b"x"})
    assert inbox.hint(tmp_path / "secret.txt", 0.0) == ([], [])


def test_a_hint_inside_a_dropping_s_folder_finds_what_the_scan_finds(inbox: Inbox) -> None:
    write_tree(inbox.root, {".wetread-work/0a": b"x"})
    assert inbox.hint(inbox.root / ".wetread-work" / "0a", 0.0) == inbox.scan(0.0) == ([], [])


def test_a_hint_finds_its_file_below_an_inbox_named_relatively(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (path,) = write_tree(tmp_path / "inbox", {"a.dcm": b"x"})
    assert Inbox(Path("inbox"), 2.0).hint(path, 0.0)[0] == ["a.dcm"]


def test_a_name_that_is_no_utf8_is_found(inbox: Inbox) -> None:
    Path(os.fsdecode(bytes(inbox.root) + b"/caf\xe9.txt")).write_bytes(b"x")
    assert inbox.scan(0.0)[0] == ["caf\udce9.txt"]


def test_a_fifo_is_seen_as_no_regular_file(inbox: Inbox) -> None:
    os.mkfifo(inbox.root / "pipe")
    inbox.scan(0.0)
    assert [item.regular for item in inbox.settled(2.0)[0]] == [False]


@pytest.mark.acceptance
def test_an_event_names_a_new_file(inbox: Inbox) -> None:
    events = Events(inbox.root)
    events.start()
    deadline, found = time.monotonic() + LONG, set[Path]()
    while inbox.root / "a.dcm" not in found and time.monotonic() < deadline:
        write_tree(inbox.root, {"a.dcm": b"x"})
        time.sleep(0.1)
        found |= events.drain()
    events.stop()
    assert inbox.root / "a.dcm" in found


def test_whoever_waits_for_events_is_woken_by_one(tmp_path: Path) -> None:
    events = Events(tmp_path)
    events.start()
    try:
        found, deadline = set[Path](), time.monotonic() + LONG
        while not found and time.monotonic() < deadline:  # the watch itself may not have begun yet
            (tmp_path / "first.dcm").write_bytes(b"x")
            events.wait(0.5)
            found = events.drain()
        assert found == {tmp_path / "first.dcm"}
        start = time.monotonic()
        (tmp_path / "a.dcm").write_bytes(b"x")
        while tmp_path / "a.dcm" not in found and time.monotonic() < start + LONG:  # or another's, late
            events.wait(LONG)
            found = events.drain()
        assert time.monotonic() - start < LONG
    finally:
        events.stop()


def test_a_name_that_is_no_text_ends_the_events_for_a_moment_only(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff"))
    events = Events(tmp_path)
    events.start()
    try:
        with capture_logs() as logs:
            deadline = time.monotonic() + LONG
            while not logs and time.monotonic() < deadline:  # the watch itself may not have begun yet
                odd.write_bytes(b"x")
                time.sleep(0.05)
        odd.unlink()
        found, deadline = set[Path](), time.monotonic() + LONG
        while not found and time.monotonic() < deadline:
            (tmp_path / "a.dcm").write_bytes(b"x")
            events.wait(0.5)
            found = events.drain()
        assert ({entry["event"] for entry in logs}, found) == ({"events_lost"}, {tmp_path / "a.dcm"})
    finally:
        events.stop()
