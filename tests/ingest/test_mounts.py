"""Where events can be relied on, by the kernel's own list of mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.mounts import Wanted, file_system, watching

# proc(5), mountinfo: id, parent, major:minor, root, mount point, options, fields, "-", kind, source, options
MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/pacs rw shared:9 - nfs4 server:/pacs rw,vers=4.2
31 22 0:41 / /mnt/win\\040share rw - cifs //server/x rw
32 22 0:42 / /mnt/cloud rw - fuse.s3fs s3fs rw
33 22 0:43 / /mnt/pacs/local rw - xfs /dev/sdb rw
34 22 0:44 / /over rw - ext4 /dev/sdc rw
35 34 0:45 / /over rw - overlay overlay rw
36 22 0:46 / /vm rw - 9p share rw
a line that is none
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS, "utf-8")
    return path


@pytest.mark.parametrize(
    ("folder", "kind", "events"),
    [
        ("/home/inbox", "ext4", True),
        ("/mnt/pacs", "nfs4", False),
        ("/mnt/pacs/in/box", "nfs4", False),
        ("/mnt/pacs-other", "ext4", True),
        ("/mnt/pacs/local/inbox", "xfs", True),
        ("/mnt/win share/inbox", "cifs", False),
        ("/mnt/cloud", "fuse.s3fs", False),
        ("/over/inbox", "overlay", False),
        ("/vm/inbox", "9p", False),
    ],
)
def test_the_mount_decides_whether_events_are_relied_on(
    mounts: Path, folder: str, kind: str, events: bool
) -> None:
    found = watching(Path(folder), "auto", mounts)
    assert (found.file_system, found.events) == (kind, events)


@pytest.mark.parametrize(("wanted", "events"), [("events", True), ("polling", False)])
def test_the_setting_wins(mounts: Path, wanted: Wanted, events: bool) -> None:
    assert watching(Path("/mnt/pacs"), wanted, mounts).events == events


def test_where_the_kernel_does_not_say_the_inbox_is_polled(tmp_path: Path) -> None:
    found = watching(tmp_path, "auto", tmp_path / "absent")
    assert (found.events, str(found)) == (False, "polling: its file system cannot be told")


def test_a_link_is_followed_to_the_mount_it_leads_to(mounts: Path, tmp_path: Path) -> None:
    (tmp_path / "inbox").symlink_to("/mnt/pacs")
    assert file_system(tmp_path / "inbox", mounts) == "nfs4"


def test_this_machine_s_own_mounts_can_be_told(tmp_path: Path) -> None:
    assert file_system(tmp_path)
