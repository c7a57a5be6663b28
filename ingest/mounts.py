"""Which file system the inbox lies on, and so whether its events can be relied on at all."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MOUNTS = Path("/proc/self/mountinfo")
# Writes by another machine, or below the layer that is watched, make no inotify events here (inotify(7)).
SILENT = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre"),
        *(
            "gpfs",
            "beegfs",
            "ocfs2",
            "gfs2",
            "9p",
            "virtiofs",
            "vboxsf",
            "vmhgfs",
            "prl_fs",
            "overlay",
            "aufs",
        ),
    )
)
Wanted = Literal["auto", "events", "polling"]


@dataclass(frozen=True, kw_only=True)
class Watching:
    """How the inbox is watched, and why."""

    events: bool  #: events are listened to, beside the scan
    file_system: str  #: as the kernel names it; "" when it cannot be told
    reason: str

    def __str__(self) -> str:
        return f"{'events and scans' if self.events else 'polling'}: {self.reason}"


def watching(folder: Path, wanted: Wanted, mounts: Path = MOUNTS) -> Watching:
    """Events where they can be relied on, polling elsewhere and where it cannot be told."""
    kind = file_system(folder, mounts)
    if wanted != "auto":
        return Watching(events=wanted == "events", file_system=kind, reason=f"watch_mode is {wanted}")
    if not kind:
        return Watching(events=False, file_system="", reason="its file system cannot be told")
    if is_silent(kind):
        return Watching(events=False, file_system=kind, reason=f"{kind} does not tell of every change")
    return Watching(events=True, file_system=kind, reason=f"{kind} tells of changes")


def is_silent(kind: str) -> bool:
    """Does a file system of this kind keep changes made elsewhere to itself?"""
    return kind in SILENT or kind == "fuse" or kind.startswith(("fuse.", "fuseblk"))


def file_system(folder: Path, mounts: Path = MOUNTS) -> str:
    """The kind of the mount a folder lies on; "" when the kernel does not say (proc(5), mountinfo)."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    place = os.path.realpath(folder)
    best, kind = "", ""
    for line in lines:
        mounted, found = _parsed(line)
        inside = place == mounted or place.startswith(mounted.rstrip("/") + "/")
        if found and inside and len(mounted) >= len(best):  # the last of equals covers those before it
            best, kind = mounted, found
    return kind


def _parsed(line: str) -> tuple[str, str]:
    """(mount point, kind) of `36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/sda rw`."""
    before, separator, after = line.partition(" - ")
    fields, kinds = before.split(" "), after.split(" ")
    if not separator or len(fields) < 5:
        return "", ""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]), kinds[0]
